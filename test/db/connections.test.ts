/** PostgreSQL as operators run it: far away, stalled, frugal, late, in recovery, behind a pooler. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import pg from 'pg'
import { loadConfig } from '../../src/config.ts'
import { openDatabase, SILENT } from '../../src/db/connection.ts'
import { type Cluster, findPostgres, startCluster } from '../support/cluster.ts'
import { findPooler, startPooler } from '../support/pooler.ts'
import { startProxy } from '../support/proxy.ts'
import {
  type Environment,
  freshEnvironment,
  logInSomebody,
  me,
  newCredentials,
  newIdempotencyKey,
  refresh,
  registerSomebody,
  runSql,
  startProcess,
  startServer,
  untilAnswered,
} from '../support/server.ts'
import { until } from '../support/wait.ts'

const needsPostgres = { skip: findPostgres() ? false : 'missing: apt-get install postgresql' }

suite('PostgreSQL', needsPostgres, async () => {
  if (!findPostgres()) return
  const cluster = await startCluster()
  after(() => cluster.remove())
  const admin = (sql: string) => runSql({ DATABASE_URL: cluster.url }, sql)

  /** A new database on the cluster, `as` a role that may use it. */
  async function onCluster(env: Environment = {}, options = "encoding 'UTF8' template template0", as?: string) {
    const name = `connections_${randomUUID().replaceAll('-', '')}`
    await admin(`create database ${name} ${options}`)
    const url = Object.assign(new URL(cluster.url), { pathname: `/${name}` })
    const owner = await freshEnvironment({ ...env, DATABASE_URL: url.href })
    if (!as) return owner
    url.username = as
    return { ...owner, DATABASE_URL: url.href }
  }

  const backends = async (env: Environment) => {
    const name = new URL(env.DATABASE_URL as string).pathname.slice(1)
    const [row] = await admin(
      `select count(*)::int as count
         from pg_stat_activity
        where datname = '${name}' and backend_type = 'client backend'`,
    )
    return row?.count as number
  }

  test('far away, behind 200 ms a way, serves logins and refreshes', async () => {
    const env = await onCluster()
    const { url } = await startProxy(env.DATABASE_URL as string, { delayMs: 200 })
    /** Again where a slow machine takes its part of the 0.6 s, as whoever keeps it running does. */
    const start = (): ReturnType<typeof startServer> =>
      startServer({ ...env, DATABASE_URL: url }).catch((error) => {
        if (error.code !== 'AUTH_UNAVAILABLE') throw error
        return start()
      })
    const server = await start()
    const credentials = newCredentials()
    const untilDone = async (path: string, body: object) => {
      const headers = { 'idempotency-key': newIdempotencyKey() }
      let answer = await server.call('POST', path, { body, headers })
      await until(`${path} to succeed`, async () => {
        if (answer.status === 503) answer = await server.call('POST', path, { body, headers })
        return answer.status !== 503
      })
      return answer
    }
    assert.ok([201, 409].includes((await untilDone('/auth/register', credentials)).status))
    const login = await untilDone('/auth/login', credentials)
    assert.equal(login.status, 200)
    let token = login.body.refresh_token
    for (let rotation = 1; rotation <= 3; rotation++) {
      const { status, body } = await untilDone('/auth/token/refresh', { refresh_token: token })
      assert.equal(status, 200, 'even where a slow machine takes its part of the 0.6 s')
      token = body.refresh_token
    }
  })

  test('whose commits stall never has more backends than our pool; looks go on, the log tells it once', async () => {
    const env = await onCluster({ DATABASE_POOL_SIZE: '8' })
    const server = await startProcess(env)
    const told = (event: string) => server.output().split(`"event":"${event}"`).length - 1
    const { access_token, refresh_token } = await logInSomebody(server)
    const users = await Promise.all(Array.from({ length: 30 }, () => registerSomebody(server)))
    await admin(`alter system set synchronous_standby_names = 'nobody'`)
    await admin('select pg_reload_conf()')
    await until('the setting', async () => {
      const [row] = await admin('show synchronous_standby_names')
      return row?.synchronous_standby_names === 'nobody'
    })
    const statuses = new Set<number>()
    let most = 0
    for (let round = 1; round <= 10; round++) {
      const logins = users.map((body) => server.call('POST', '/auth/login', { body }))
      assert.equal((await me(server, access_token)).status, 200, 'a look goes on')
      for (const { status } of await Promise.all(logins)) statuses.add(status)
      most = Math.max(most, await backends(env))
    }
    assert.deepEqual([...statuses], [503])
    assert.ok(most <= 8, `${most} backends`)
    assert.deepEqual([told('database.away'), told('database.back')], [1, 0])

    await admin('alter system reset synchronous_standby_names')
    await admin('select pg_reload_conf()')
    await until('logins to work again', async () => {
      const { status } = await server.call('POST', '/auth/login', { body: users[0] })
      return status === 200
    })
    assert.equal((await refresh(server, refresh_token)).status, 200)
    await until('the log to say so', async () => {
      await me(server, access_token)
      return told('database.back') > 0
    })
    assert.deepEqual([told('database.away'), told('database.back')], [1, 1])
    await server.end('SIGTERM')
  })

  test('whose connections vanish silently is asked over new ones, long before the system gives them up', async () => {
    const env = await onCluster({ DATABASE_POOL_SIZE: '4' })
    const { url, loseConnections } = await startProxy(env.DATABASE_URL as string)
    const server = await startServer({ ...env, DATABASE_URL: url })
    const sessions = await Promise.all(Array.from({ length: 8 }, () => logInSomebody(server)))
    const looks = () => Promise.all(sessions.map(({ access_token }) => me(server, access_token)))
    await looks()
    loseConnections()
    const key = newIdempotencyKey()
    const refreshed = new Set<string>()
    await until('everybody to have refreshed', async () => {
      for (const { refresh_token } of sessions) {
        const { status } = await refresh(server, refresh_token, key)
        assert.ok([200, 503].includes(status))
        if (status === 200) refreshed.add(refresh_token)
      }
      return refreshed.size === sessions.length
    })
    for (const { status } of await looks()) assert.equal(status, 200)
    assert.ok((await backends(env)) <= 4)
  })

  test('whose connections vanish while refreshes go on over new ones is asked by looks over new ones too', async () => {
    const env = await onCluster({ DATABASE_POOL_SIZE: '8' })
    const { url, loseConnections } = await startProxy(env.DATABASE_URL as string)
    const server = await startServer({ ...env, DATABASE_URL: url })
    const key = newIdempotencyKey()
    let { access_token, refresh_token } = await logInSomebody(server)
    const isSeen = async () => (await me(server, access_token)).status === 200
    async function isRefreshed(): Promise<boolean> {
      const { status, body } = await refresh(server, refresh_token, key)
      if (status === 200) ({ access_token, refresh_token } = body)
      return status === 200
    }
    await until('a connection for each look to lose', async () => {
      await Promise.all([isSeen(), isRefreshed()])
      return (await backends(env)) >= 2
    })
    loseConnections()
    for (let look = 1; look <= 2; look++) assert.equal(await isSeen(), false)
    await until('a look that is answered among refreshes that are', async () => (await isRefreshed()) && isSeen())
  })

  test('whose answer came in time is read first by a process that had no turn until it was late', async () => {
    const database = await openDatabase(loadConfig(await onCluster()), SILENT, 2000)
    after(() => database.close())
    const asked = database.rows`select pg_sleep(0.3)`
    await until('it to be asked', async () => {
      const [row] = await admin(
        `select count(*)::int as count from pg_stat_activity where query = 'select pg_sleep(0.3)'`,
      )
      return row?.count === 1
    })
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2500)
    assert.equal((await asked).length, 1)
  })

  test('that grants a role four connections is asked over four of them, without a refusal', async () => {
    await admin('create role frugal login superuser connection limit 4')
    const env = await onCluster({ DATABASE_POOL_SIZE: '10' }, undefined, 'frugal')
    await admin('alter role frugal nosuperuser')
    const server = await startProcess(env).catch(async () => {
      await admin(`alter database ${new URL(env.DATABASE_URL as string).pathname.slice(1)} owner to frugal`)
      return startProcess(env)
    })
    const key = newIdempotencyKey()
    const sessions = await Promise.all(Array.from({ length: 30 }, () => logInSomebody(server)))
    const answers = await Promise.all(
      sessions.flatMap(({ access_token, refresh_token }) => [
        untilAnswered(() => me(server, access_token)),
        untilAnswered(() => refresh(server, refresh_token, key)),
      ]),
    )
    assert.deepEqual([...new Set(answers.map(({ status }) => status))], [200])
    assert.doesNotMatch(server.output(), /too many connections/)
    await server.end('SIGTERM')
  })

  test('whose role may not change the schema serves the module once the schema is there', async () => {
    await admin('create role humble login')
    const owner = await onCluster()
    await (await startServer(owner)).close()
    await runSql(owner, 'grant select, insert, update, delete on all tables in schema public to humble')
    const url = Object.assign(new URL(owner.DATABASE_URL as string), { username: 'humble' })
    const server = await startServer({ ...owner, DATABASE_URL: url.href })
    const { refresh_token } = await logInSomebody(server)
    assert.equal((await refresh(server, refresh_token)).status, 200)
  })

  test('that isolates transactions as serializable by default refuses none of 1,200 rotations', async () => {
    const env = await onCluster()
    await admin(`alter database ${new URL(env.DATABASE_URL as string).pathname.slice(1)}
                 set default_transaction_isolation = 'serializable'`)
    const server = await startProcess(env)
    const sessions = await Promise.all(Array.from({ length: 40 }, () => logInSomebody(server)))
    await Promise.all(
      sessions.map(async ({ refresh_token: token }) => {
        for (let rotation = 1; rotation <= 30; rotation++) {
          const key = newIdempotencyKey()
          const { status, body } = await untilAnswered(() => refresh(server, token, key))
          assert.equal(status, 200)
          token = body.refresh_token
        }
      }),
    )
    assert.doesNotMatch(server.output(), /could not serialize/)
    await server.end('SIGTERM')
  })

  test('with Turkish rules for letters confuses no emails', async () => {
    const env = await onCluster({}, "locale_provider icu icu_locale 'tr' template template0")
    const server = await startServer(env)
    const register = (email: string) =>
      server.call('POST', '/auth/register', { body: { email, password: newCredentials().password } })
    assert.equal((await register('IAN.I@EXAMPLE.COM')).status, 201)
    assert.equal((await register('ian.i@example.com')).status, 409)
  })

  test('of another encoding than UTF-8 is refused with a sentence', async () => {
    const env = await onCluster({}, "encoding 'LATIN1' lc_collate 'C' lc_ctype 'C' template template0")
    await assert.rejects(startServer(env), /encoding is LATIN1.*encoding 'UTF8'/)
  })

  test('whose schema a newer version has broken is refused, and one that it only added to is served', async () => {
    const env = await onCluster()
    await (await startServer(env)).close()
    await runSql(env, `insert into schema_migrations values ('900_more.sql')`)
    await (await startServer(env)).close()
    await runSql(env, `insert into schema_migrations values ('901_less.breaking.sql')`)
    await assert.rejects(startServer(env), /newer version.*901_less\.breaking\.sql/)
  })

  test('may move: its address is read for each connection, and one that cannot be read leaves the old', async () => {
    const { DATABASE_URL = '', ...env } = await onCluster()
    const file = join(env.AUTH_DATA_DIR as string, '..', 'url')
    writeFileSync(file, `${DATABASE_URL}\n`)
    const server = await startProcess({ ...env, DATABASE_URL_FILE: file })
    const { refresh_token } = await logInSomebody(server)
    const name = new URL(DATABASE_URL).pathname.slice(1)
    await admin(`select pg_terminate_backend(pid) from pg_stat_activity where datname = '${name}'`)
    await admin(`alter database ${name} rename to ${name}_moved`)
    writeFileSync(file, DATABASE_URL.replace(name, `${name}_moved`))
    const key = newIdempotencyKey()
    await until('the refresh', async () => (await refresh(server, refresh_token, key)).status === 200)
    assert.deepEqual(await server.end('SIGTERM'), { code: 0 })
  })
})

