/** Line ends in whatever a client may say, to write headers or log lines with. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { connectTo } from '../support/bare.ts'
import { newVictim, type Target } from '../support/hostile.ts'
import type { Answer } from '../support/server.ts'

const LINE = '\r\nx-injected: a'

export default function attack(target: Target): void {
  const assertClean = (answer: Answer, status: number, code?: 'AUTH_REFRESH_NOT_FOUND') => {
    target.assertRefused(answer, status, code)
    assert.equal(answer.headers.get('x-injected'), null)
  }

  test('in an email', async () => {
    for (const email of [`a${LINE}@example.invalid`, `a@example.invalid${LINE}`, 'a\n@example.invalid'])
      for (const path of ['/auth/register', '/auth/login'])
        assertClean(await target.call('POST', path, { body: { ...newVictim(), email } }), 400)
  })

  test('in a token', async () => {
    const body = { refresh_token: `${'A'.repeat(64)}${LINE}` }
    for (const path of ['/auth/token/refresh', '/auth/logout'])
      assertClean(await target.call('POST', path, { body }), 401, 'AUTH_REFRESH_NOT_FOUND')
  })

  test('in a path or a query', async () => {
    const encoded = encodeURIComponent(LINE)
    assertClean(await target.call('GET', `/auth/me${encoded}`), 404)
    assertClean(await target.call('GET', `/.well-known/jwks.json?use=sig${encoded}`), 400)
  })

  test('as what a request is to be called, which nobody takes from a stranger', async () => {
    const head = target.head(
      'GET /auth/me HTTP/1.1',
      'Connection: close',
      'X-Request-Id: a b%0d%0ax-injected:shibboleth',
    )
    const connection = await connectTo(target.url, head)
    await connection.ended
    assert.doesNotMatch(connection.received(), /shibboleth/)
    connection.socket.destroy()
  })
}
