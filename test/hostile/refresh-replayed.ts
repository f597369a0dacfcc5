/** A used refresh token, shown again by somebody who copied it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Target } from '../support/hostile.ts'
import { me, newIdempotencyKey, refresh } from '../support/server.ts'

export default function attack(target: Target): void {
  for (const [what, thiefsKey] of [
    ['without a key', undefined],
    ['with a key of his own', newIdempotencyKey()],
  ] as const)
    test(`${what}, after its owner used it: nobody is left with a session`, async () => {
      const stolen = await target.logIn()
      const owner = await refresh(target, stolen.refresh_token, newIdempotencyKey())
      assert.equal(owner.status, 200)
      target.assertRefused(await refresh(target, stolen.refresh_token, thiefsKey), 401, 'AUTH_TOKEN_REVOKED')
      target.assertRefused(await refresh(target, owner.body.refresh_token), 401, 'AUTH_TOKEN_REVOKED')
      for (const accessToken of [stolen.access_token, owner.body.access_token])
        target.assertRefused(await me(target, accessToken), 401, 'AUTH_TOKEN_REVOKED')
    })

  test('by ten at once: at most one is answered, and the session is over', async () => {
    const { refresh_token } = await target.logIn()
    const answers = await Promise.all(Array.from({ length: 10 }, () => refresh(target, refresh_token)))
    const good = answers.filter(({ status }) => status === 200)
    assert.ok(good.length <= 1)
    for (const { body } of good) assert.equal((await refresh(target, body.refresh_token)).status, 401)
  })

  test('after a logout', async () => {
    const { refresh_token, access_token } = await target.logIn()
    assert.equal((await target.call('POST', '/auth/logout', { body: { refresh_token } })).status, 204)
    target.assertRefused(await refresh(target, refresh_token), 401, 'AUTH_TOKEN_REVOKED')
    target.assertRefused(await me(target, access_token), 401, 'AUTH_TOKEN_REVOKED')
  })
}