suite('PgBouncer', {
  skip: findPostgres() && findPooler() ? false : 'missing: apt-get install postgresql pgbouncer',
}, () => {
  /** In front of a cluster of its own, with so many connections to it. */
  async function behindPooler(mode: 'session' | 'transaction', serverConnections: number): Promise<Environment> {
    const cluster = await startCluster()
    after(() => cluster.remove())
    await (await startServer(await freshEnvironment({ DATABASE_URL: cluster.url }))).close()
    const url = await startPooler(cluster.url, mode, serverConnections)
    return freshEnvironment({ DATABASE_URL: url, LOG_LEVEL: 'warn' })
  }

  test('in session mode is like PostgreSQL itself', async () => {
    const server = await startServer(await behindPooler('session', 20))
    const sessions = await Promise.all(Array.from({ length: 20 }, () => logInSomebody(server)))
    for (const { refresh_token, access_token } of sessions) {
      assert.equal((await refresh(server, refresh_token)).status, 200)
      assert.equal((await me(server, access_token)).status, 200)
    }
  })

  test('in transaction mode, which mixes connections up, is answered 503 and told of, and never 500', async () => {
    const server = await startProcess(await behindPooler('transaction', 2))
    const statuses = new Set<number>()
    await until('the pooler to mix connections up', async () => {
      const answers = await Promise.all(
        Array.from({ length: 20 }, () => server.call('POST', '/auth/register', { body: newCredentials() })),
      )
      for (const { status } of answers) statuses.add(status)
      return statuses.has(503)
    })
    assert.deepEqual([...statuses].filter((status) => status !== 201 && status !== 409).sort(), [503])
    assert.match(server.output(), /database\.away.*pool_mode = session/)
    await server.end('SIGKILL')
  })
})

