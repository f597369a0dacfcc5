import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readdirSync, statSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { answersIn, connectTo, rawPost } from '../support/bare.ts'
import { findPostgres, startCluster } from '../support/cluster.ts'
import { readJwks, readKeys } from '../support/keys.ts'
import {
  call,
  type Environment,
  freshEnvironment,
  logInSomebody,
  me,
  type RunningProcess,
  refresh,
  registerSomebody,
  runSql,
  startProcess,
  startServer,
} from '../support/server.ts'
import { until } from '../support/wait.ts'

const needsPostgres = { skip: findPostgres() ? false : 'PostgreSQL is not installed' }
const cluster = findPostgres() ? await startCluster() : undefined
after(() => cluster?.remove())
let databases = 0

async function onCluster(env: Environment = {}): Promise<Environment> {
  if (!cluster) throw new Error('there is no cluster')
  const name = `start_${++databases}`
  await runSql({ DATABASE_URL: cluster.url }, `create database ${name}`)
  return freshEnvironment({ ...env, DATABASE_URL: Object.assign(new URL(cluster.url), { pathname: `/${name}` }).href })
}

async function onEmbedded(env: Environment = {}): Promise<Environment> {
  const { DATABASE_URL, ...rest } = await freshEnvironment(env)
  return rest
}

/** Starts a program that is expected to give up. */
async function refusalToStart(env: Environment): Promise<{ code: string; message: string }> {
  const error = await startProcess(env).then(
    () => assert.fail('it started'),
    (error) => error,
  )
  const [, code, message] = /^ended with (\S+) before it listened: (.*)$/s.exec(error.message) ?? []
  return { code: code as string, message: message as string }
}

suite('a SIGTERM', () => {
  for (const [database, options, environment] of [
    ['the embedded database', {}, onEmbedded],
    ['PostgreSQL', needsPostgres, onCluster],
  ] as const)
    test(`on ${database} lets every request finish, and then the program ends with code 0`, options, async () => {
      const server = await startProcess(await environment({ AUTH_BCRYPT_ROUNDS: '12', LOG_LEVEL: 'debug' }))
      const body = await registerSomebody(server)
      let answered = 0
      const logins = Array.from({ length: 3 }, async () => {
        const answer = await server.call('POST', '/auth/login', { body })
        answered++
        return answer
      })
      const arrived = () => server.output().match(/"route":"\/auth\/login"/g)?.length ?? 0
      await until('the logins to arrive', () => arrived() === logins.length)
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
    startProcess(await onEmbedded({ AUTH_BCRYPT_ROUNDS: '12', LOG_LEVEL: 'debug', ...env }))
  const arrived = (server: RunningProcess, count: number) => () =>
    (server.output().match(/"route":"\/auth\/login"/g)?.length ?? 0) >= count

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
    await until('the login to arrive', arrived(server, 3))

    const seconds = await secondsUntilEnd(server.end('SIGTERM'))
    clearInterval(dripping)
    assert.ok(seconds < 20, `${seconds} s`)
    const [answer] = answersIn(login.received())
    assert.equal(answer?.status, 200, 'what was whole is answered')
    assert.equal(answer.headers.get('connection'), 'close')

    const again = await startProcess(server.env)
    assert.equal((await refresh(again, answer.body.refresh_token)).status, 200)
  })

  test('is not kept waiting at all by connections that say nothing, or nothing more', async () => {
    const server = await start()
    await connectTo(server.url)
    const kept = await connectTo(server.url, me)
    await until('the answer', () => kept.received() !== '')
    const seconds = await secondsUntilEnd(server.end('SIGTERM'))
    assert.ok(seconds < 8, `${seconds} s`)
  })

  test('with SHUTDOWN_DELAY_SEC goes on serving for so long, and has each answer close its connection', async () => {
    const server = await start({ SHUTDOWN_DELAY_SEC: '6' })
    const kept = await connectTo(server.url, me)
    await until('the answer', () => answersIn(kept.received()).length === 1)
    assert.notEqual(answersIn(kept.received())[0]?.headers.get('connection'), 'close')
    const login = await connectTo(server.url, rawPost('/auth/login', await registerSomebody(server)))
    await until('the login to arrive', arrived(server, 1))

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
    assert.ok(seconds > 5.5 && seconds < 14, `${seconds} s`)
  })

  test('asked for several times at once, as by one Ctrl-C under npm, is one', async () => {
    const server = await start()
    const login = await connectTo(server.url, rawPost('/auth/login', await registerSomebody(server)))
    await until('the login to arrive', arrived(server, 1))
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
    assert.ok(seconds > 1 && seconds < 9, `${seconds} s`)
  })

  test('while the start is under way ends it, with code 0', async () => {
    const deaf = createServer().listen(0, '127.0.0.1')
    after(() => deaf.close())
    await once(deaf, 'listening')
    const { port } = deaf.address() as AddressInfo
    const DATABASE_URL = `postgres://cerrojo@127.0.0.1:${port}/x`
    const child = spawn(process.execPath, [join(import.meta.dirname, '../../src/main.ts')], {
      env: { PATH: process.env.PATH, ...(await onEmbedded()), DATABASE_URL },
    })
    after(() => child.kill('SIGKILL'))
    await once(deaf, 'connection')
    const startedMs = performance.now()
    child.kill('SIGTERM')
    assert.deepEqual(await once(child, 'exit'), [0, null])
    assert.ok(performance.now() - startedMs < 8000)
  })
})

