/** The end of a server that was told to stop: what is under way is answered, and nobody keeps it waiting. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { answersIn, connectTo, rawPost } from '../support/bare.ts'
import { findPostgres, startCluster } from '../support/cluster.ts'
import {
  type Environment,
  freshEnvironment,
  type RunningProcess,
  refresh,
  registerSomebody,
  startProcess,
} from '../support/server.ts'
import { until } from '../support/wait.ts'

async function onPostgres(env: Environment): Promise<Environment> {
  const cluster = await startCluster()
  after(() => cluster.remove())
  return freshEnvironment({ ...env, DATABASE_URL: cluster.url })
}

async function onEmbedded(env: Environment): Promise<Environment> {
  const { DATABASE_URL, ...rest } = await freshEnvironment(env)
  return rest
}

/** Looks often enough that none of those logins is answered yet. */
async function untilArrived(server: RunningProcess, logins: number): Promise<void> {
  const arrived = () => server.output().match(/"route":"\/auth\/login"/g)?.length ?? 0
  await until('the logins to arrive', () => arrived() >= logins, { everyMs: 1 })
}

suite('a SIGTERM', () => {
  for (const [database, options, environment] of [
    ['the embedded database', {}, onEmbedded],
    ['PostgreSQL', { skip: findPostgres() ? false : 'missing: apt-get install postgresql' }, onPostgres],
  ] as const)
    test(`on ${database} lets every request finish, and then the program ends with code 0`, options, async () => {
      const server = await startProcess(await environment({ AUTH_BCRYPT_ROUNDS: '10', LOG_LEVEL: 'debug' }))
      const body = await registerSomebody(server)
      let answered = 0
      const logins = Array.from({ length: 3 }, async () => {
        const answer = await server.call('POST', '/auth/login', { body })
        answered++
        return answer
      })
      await untilArrived(server, logins.length)
      assert.ok(answered < logins.length, 'not all are answered yet')

      const ended = server.end('SIGTERM')
      const answers = await Promise.all(logins)
      assert.deepEqual(
        answers.map(({ status }) => status),
        [200, 200, 200],
      )
      assert.deepEqual(await ended, { code: 0 })
      await assert.rejects(server.call('GET', '/.well-known/jwks.json'), 'nobody listens any more')

      const again = await startProcess(server.env)
      for (const { body } of answers) assert.equal((await refresh(again, body.refresh_token)).status, 200)
      assert.deepEqual(await again.end('SIGINT'), { code: 0 })
    })
})