suite('a PostgreSQL of its own', needsPostgres, () => {
  async function ownCluster(): Promise<{ cluster: Cluster; env: Environment }> {
    const cluster = await startCluster()
    after(() => cluster.remove())
    return { cluster, env: await freshEnvironment({ DATABASE_URL: cluster.url }) }
  }

  test('that starts later than the module is waited for', async () => {
    const { cluster, env } = await ownCluster()
    await cluster.stop('SIGINT')
    let output = ''
    const starting = startProcess(env, undefined, (printed) => {
      output = printed
    })
    await until('the module to wait', () => /cannot be used.*waiting up to 60 s/.test(output))
    await cluster.start()
    const server = await starting
    assert.equal((await me(server, (await logInSomebody(server)).access_token)).status, 200)
  })

  test('in recovery is answered 503, and serves again when it is promoted', async () => {
    const { cluster, env } = await ownCluster()
    const server = await startServer(env)
    const { refresh_token } = await logInSomebody(server)
    await cluster.stop('SIGINT')
    await cluster.start({ isStandby: true })
    const key = newIdempotencyKey()
    const { status } = await refresh(server, refresh_token, key)
    assert.equal(status, 503)
    const client = new pg.Client({ connectionString: cluster.url })
    await client.connect()
    await client.query('select pg_promote()')
    await client.end()
    await until('the refresh', async () => (await refresh(server, refresh_token, key)).status === 200)
  })

  test('that stops for a moment costs nobody a session: what was answered 503 may be shown again, once', async () => {
    const { cluster, env } = await ownCluster()
    const server = await startServer(env)
    for (let round = 1; round <= 3; round++) {
      const { refresh_token } = await logInSomebody(server)
      cluster.signal('SIGSTOP')
      assert.equal((await refresh(server, refresh_token)).status, 503)
      cluster.signal('SIGCONT')
      const answers: Awaited<ReturnType<typeof refresh>>[] = []
      await until('the refresh', async () => {
        answers.push(await refresh(server, refresh_token))
        return answers.at(-1)?.status !== 503
      })
      const owner = answers.at(-1)
      assert.equal(owner?.status, 200)
      const thief = await refresh(server, refresh_token)
      if (thief.status === 401) continue // what was answered 503 had never begun, so the owner was the first
      assert.deepEqual([thief.status, thief.body.refresh_token], [200, owner?.body.refresh_token])
      assert.equal((await refresh(server, owner?.body.refresh_token)).status, 200)
      assert.equal((await refresh(server, thief.body.refresh_token)).body.error?.code, 'AUTH_TOKEN_REVOKED')
    }
  })
})
