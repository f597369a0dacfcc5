/** Requests that begin and never end, or drip: they are answered, closed and let go of within some ten seconds. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { connectTo } from '../support/bare.ts'
import { letGo, type Target } from '../support/hostile.ts'

/** Much more than the ten seconds that a client has of us, and somewhat more than what proxies give by themselves. */
const BOUND_MS = { own: 30_000, foreign: 90_000 }

export default function attack(target: Target): void {
  const boundMs = BOUND_MS[target.own ? 'own' : 'foreign']
  const post = target.head('POST /auth/login HTTP/1.1', 'Content-Type: application/json').slice(0, -2)
  const me = target.head('GET /auth/me HTTP/1.1')
  for (const [what, begin, drip, answered] of [
    ['a connection that says nothing', '', '', []],
    ['half a header', post.slice(0, -2), '', [400]],
    ['a header that drips', `${me.slice(0, -2)}X-Drip: `, 'x', [400]],
    ['half a body', `${post}Content-Length: 50\r\n\r\n{`, '', [400]],
    ['a body that drips', `${post}Content-Length: 5000\r\n\r\n{`, ' ', [400]],
    ['half a chunk', `${post}Transfer-Encoding: chunked\r\n\r\n10\r\n{`, '', [400]],
    ['chunks that drip', `${post}Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n`, '1\r\n \r\n', [400]],
    ['half a request after a whole one', `${me}GET /auth/me HTTP/1.1\r\n`, '', [401, 400]],
    [
      'a request that nobody wants, of which the body is missing',
      target.head('POST /nowhere HTTP/1.1', 'Content-Length: 9'),
      '',
      [404, 400],
    ],
  ] as const)
    test(what, async () => {
      const startedMs = performance.now()
      const connection = await connectTo(target.url, begin)
      const dripping = setInterval(connection.send, 300, drip)
      await Promise.race([letGo(connection), pause(boundMs, undefined, { ref: false })])
      clearInterval(dripping)
      connection.socket.destroy()
      const tookMs = performance.now() - startedMs
      assert.ok(tookMs < boundMs, `it took ${tookMs} ms`)
      target.assertAllRefused(connection, answered)
    })
}
