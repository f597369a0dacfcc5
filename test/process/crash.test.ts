import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { connect, createServer, type Socket } from 'node:net'
import { after, suite, test } from 'node:test'
import { type Cluster, findPostgres, startCluster } from '../support/cluster.ts'
import {
  type Answer,
  freshEnvironment,
  logInSomebody,
  me,
  newCredentials,
  newIdempotencyKey,
  type RunningProcess,
  refresh,
  registerSomebody,
  runSql,
  type Server,
  startProcess,
  startServer,
  untilAnswered,
} from '../support/server.ts'
import { until } from '../support/wait.ts'

const needsPostgres = { skip: findPostgres() ? false : 'missing: apt-get install postgresql' }

/** A client that refreshes without a pause, each time with a new key, until nobody answers. */
interface Client {
  token: string
  accessToken: string
  /** Of the refresh that was not answered, if there is one. */
  pendingKey: string | undefined
  answered: number
}

async function newClient(server: Server): Promise<Client> {
  const { refresh_token, access_token } = await logInSomebody(server)
  return { token: refresh_token, accessToken: access_token, pendingKey: undefined, answered: 0 }
}

/** Repeats what was not answered, or with 503, with its key, and refreshes on. */
async function refreshOn(server: Server, client: Client, goesOn: () => boolean): Promise<void> {
  while (goesOn()) {
    client.pendingKey ??= newIdempotencyKey()
    const answer = await refresh(server, client.token, client.pendingKey).catch(() => undefined)
    if (!answer) return
    if (answer.status === 503) continue
    assert.equal(answer.status, 200, JSON.stringify(answer.body))
    const { refresh_token, access_token } = answer.body
    Object.assign(client, { token: refresh_token, accessToken: access_token, pendingKey: undefined })
    client.answered++
  }
}

/** Registers one after the other, and says who was told that it succeeded. */
async function registerOn(
  server: Server,
  registered: { email: string; password: string }[],
  goesOn: () => boolean,
): Promise<void> {
  while (goesOn()) {
    const credentials = newCredentials()
    const answer = await server.call('POST', '/auth/register', { body: credentials }).catch(() => undefined)
    if (!answer) return
    if (answer.status === 201) registered.push(credentials)
  }
}

/**
 * The stream, the crash in the midst of it, and then the promise: P1 and P3.
 * @param crash over when nothing more can be answered with success
 */
async function crashUnderLoad(
  server: RunningProcess,
  clients: Client[],
  crash: () => Promise<unknown>,
  restore: () => Promise<RunningProcess>,
) {
  const registered: { email: string; password: string }[] = []
  const before = clients.map(({ answered }) => answered)
  let goesOn = true
  const streams = [
    ...clients.map((client) => refreshOn(server, client, () => goesOn)),
    registerOn(server, registered, () => goesOn),
  ]
  await until('twenty answers for each client', () =>
    clients.every(({ answered }, index) => answered >= (before[index] as number) + 20),
  )
  await until('five registrations', () => registered.length >= 5)
  await crash()
  goesOn = false
  await Promise.all(streams)

  assert.ok(
    clients.every(({ pendingKey }) => pendingKey),
    'the crash cut every stream off',
  )
  const restored = await restore()
  for (const client of clients) {
    const { answered } = client
    await refreshOn(restored, client, () => client.answered < answered + 2)
    assert.equal(client.answered, answered + 2, 'what was not answered completes, and what comes next too')
    assert.equal((await untilAnswered(() => me(restored, client.accessToken))).status, 200)
  }
  for (const body of registered) {
    const login = await untilAnswered(() => restored.call('POST', '/auth/login', { body }))
    assert.equal(login.status, 200)
  }
  return restored
}

function answersOf(clients: Client[]): number {
  return clients.reduce((sum, { answered }) => sum + answered, 0)
}

test('killing the module under load loses nothing answered, and the rest completes with its key', async (t) => {
  let server = await startProcess(await freshEnvironment())
  const clients = await Promise.all(Array.from({ length: 6 }, () => newClient(server)))
  const idle = await newClient(server)
  await refreshOn(server, idle, () => idle.answered < 1)
  for (let crash = 1; crash <= 3; crash++)
    server = await crashUnderLoad(
      server,
      clients,
      () => server.end('SIGKILL'),
      () => startProcess(server.env),
    )
  await refreshOn(server, idle, () => idle.answered < 2)
  assert.equal(idle.answered, 2, 'a token answered long before the crash refreshes')
  t.diagnostic(`${answersOf(clients)} refreshes around a kill -9`)
})