suite('a data folder', () => {
  test('serves one process; a second is told which one, in one line', async () => {
    const first = await startProcess(await onEmbedded())
    const { refresh_token } = await logInSomebody(first)
    const { code, message } = await refusalToStart(first.env)
    assert.equal(code, '1')
    assert.equal(message.trim().split('\n').length, 1, message)
    assert.match(message, new RegExp(`in use by process ${first.process.pid}\\b`))
    assert.equal((await refresh(first, refresh_token)).status, 200, 'the first goes on')
  })

  test('is free again as soon as its process was killed', async () => {
    const first = await startProcess(await onEmbedded())
    const { refresh_token, access_token } = await logInSomebody(first)
    await first.end('SIGKILL')
    const second = await startProcess(first.env)
    assert.equal((await me(second, access_token)).status, 200)
    assert.equal((await refresh(second, refresh_token)).status, 200)
    assert.match((await refusalToStart(first.env)).message, new RegExp(`by process ${second.process.pid}\\b`))
  })
})

suite('five nodes that start at once on nothing', needsPostgres, () => {
  const shared: Record<string, (env: Environment) => (node: number) => Environment> = {
    'one folder': (env) => () => env,
    // Which none of them can write to, and which holds nothing.
    'one AUTH_KEYS_SECRET': (env) => {
      const AUTH_KEYS_SECRET = randomBytes(32).toString('base64url')
      return (node) => ({ ...env, AUTH_KEYS_SECRET, AUTH_DATA_DIR: `/dev/null/${node}` })
    },
  }
  for (const [title, nodeOf] of Object.entries(shared))
    test(`and share ${title} share one database and one key for each use`, async () => {
      const fresh = await onCluster()
      await rm(fresh.AUTH_DATA_DIR as string, { recursive: true })
      const environments = [1, 2, 3, 4, 5].map(nodeOf(fresh))
      const nodes = await Promise.all(environments.map((env) => startProcess(env)))
      const logins = await Promise.all(nodes.map(logInSomebody))
      for (const { access_token, refresh_token } of logins) {
        for (const node of nodes) assert.equal((await me(node, access_token)).status, 200)
        let token = refresh_token
        for (const node of nodes) {
          const answer = await refresh(node, token)
          assert.equal(answer.status, 200)
          token = answer.body.refresh_token
        }
      }
      assert.deepEqual(
        (await readKeys(environments[0] as Environment)).map(({ use, number }) => `${use} ${number}`),
        ['enc 1', 'enc_front 1', 'mac 1', 'sig 1'],
      )
      const sets = await Promise.all(nodes.map((node) => node.call('GET', '/.well-known/jwks.json')))
      assert.equal(new Set(sets.map(({ headers }) => headers.get('etag'))).size, 1)
      if (environments[0]?.AUTH_KEYS_SECRET) return
      assert.deepEqual(readdirSync(fresh.AUTH_DATA_DIR as string), ['keys-secret'])
      assert.equal(statSync(join(fresh.AUTH_DATA_DIR as string, 'keys-secret')).mode & 0o777, 0o600)
      assert.equal(statSync(fresh.AUTH_DATA_DIR as string).mode & 0o777, 0o700)
    })

  test('and have secrets of their own: the one that was first serves, the others are told what to copy', async () => {
    const env = await onCluster()
    const starts = Array.from({ length: 5 }, () =>
      startProcess({ ...env, AUTH_KEYS_SECRET: randomBytes(32).toString('base64url') }),
    )
    const started = await Promise.allSettled(starts)
    const refused = started.flatMap((start) => (start.status === 'rejected' ? [start.reason.message as string] : []))
    assert.equal(refused.length, 4)
    for (const message of refused)
      assert.match(message, /ended with 1 .*does not open with the secret from AUTH_KEYS_SECRET: copy/)
    const [node] = started.flatMap((start) => (start.status === 'fulfilled' ? [start.value] : []))
    assert.ok(node)
    assert.equal((await me(node, (await logInSomebody(node)).access_token)).status, 200)
  })
})

