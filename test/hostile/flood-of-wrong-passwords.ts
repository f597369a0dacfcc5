/** Passwords guessed from one address, each for another email and under another forged address. */
import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { test } from 'node:test'
import { newVictim, type Target } from '../support/hostile.ts'
import { logInSomebody, refresh, startServer } from '../support/server.ts'

export const needs = ['hard']
export const locksOut = true

const GUESSES = 150
const AT_ONCE = 10

export default function attack(target: Target): void {
  test('meets a limit, and logs nobody out meanwhile', async () => {
    const server = target.own ? await startServer({ AUTH_RATE_LIMIT_FAILURES: '100' }) : target
    let { refresh_token } = target.own ? await logInSomebody(server) : target.session
    const statuses: number[] = []
    for (let sent = 0; sent < GUESSES; sent += AT_ONCE) {
      const guesses = Array.from({ length: AT_ONCE }, async () => {
        const headers = { 'x-forwarded-for': `203.0.113.${randomInt(256)}`, 'x-real-ip': `203.0.113.${randomInt(256)}` }
        return (await server.call('POST', '/auth/login', { body: newVictim(), headers })).status
      })
      statuses.push(...(await Promise.all(guesses)))
      const answer = await refresh(server, refresh_token)
      assert.equal(answer.status, 200)
      refresh_token = answer.body.refresh_token
    }
    assert.ok(statuses.every((status) => [401, 429, 503].includes(status)))
    assert.ok(statuses.includes(429), `${GUESSES} wrong passwords met no limit`)
  })
}
