/** Hundreds of connections that say nothing, or half of something: who is honest is served all the while. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { connectTo } from '../support/bare.ts'
import type { Target } from '../support/hostile.ts'
import { refresh } from '../support/server.ts'

export const needs = ['hard']

/** Of each kind; of a foreign deployment no more than what a small proxy holds. */
const CONNECTIONS = { own: 300, foreign: 60 }
const ROUNDS = 5

export default function attack(target: Target): void {
  test('keeps nobody from logging in, from refreshing, or from opening a connection', async () => {
    const post = target.head('POST /auth/login HTTP/1.1', 'Content-Type: application/json').slice(0, -2)
    const kinds = ['', post, `${post}Content-Length: 50\r\n\r\n{`]
    const length = CONNECTIONS[target.own ? 'own' : 'foreign']
    const flood = await Promise.all(
      kinds.flatMap((bytes) => Array.from({ length }, () => connectTo(target.url, bytes))),
    )
    for (let round = 1; round <= ROUNDS; round++) {
      const { access_token, refresh_token } = await target.logIn()
      assert.equal((await refresh(target, refresh_token)).status, 200)
      const authorization = `Authorization: Bearer ${access_token}`
      const me = await connectTo(target.url, target.head('GET /auth/me HTTP/1.1', 'Connection: close', authorization))
      await me.ended
      assert.match(me.received(), /^HTTP\/1.1 200 /)
      me.socket.destroy()
    }
    for (const { socket } of flood) socket.destroy()
  })
}
