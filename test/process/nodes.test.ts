/** Several nodes on one PostgreSQL and one secret, with no folder between them. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { promisify } from 'node:util'
import { type Cluster, findPostgres, startCluster } from '../support/cluster.ts'
import { decodeJson, encode, encryptJwe, type Jwk } from '../support/jose_by_hand.ts'
import { readKeys, USES } from '../support/keys.ts'
import {
  type Environment,
  freshEnvironment,
  logInSomebody,
  me,
  newIdempotencyKey,
  type RunningProcess,
  refresh,
  registerSomebody,
  runSql,
  type Server,
  startProcess,
  untilAnswered,
} from '../support/server.ts'
import { until } from '../support/wait.ts'

const COMMAND = join(import.meta.dirname, '../../cli/cerrojo.ts')
const DAY_SECONDS = 24 * 60 * 60

/** A new key of each use every some seconds, which each node must have read within six; half a minute of grace. */
const QUICK: Environment = {
  AUTH_JWKS_CACHE_TTL_SEC: '3',
  AUTH_KEY_ROTATION_DAYS: String(4 / DAY_SECONDS),
  AUTH_KEY_GRACE_DAYS: String(30 / DAY_SECONDS),
  AUTH_ACCESS_TTL_SEC: '20',
  AUTH_CLOCK_SKEW_SEC: '10',
}
const newSecret = () => randomBytes(32).toString('base64url')

async function published(node: Server): Promise<Jwk[]> {
  return (await node.call('GET', '/.well-known/jwks.json')).body.keys
}

function cerrojo(env: Environment, ...words: string[]) {
  return promisify(execFile)(process.execPath, [COMMAND, ...words], { env: { PATH: process.env.PATH, ...env } })
}

