/** Everything longer than it may be. */
import { test } from 'node:test'
import { newVictim, refuseBytes, type Target } from '../support/hostile.ts'

export default function attack(target: Target): void {
  const get = (path: string, ...headers: string[]) => target.head(`GET ${path} HTTP/1.1`, ...headers)
  refuseBytes(target, 400, {
    'a header of 20 KB': get('/auth/me', `X: ${'x'.repeat(20_000)}`),
    'a path of 20 KB': get(`/${'x'.repeat(20_000)}`),
    '2,000 headers': get('/', ...Array(2000).fill('A: bcdefgh')),
    'a name of a header of 20 KB': get('/auth/me', `${'x'.repeat(20_000)}: a`),
  })
  refuseBytes(target, 401, {
    'an access token of 12 KB': get(
      '/auth/me',
      `Authorization: Bearer ${'A'.repeat(12_000)}.A.A.A.A`,
      'Connection: close',
    ),
  })

  test('a body of more than 16 KiB', async () => {
    for (const path of ['/auth/register', '/auth/login', '/auth/token/refresh', '/auth/logout'])
      target.assertRefused(await target.call('POST', path, { body: { refresh_token: 'x'.repeat(17_000) } }), 413)
  })

  test('an email of more than 254 characters', async () => {
    const email = `${'a'.repeat(250)}@example.invalid`
    target.assertRefused(await target.call('POST', '/auth/register', { body: { ...newVictim(), email } }), 400)
  })

  test('a password of more than 72 bytes, which bcrypt would cut', async () => {
    for (const password of [`aZ7${'x'.repeat(70)}`, `aZ7${'é'.repeat(35)}`, `aZ7${'x'.repeat(10_000)}`])
      target.assertRefused(await target.call('POST', '/auth/register', { body: { ...newVictim(), password } }), 400)
  })

  test('a refresh token of 10 KB', async () => {
    const body = { refresh_token: 'A'.repeat(10_000) }
    target.assertRefused(await target.call('POST', '/auth/token/refresh', { body }), 401, 'AUTH_REFRESH_NOT_FOUND')
  })

  test('an idempotency key of more than 128 characters', async () => {
    const headers = { 'idempotency-key': 'k'.repeat(129) }
    const body = { refresh_token: 'A'.repeat(64) }
    target.assertRefused(await target.call('POST', '/auth/token/refresh', { body, headers }), 400)
  })
}
