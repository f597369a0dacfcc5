/** Refresh tokens put together from several, or from nothing. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import type { Target } from '../support/hostile.ts'
import { refresh } from '../support/server.ts'

export default function attack(target: Target): void {
  test('a family that there is not', async () => {
    const { refresh_token } = await target.logIn()
    for (const token of [
      Buffer.concat([randomBytes(16), Buffer.from(refresh_token, 'base64url').subarray(16)]).toString('base64url'),
      randomBytes(48).toString('base64url'),
      Buffer.alloc(48).toString('base64url'),
      Buffer.alloc(48, 0xff).toString('base64url'),
    ])
      target.assertRefused(await refresh(target, token), 401, 'AUTH_REFRESH_NOT_FOUND')
    assert.equal((await refresh(target, refresh_token)).status, 200)
  })

  test('the family of one session with the secret of another, which gets nothing from either', async () => {
    const [one, other] = [await target.logIn(), await target.logIn()]
    const [family, rest] = [one, other].map(({ refresh_token }) => Buffer.from(refresh_token, 'base64url'))
    const mixed = Buffer.concat([(family as Buffer).subarray(0, 16), (rest as Buffer).subarray(16)])
    target.assertRefused(await refresh(target, mixed.toString('base64url')), 401, 'AUTH_TOKEN_REVOKED')
    assert.equal((await refresh(target, other.refresh_token)).status, 200)
  })
}
