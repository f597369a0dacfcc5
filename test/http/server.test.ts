/**
 * Connections that bring no request, or not in time, over real sockets: they are answered, closed, and leave nothing
 * open.
 */
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import type { Socket } from 'node:net'
import { after, test } from 'node:test'
import { loadConfig } from '../../src/config.ts'
import { buildApp } from '../../src/main.ts'
import { assertRefused } from '../support/answers.ts'
import { answersIn, type BareConnection, connectTo, rawPost } from '../support/bare.ts'
import { type Answer, freshEnvironment, newCredentials, startProcess } from '../support/server.ts'
import { until } from '../support/wait.ts'

const POST = 'POST /auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n'
const ME = 'GET /auth/me HTTP/1.1\r\nHost: a\r\n\r\n'
/** Much more than the ten seconds that a client has, and much less than the minutes that it would have from Node. */
const BOUND_MS = 30_000

const env = await freshEnvironment({ AUTH_BCRYPT_ROUNDS: '10' })
const app = await buildApp(loadConfig(env))
after(() => app.close())
const held = new Map<number | undefined, Socket>()
app.server.on('connection', (socket) => held.set(socket.remotePort, socket))
const url = await app.listen({ host: '127.0.0.1', port: 0 })

/** Waits for the server to close, and to let go of its own end though the client keeps its open. */
async function assertClosed({ socket, ended }: BareConnection): Promise<void> {
  const startedMs = performance.now()
  const port = socket.localPort
  await ended
  await until('the server to let go of it', () => held.get(port)?.destroyed)
  const tookMs = performance.now() - startedMs
  assert.ok(tookMs < BOUND_MS, `it took ${tookMs} ms`)
}

test('a connection that waits between two requests is not closed, while a silent one is', async () => {
  const silent = await connectTo(url)
  const connection = await connectTo(url, ME)
  await until('the first answer', () => answersIn(connection.received()).length === 1)
  await silent.ended
  connection.send(ME)
  await until('the second answer', () => answersIn(connection.received()).length === 2)
  connection.socket.destroy()
})

const canLimitFiles = spawnSync('prlimit', ['--version']).status === 0

test('more silent connections than the system lets it open keep others out for seconds, not for minutes', {
  skip: canLimitFiles ? false : 'missing: apt-get install util-linux',
}, async () => {
  const server = await startProcess(await freshEnvironment())
  execFileSync('prlimit', ['--pid', String(server.process.pid), '--nofile=128:128'])
  const silent = await Promise.all(Array.from({ length: 200 }, () => connectTo(server.url)))
  const startedMs = performance.now()
  await until('an honest login to be answered', async () => {
    const answer = await server.call('POST', '/auth/login', { body: newCredentials() }).catch(() => undefined)
    return answer?.status === 401 // undefined where the system had to close the connection
  })
  const tookMs = performance.now() - startedMs
  assert.ok(tookMs < BOUND_MS, `it took ${tookMs} ms`)
  for (const { socket } of silent) socket.destroy()
  await server.end('SIGTERM')
})

test('what is no HTTP after a whole request closes the connection, once that is answered', async () => {
  const connection = await connectTo(url, `${rawPost('/auth/login', newCredentials())}hello there\r\n\r\n`)
  await assertClosed(connection)
  const [answer, ...others] = answersIn(connection.received())
  assert.ok(answer)
  assert.equal(others.length, 0)
  assertRefused(answer, 401, 'AUTH_INVALID_CREDENTIALS')
  assert.equal(answer.headers.get('connection'), 'close')
})

test('a body that is too long is refused with an answer that arrives, as the rest of it is let in', async () => {
  const whole = Buffer.alloc(1_000_000, ' ')
  const chunk = `${whole.length.toString(16)}\r\n${whole}\r\n`
  for (const [head, part, end] of [
    [`Content-Length: ${4 * whole.length}`, whole, ''],
    ['Transfer-Encoding: chunked', chunk, '0\r\n\r\n'],
  ] as const) {
    const connection = await connectTo(url, `${POST}${head}\r\n\r\n`)
    connection.send(part)
    await until('the refusal', () => connection.received() !== '')
    for (let time = 2; time <= 4; time++) connection.send(part)
    connection.send(end + ME)
    await until('the next answer', () => answersIn(connection.received()).length === 2)
    const [refused, next] = answersIn(connection.received()) as [Answer, Answer]
    assertRefused(refused, 413, 'AUTH_BAD_REQUEST')
    assertRefused(next, 401, 'AUTH_TOKEN_INVALID')
    connection.socket.destroy()
  }
})

test('a request that offers to speak another protocol is answered as if it did not', async () => {
  for (const protocol of ['websocket', 'h2c']) {
    const connection = await connectTo(
      url,
      `GET /auth/me HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: ${protocol}\r\n\r\n`,
    )
    await until('the answer', () => connection.received() !== '')
    const [answer] = answersIn(connection.received())
    assert.ok(answer)
    assertRefused(answer, 401, 'AUTH_TOKEN_INVALID')
    connection.socket.destroy()
  }
})
