/** A used refresh token that claims to be newer than it is, as after a set-back of the database. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Target } from '../support/hostile.ts'
import { me, refresh } from '../support/server.ts'

export default function attack(target: Target): void {
  for (const raisedBy of [1, 2, 1000])
    test(`by ${raisedBy}, which counts as reuse, and ends the session`, async () => {
      const session = await target.logIn()
      const live = (await refresh(target, session.refresh_token)).body.refresh_token
      const forged = withGeneration(session.refresh_token, raisedBy + 1)
      target.assertRefused(await refresh(target, forged), 401, 'AUTH_TOKEN_REVOKED')
      target.assertRefused(await refresh(target, live), 401, 'AUTH_TOKEN_REVOKED')
      target.assertRefused(await me(target, session.access_token), 401, 'AUTH_TOKEN_REVOKED')
    })

  for (const generation of [0xffff_ffff, 0x8000_0000, 0x7fff_ffff])
    test(`to ${generation}, which no token has, and which ends nothing`, async () => {
      const session = await target.logIn()
      const forged = withGeneration(session.refresh_token, generation)
      target.assertRefused(await refresh(target, forged), 401, 'AUTH_REFRESH_NOT_FOUND')
      assert.equal((await refresh(target, session.refresh_token)).status, 200)
    })
}

/** The four bytes behind the family's sixteen (contract, refresh_token). */
function withGeneration(token: string, generation: number): string {
  const bytes = Buffer.from(token, 'base64url')
  bytes.writeUInt32BE(generation, 16)
  return bytes.toString('base64url')
}
