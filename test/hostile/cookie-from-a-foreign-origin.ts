/** A page of somebody else that has a visitor's browser send the cookie along (CSRF). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Target } from '../support/hostile.ts'
import { me } from '../support/server.ts'

export const needs = ['cookies']

export default function attack(target: Target): void {
  const { protocol, host } = new URL(target.url)
  const pages: Record<string, Record<string, string>> = {
    'another origin': { origin: 'https://evil.invalid' },
    'an origin that hides itself': { origin: 'null' },
    'a host that begins like ours': { origin: `${protocol}//${host}.evil.invalid` },
    'a host that ends like ours': { origin: `${protocol}//evil-${host}` },
    'another origin that says it is ours': { origin: 'https://evil.invalid', 'sec-fetch-site': 'same-origin' },
    'a browser that tells of the site alone': { 'sec-fetch-site': 'cross-site' },
  }
  for (const [what, headers] of Object.entries(pages))
    test(`${what}: nothing is rotated or ended, and no cookie is set`, async () => {
      const { cookie, access_token } = await target.logIn()
      for (const path of ['/auth/token/refresh', '/auth/logout']) {
        const answer = await target.call('POST', path, { headers: { ...headers, cookie: cookie as string } })
        target.assertRefused(answer, 403, 'AUTH_FORBIDDEN')
        assert.equal(answer.headers.get('set-cookie'), null)
      }
      assert.equal((await me(target, access_token)).status, 200)
      const answer = await target.call('POST', '/auth/token/refresh', { headers: { cookie: cookie as string } })
      assert.equal(answer.status, 200)
    })

  test('a page that logs its visitors in as somebody else', async () => {
    const headers = { origin: 'https://evil.invalid' }
    const answer = await target.call('POST', '/auth/login', { headers, body: target.user })
    target.assertRefused(answer, 403, 'AUTH_FORBIDDEN')
    assert.equal(answer.headers.get('set-cookie'), null)
  })
}