suite('PostgreSQL', needsPostgres, () => {
  let cluster: Cluster
  async function clusterDatabase(): Promise<string> {
    cluster ??= await startCluster()
    const name = `test_${randomUUID().replaceAll('-', '')}`
    await runSql({ DATABASE_URL: cluster.url }, `create database ${name}`)
    return Object.assign(new URL(cluster.url), { pathname: `/${name}` }).href
  }
  after(() => cluster?.remove())

  test('killed under load loses nothing that was answered, and the module goes on without a restart', async (t) => {
    const server = await startProcess(await freshEnvironment({ DATABASE_URL: await clusterDatabase() }))
    const clients = await Promise.all(Array.from({ length: 6 }, () => newClient(server)))
    for (let crash = 1; crash <= 2; crash++)
      await crashUnderLoad(
        server,
        clients,
        async () => {
          await cluster.stop('SIGKILL')
          await until('a 503', async () => (await refresh(server, 'A'.repeat(64))).status === 503)
        },
        async () => {
          await cluster.start()
          await until('an answer of the database', async () => (await refresh(server, 'A'.repeat(64))).status === 401)
          return server
        },
      )
    assert.equal(server.process.exitCode, null)
    t.diagnostic(`${answersOf(clients)} refreshes around a kill -9`)
  })

  test('stopped under load is answered with 503 within two seconds, and started again with 200', async () => {
    const server = await startProcess(
      await freshEnvironment({
        DATABASE_URL: await clusterDatabase(),
        AUTH_RATE_LIMIT_LOGIN: '1000000',
        AUTH_RATE_LIMIT_FAILURES: '1000000',
      }),
    )
    const body = await registerSomebody(server)
    const clients = await Promise.all(Array.from({ length: 4 }, () => newClient(server)))
    const calls: Record<string, () => Promise<Answer>> = {
      register: () => server.call('POST', '/auth/register', { body: newCredentials() }),
      login: () => server.call('POST', '/auth/login', { body }),
      me: () => me(server, (clients[0] as Client).accessToken),
      jwks: () => server.call('GET', '/.well-known/jwks.json'),
      ...Object.fromEntries(
        clients.map((client, index) => [
          `refresh ${index}`,
          async () => {
            client.pendingKey ??= newIdempotencyKey()
            const answer = await refresh(server, client.token, client.pendingKey)
            if (answer.status === 200)
              Object.assign(client, { token: answer.body.refresh_token, pendingKey: undefined })
            return answer
          },
        ]),
      ),
    }
    const seen: { name: string; status: number; code: string; retryAfter: number; took: number }[] = []
    let goesOn = true
    const streams = Object.entries(calls).map(async ([name, ask]) => {
      while (goesOn) {
        const from = performance.now()
        const { status, headers, body } = await ask()
        const [retryAfter, took] = [Number(headers.get('retry-after')), performance.now() - from]
        seen.push({ name, status, code: body.error?.code, retryAfter, took })
      }
    })
    const eachAnswers = (what: string, isThat: (status: number) => boolean, from: number) =>
      until(`${what} from each`, () => {
        const those = seen.slice(from).filter(({ name, status }) => isThat(status) || name === 'jwks')
        return new Set(those.map(({ name }) => name)).size === streams.length
      })

    await eachAnswers('a success', (status) => status < 300, 0)
    await cluster.stop('SIGINT')
    await eachAnswers('a 503', (status) => status === 503, seen.length)
    await cluster.start()
    await eachAnswers('a success', (status) => status < 300, seen.length)
    goesOn = false
    await Promise.all(streams)

    const looks = seen.filter(({ name }) => name === 'jwks')
    const slowest = Math.max(...looks.map(({ took }) => took))
    for (const { name, status, code, retryAfter, took } of seen.filter(({ status }) => status >= 300)) {
      assert.deepEqual([status, code], [503, 'AUTH_UNAVAILABLE'], name)
      assert.ok(retryAfter >= 1, `${name}: Retry-After`)
      assert.ok(took < 2000 + slowest, `${name} took ${took} ms, and what needs no database ${slowest} ms`)
    }
    assert.ok(looks.every(({ status }) => status === 200))
    assert.equal(server.process.exitCode, null)
  })

  test('that hangs is answered with 503 within two seconds', async () => {
    const target = new URL(await clusterDatabase())
    const sockets = new Set<Socket>()
    const proxy = createServer((near) => {
      const far = connect(Number(target.port), target.hostname)
      for (const socket of [near, far]) sockets.add(socket.on('error', () => {}))
      near.pipe(far).pipe(near)
    })
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
    after(() => {
      for (const socket of sockets) socket.destroy()
      proxy.close()
    })
    const address = proxy.address() as { port: number }
    const DATABASE_URL = Object.assign(new URL(target), { port: address.port }).href
    const server = await startServer({ DATABASE_URL, DATABASE_POOL_SIZE: '3' })
    const { access_token, refresh_token } = await logInSomebody(server)

    for (const socket of sockets) socket.unpipe().pause()
    proxy.removeAllListeners('connection').on('connection', (near) => sockets.add(near.on('error', () => {})))
    const key = newIdempotencyKey()
    async function timed(ask: () => Promise<Answer>) {
      const from = performance.now()
      const { status } = await ask()
      return { status, took: performance.now() - from }
    }
    const asked = Array.from({ length: 20 }, (_, index) =>
      timed(() => (index % 2 ? me(server, access_token) : refresh(server, refresh_token, key))),
    )
    let goesOn = true
    const answers = Promise.all(asked).finally(() => (goesOn = false))
    let slowest = 0 // of what needs no database: that is the machine's part
    while (goesOn) slowest = Math.max(slowest, (await timed(() => server.call('GET', '/.well-known/jwks.json'))).took)
    for (const { status, took } of await answers) {
      assert.equal(status, 503)
      assert.ok(took < 2000 + slowest, `it took ${took} ms, and what needs no database ${slowest} ms`)
    }
  })
})