suite('a stop', { concurrency: true }, () => {
  const head = 'POST /auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n'
  const me = 'GET /auth/me HTTP/1.1\r\nHost: a\r\n\r\n'
  const start = async (env: Environment = {}) =>
    startProcess(await onEmbedded({ AUTH_BCRYPT_ROUNDS: '10', LOG_LEVEL: 'debug', ...env }))

  /** Seconds from now until the program has ended, with code 0. */
  async function secondsUntilEnd(ended: Promise<{ code: number | null }>): Promise<number> {
    const startedMs = performance.now()
    assert.deepEqual(await ended, { code: 0 })
    return (performance.now() - startedMs) / 1000
  }

  test('is kept waiting by nobody without a whole request, and the folder is free for the next start', async () => {
    const server = await start()
    const body = await registerSomebody(server)
    const halves = await Promise.all(
      [
        `${head}Content-Length: 50\r\n\r\n{`,
        head,
        `${head}Transfer-Encoding: chunked\r\n\r\n10\r\n{`,
        `${head}X-Drip: `,
        `${me}${head}`,
        'hello there\r\n\r\n',
        'CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n',
        '',
      ].map((bytes) => connectTo(server.url, bytes)),
    )
    const dripping = setInterval(() => halves[3]?.send('x'), 300)
    const login = await connectTo(server.url, rawPost('/auth/login', body))
    await untilArrived(server, 3)

    const seconds = await secondsUntilEnd(server.end('SIGTERM'))
    clearInterval(dripping)
    assert.ok(seconds < 60, `${seconds} s`)
    const [answer] = answersIn(login.received())
    assert.equal(answer?.status, 200, 'what was whole is answered')
    assert.equal(answer.headers.get('connection'), 'close')

    const again = await startProcess(server.env)
    assert.equal((await refresh(again, answer.body.refresh_token)).status, 200)
  })

  test('is not kept waiting at all by connections that say nothing, or nothing more', async () => {
    const [server, other] = [await start(), await start()]
    await connectTo(server.url)
    const kept = await connectTo(server.url, me)
    await until('the answer', () => kept.received() !== '')
    const ends = [server, other].map((each) => secondsUntilEnd(each.end('SIGTERM')))
    const [seconds = 0, withoutThem = 0] = await Promise.all(ends)
    assert.ok(seconds < withoutThem + 7, `${seconds} s, and ${withoutThem} s without them`)
  })

  test('with SHUTDOWN_DELAY_SEC goes on serving for so long, and has each answer close its connection', async () => {
    const server = await start({ SHUTDOWN_DELAY_SEC: '11' })
    const kept = await connectTo(server.url, me)
    await until('the answer', () => answersIn(kept.received()).length === 1)
    assert.notEqual(answersIn(kept.received())[0]?.headers.get('connection'), 'close')
    const login = await connectTo(server.url, rawPost('/auth/login', await registerSomebody(server)))
    await untilArrived(server, 1)

    const ended = secondsUntilEnd(server.end('SIGTERM'))
    await until('it to know', async () => {
      const answer = await server.call('GET', '/.well-known/jwks.json')
      return answer.headers.get('connection') === 'close'
    })
    kept.send(me)
    for (const bytes of [me, 'GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n', `${me.replace('GET', 'PUT')}`]) {
      const connection = await connectTo(server.url, bytes)
      await connection.ended
      assert.equal(answersIn(connection.received())[0]?.headers.get('connection'), 'close', bytes)
    }
    await Promise.all([kept.ended, login.ended])
    assert.equal(answersIn(kept.received())[1]?.headers.get('connection'), 'close')
    assert.deepEqual(
      answersIn(login.received()).map(({ status, headers }) => [status, headers.get('connection')]),
      [[200, 'close']],
    )
    const seconds = await ended
    assert.ok(seconds > 10.5, `${seconds} s`)
  })

  test('asked for several times at once, as by one Ctrl-C under npm, is one', async () => {
    const server = await start()
    const login = await connectTo(server.url, rawPost('/auth/login', await registerSomebody(server)))
    await untilArrived(server, 1)
    for (const signal of ['SIGINT', 'SIGTERM'] as const) server.process.kill(signal)
    await secondsUntilEnd(server.end('SIGINT'))
    assert.equal(answersIn(login.received())[0]?.status, 200)
  })

  test('asked for again a second later or more is at once', async () => {
    const server = await start()
    await connectTo(server.url, `${head}Content-Length: 50\r\n\r\n{`)
    const ended = server.end('SIGINT')
    const startedMs = performance.now()
    const again = setInterval(() => server.process.kill('SIGINT'), 300)
    assert.deepEqual(await ended, { code: 130 })
    clearInterval(again)
    const seconds = (performance.now() - startedMs) / 1000
    assert.ok(seconds > 1, `${seconds} s`)
  })

  test('while the start is under way ends it, with code 0', async () => {
    const deaf = createServer().listen(0, '127.0.0.1')
    after(() => deaf.close())
    await once(deaf, 'listening')
    const { port } = deaf.address() as AddressInfo
    const DATABASE_URL = `postgres://cerrojo@127.0.0.1:${port}/x`
    const child = spawn(process.execPath, [join(import.meta.dirname, '../../src/main.ts')], {
      env: { PATH: process.env.PATH, ...(await onEmbedded({})), DATABASE_URL },
    })
    after(() => child.kill('SIGKILL'))
    await once(deaf, 'connection')
    child.kill('SIGTERM')
    assert.deepEqual(await once(child, 'exit'), [0, null])
  })
})
