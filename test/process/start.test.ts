/** The start of a server: alone, among others, and when it cannot. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readdirSync, statSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { findPostgres, startCluster } from '../support/cluster.ts'
import { readJwks, readKeys } from '../support/keys.ts'
import {
  call,
  type Environment,
  freshEnvironment,
  logInSomebody,
  me,
  refresh,
  runSql,
  startProcess,
  startServer,
} from '../support/server.ts'

const needsPostgres = { skip: findPostgres() ? false : 'missing: apt-get install postgresql' }
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
      change: (env) => {
        const DATABASE_URL = `postgres://cerrojo:${SECRET}@127.0.0.1:1/x`
        Object.assign(env, { DATABASE_URL, DATABASE_START_TIMEOUT_SEC: '1' })
      },
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