suite('nodes', { skip: findPostgres() ? false : 'missing: apt-get install postgresql' }, () => {
  let cluster: Cluster
  after(() => cluster?.remove())
  /** Nothing but a database and a secret: the data folder can neither be made nor written to. */
  async function onCluster(env: Environment = {}): Promise<Environment & { AUTH_KEYS_SECRET: string }> {
    cluster ??= await startCluster()
    const name = `test_${randomUUID().replaceAll('-', '')}`
    await runSql({ DATABASE_URL: cluster.url }, `create database ${name}`)
    const DATABASE_URL = Object.assign(new URL(cluster.url), { pathname: `/${name}` }).href
    const AUTH_DATA_DIR = '/dev/null/data'
    return { ...(await freshEnvironment()), DATABASE_URL, AUTH_DATA_DIR, AUTH_KEYS_SECRET: newSecret(), ...env }
  }

  test('serve what the other gave out, through rotations of all three keys', async () => {
    const env = await onCluster(QUICK)
    const nodes = [await startProcess(env), await startProcess(env)] as const
    const seen = new Set<string>()
    const isEnough = () => USES.every((use) => [...seen].filter((key) => key.startsWith(`${use} `)).length >= 4)

    async function walk(from: Server, to: Server): Promise<void> {
      let { access_token, refresh_token } = await logInSomebody(from)
      while (!isEnough()) {
        const key = newIdempotencyKey()
        assert.equal((await untilAnswered(() => me(to, access_token))).status, 200)
        const granted = await untilAnswered(() => refresh(to, refresh_token, key))
        assert.equal(granted.status, 200)
        ;({ access_token, refresh_token } = granted.body)
        ;[from, to] = [to, from]
      }
    }
    async function logInEncrypted(from: Server, to: Server): Promise<void> {
      const credentials = await registerSomebody(from)
      while (!isEnough()) {
        const [keys, others] = await Promise.all([published(from), published(to)])
        for (const { use, kid } of keys) seen.add(`${use} ${kid}`)
        const isKnown = (key: Jwk) => others.some(({ kid }) => kid === key.kid)
        const key = keys.findLast((key) => key.use === 'enc_front' && isKnown(key)) as Jwk
        const header = { alg: 'RSA-OAEP-256', enc: 'A256GCM', kid: key.kid }
        const body = { __front_enc__: encryptJwe(header, JSON.stringify(credentials), key) }
        assert.equal((await untilAnswered(() => to.call('POST', '/auth/login', { body }))).status, 200)
      }
    }
    const [one, other] = nodes
    await Promise.all([walk(one, other), walk(other, one), logInEncrypted(one, other), logInEncrypted(other, one)])
  })

  test('change their secret one by one, under a stream of requests, without one refusal', async () => {
    const env = await onCluster(QUICK)
    const second = { ...env, AUTH_KEYS_SECRET: newSecret() }
    const both = { ...second, AUTH_KEYS_SECRET_PREVIOUS: env.AUTH_KEYS_SECRET }
    const nodes: { server: RunningProcess; asked: number }[] = []
    for (let node = 0; node < 3; node++) nodes.push({ server: await startProcess(env), asked: 0 })

    /** As a balancer does: to a node that takes requests, and it is waited for before it ends. */
    async function ask<Answer>(request: (server: Server) => Promise<Answer>): Promise<Answer> {
      const node = nodes[Math.floor(Math.random() * nodes.length)] as (typeof nodes)[number]
      node.asked++
      return request(node.server).finally(() => node.asked--)
    }
    async function restartAll(env: Environment): Promise<void> {
      for (let turn = 0; turn < 3; turn++) {
        const old = nodes.shift() as (typeof nodes)[number]
        await until('its last answer', () => old.asked === 0)
        assert.deepEqual(await old.server.end('SIGTERM'), { code: 0 })
        nodes.push({ server: await startProcess(env), asked: 0 })
      }
    }
    const newestNumber = async (env: Environment) => Math.max(...(await readKeys(env)).map(({ number }) => number))
    async function rotation(env: Environment): Promise<void> {
      const before = await newestNumber(env)
      await until('another rotation', async () => (await newestNumber(env)) > before)
    }

    let goesOn = true
    let answered = 0
    const streams = Array.from({ length: 4 }, async () => {
      let { access_token, refresh_token } = await ask(logInSomebody)
      while (goesOn) {
        const key = newIdempotencyKey()
        const who = await untilAnswered(() => ask((server) => me(server, access_token)))
        const granted = await untilAnswered(() => ask((server) => refresh(server, refresh_token, key)))
        assert.deepEqual([who.status, granted.status], [200, 200], JSON.stringify([who.body, granted.body]))
        ;({ access_token, refresh_token } = granted.body)
        answered++
      }
    })
    const change = async () => {
      await rotation(env)
      await restartAll(both)
      await rotation(env) // which still seals with the first
      await cerrojo(both, 'keys', 'rekey')
      await rotation(second)
      await restartAll(second)
      await rotation(second)
      goesOn = false
    }
    await Promise.all([change().finally(() => (goesOn = false)), ...streams])
    assert.ok(answered > 20)
    await assert.rejects(cerrojo(env, 'keys', 'list'), { stderr: /does not open/ })
  })

  test('know a key that one has just made as soon as a token of it comes', async () => {
    const env = await onCluster()
    const one = await startProcess(env)
    const { access_token: before } = await logInSomebody(one)
    await cerrojo(env, 'keys', 'rotate', '--now')
    const other = await startProcess(env)
    const { access_token } = await logInSomebody(other)
    assert.notEqual(decodeJson(access_token.split('.')[0]).kid, decodeJson(before.split('.')[0]).kid)
    assert.equal((await untilAnswered(() => me(one, access_token))).status, 200)
    assert.equal((await untilAnswered(() => me(other, before))).body.error.code, 'AUTH_TOKEN_INVALID')
  })

  test('go on with the keys in memory while the database is away, and say who fails', async () => {
    const env = await onCluster({ AUTH_JWKS_CACHE_TTL_SEC: '1', LOG_LEVEL: 'error' })
    const node = await startProcess(env)
    const { access_token, refresh_token } = await logInSomebody(node)
    const keys = await published(node)
    const enc = keys.find(({ use }) => use === 'enc') as Jwk
    const tokenFor = (kid: string) => encryptJwe({ alg: enc.alg, enc: 'A256GCM', cty: 'JWT', kid }, 'no token', enc)
    await cluster.stop('SIGINT')
    try {
      await until('the log to say so', () => /"event":"keys.failed"/.test(node.output()))
      const codeOf = async (token: string) => (await me(node, token)).body.error.code
      assert.equal(await codeOf(access_token), 'AUTH_UNAVAILABLE')
      assert.equal(await codeOf(tokenFor(enc.kid)), 'AUTH_TOKEN_INVALID', 'ours, but nothing in it')
      assert.equal(await codeOf(tokenFor('another node may know it')), 'AUTH_UNAVAILABLE')
      assert.equal((await refresh(node, refresh_token)).status, 503)
      const front = {
        kid: 'unknown',
        alg: 'RSA-OAEP-256',
        enc: 'A256GCM',
        cek: encode('x'),
        iv: encode('x'),
        ct: encode('x'),
      }
      const login = await node.call('POST', '/auth/login', { body: { __front_enc__: front } })
      assert.equal(login.body.error.code, 'AUTH_UNAVAILABLE')
      for (let look = 0; look < 3; look++, await pause(500)) assert.deepEqual(await published(node), keys)
    } finally {
      await cluster.start()
    }
    await until('the database', async () => (await me(node, access_token)).status === 200)
    const key = newIdempotencyKey()
    assert.equal((await untilAnswered(() => refresh(node, refresh_token, key))).status, 200)
    await until('the keys to be read', async () => (await me(node, tokenFor('unknown'))).status === 401)
  })
})