suite('the program gives up with code 1 and a short message, without a stack and without a secret, for', () => {
  const SECRET = 'tok-3n-0f-s3cr3cy'
  const cases: Record<string, { change: (env: Environment) => unknown; says: RegExp }> = {
    'several bad variables, each of which it names': {
      change: (env) => Object.assign(env, { AUTH_SIGNING_ALG: 'HS256', AUTH_REFRESH_TTL_SEC: '1 day', PORT: '-1' }),
      says: /^PORT .*\nAUTH_SIGNING_ALG .*\nAUTH_REFRESH_TTL_SEC /,
    },
    'a DATABASE_URL that is none': {
      change: (env) => Object.assign(env, { DATABASE_URL: `mysql://root:${SECRET}@127.0.0.1/x` }),
      says: /DATABASE_URL must be/,
    },
    'a DATABASE_URL where nobody listens': {
      change: (env) => Object.assign(env, { DATABASE_URL: `postgres://cerrojo:${SECRET}@127.0.0.1:1/x` }),
      says: /DATABASE_URL .*ECONNREFUSED/,
    },
    'a secret that does not open the keys': {
      change: (env) => Object.assign(env, { AUTH_KEYS_SECRET: randomBytes(32).toString('base64url') }),
      says: /^The \w+ key 1 in the database does not open with the secret from AUTH_KEYS_SECRET: copy .*reset --yes/,
    },
    'a secret that is gone': {
      change: (env) => rm(join(env.AUTH_DATA_DIR as string, 'keys-secret')),
      says: /does not open with the secret from \S+keys-secret, which does not exist: copy/,
    },
    'a file that should hold the secret': {
      change: (env) => {
        const path = join(env.AUTH_DATA_DIR as string, 'mounted')
        writeFileSync(path, SECRET)
        Object.assign(env, { AUTH_KEYS_SECRET_FILE: path })
      },
      says: /^AUTH_KEYS_SECRET_FILE must be a readable file with 32 random bytes/,
    },
    'a row of keys that was changed': {
      change: (env) => runSql(env, "update keys set kid = 'other' where use = 'sig'"),
      says: /^The row of the sig key 1 is not the one that its key was sealed for: restore it/,
    },
  }
  for (const [title, { change, says }] of Object.entries(cases))
    test(title, async () => {
      const env = await onEmbedded()
      const privateKeys = (await readJwks(env)).flatMap(({ d, p, q, k }) => [d, p, q, k]).filter(Boolean)
      await change(env)
      const secrets = [SECRET, ...privateKeys, env.AUTH_KEYS_SECRET].filter((secret) => secret !== undefined)
      assertShort(await refusalToStart(env), says, secrets)
    })

  test('a port that is taken', async () => {
    const { url } = await startServer()
    const env = await onEmbedded({ PORT: new URL(url).port })
    assertShort(await refusalToStart(env), /EADDRINUSE/)
    assert.equal((await call(url, 'GET', '/.well-known/jwks.json')).status, 200)
  })

  test('a database that does not exist, or a user that may not log in', needsPostgres, async () => {
    const { DATABASE_URL = '' } = await onCluster()
    const { host } = new URL(DATABASE_URL)
    for (const url of [
      `postgres://cerrojo:${SECRET}@${host}/nowhere`,
      `postgres://nobody:${SECRET}@${host}/postgres`,
    ]) {
      const env = { ...(await onEmbedded()), DATABASE_URL: url }
      assertShort(await refusalToStart(env), /DATABASE_URL .*does not exist/, [SECRET])
    }
  })

  function assertShort({ code, message }: { code: string; message: string }, says: RegExp, secrets: string[] = []) {
    assert.equal(code, '1')
    assert.match(message, says)
    assert.ok(message.length < 600 && message.trim().split('\n').length <= 3, message)
    assert.doesNotMatch(message, /^\s+at |Error:|node:internal|node_modules/m)
    for (const secret of secrets) assert.ok(!message.includes(secret), `it shows ${secret}`)
  }
})
