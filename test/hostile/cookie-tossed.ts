/** A second cookie of the same name, set by a page of a neighbouring domain. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Target } from '../support/hostile.ts'
import { me } from '../support/server.ts'

export const needs = ['cookies']

export default function attack(target: Target): void {
  test('before or behind the good one: neither is used', async () => {
    const [victim, attacker] = [await target.logIn(), await target.logIn()]
    for (const cookie of [`${attacker.cookie}; ${victim.cookie}`, `${victim.cookie}; ${attacker.cookie}`])
      for (const path of ['/auth/token/refresh', '/auth/logout'])
        target.assertRefused(await target.call('POST', path, { headers: { cookie } }), 400)
    for (const { access_token, cookie } of [victim, attacker]) {
      assert.equal((await me(target, access_token)).status, 200)
      const answer = await target.call('POST', '/auth/token/refresh', { headers: { cookie: cookie as string } })
      assert.equal(answer.status, 200)
    }
  })

  test('beside a body with another token: neither is used', async () => {
    const [victim, attacker] = [await target.logIn(), await target.logIn()]
    const headers = { cookie: victim.cookie as string }
    const body = { refresh_token: attacker.refresh_token }
    for (const path of ['/auth/token/refresh', '/auth/logout'])
      target.assertRefused(await target.call('POST', path, { headers, body }), 400)
    assert.equal((await me(target, victim.access_token)).status, 200)
  })
}
