import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mock, suite, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { CompactEncrypt, decodeProtectedHeader, importJWK, type JWK } from 'jose'
import type { Database } from '../../src/db/database.ts'
import type { KeyStore } from '../../src/utils/jwks.ts'
import { decodeJson, decryptJwe, encode, type Jwk } from '../support/jose_by_hand.ts'
import { addKey, age, keyFor, openStore, readJwks, readKeys, replaceKey, USES, type Use } from '../support/keys.ts'
import {
  type Environment,
  freshEnvironment,
  type LocalServer,
  logInSomebody,
  me,
  newIdempotencyKey,
  refresh,
  registerSomebody,
  runSql,
  type Server,
  startServer,
} from '../support/server.ts'
import { until } from '../support/wait.ts'

const MINUTE_SECONDS = 60
const HOUR_SECONDS = 60 * MINUTE_SECONDS
const DAY_SECONDS = 24 * HOUR_SECONDS

/** That of the JWKS, after which each server reads its keys again. */
const CACHE_LIFETIME_SECONDS = 10 * MINUTE_SECONDS

const nowSeconds = () => Date.now() / 1000
const newMacJwk = () => ({ kty: 'oct', k: encode(randomBytes(32)) })

async function published(server: Server): Promise<(JWK & { kid: string; use: string })[]> {
  return (await server.call('GET', '/.well-known/jwks.json')).body.keys
}

async function encryptTo({ kid, kty, n, e }: JWK, payload: object): Promise<string> {
  return new CompactEncrypt(Buffer.from(JSON.stringify(payload)))
    .setProtectedHeader({ alg: 'RSA-OAEP-256', enc: 'A256GCM', kid: kid as string })
    .encrypt(await importJWK({ kty, n, e } as JWK, 'RSA-OAEP-256'))
}

/** @returns a function that opens a token, and tells the headers of both layers */
function opener(env: Environment) {
  const known = new Map<string, Jwk>()
  return async (token: string) => {
    const outer = decodeProtectedHeader(token)
    const kid = outer.kid as string
    if (!known.has(kid)) for (const key of await readJwks(env)) known.set(key.kid, key)
    const { plaintext } = decryptJwe(token, known.get(kid) as Jwk)
    return { outer, inner: decodeJson(plaintext.toString().split('.')[0]) }
  }
}

/** What a log is told, by the names of the events. */
function recorder() {
  const events: { event: string; use?: Use; kid?: string; first_use?: number; err?: Error }[] = []
  const record = (event: object) => void events.push(event as (typeof events)[number])
  const named = (name: string) => events.filter(({ event }) => event === name)
  return { named, log: { info: record, error: record } }
}

suite('keys rotate by themselves', () => {
  test('under a stream of requests without one refusal, and no token has a key that a stale JWKS lacks', async (t) => {
    mock.timers.enable({ apis: ['setInterval'] })
    t.after(() => mock.timers.reset())
    const server = await startServer({ AUTH_KEY_ROTATION_DAYS: '1', AUTH_KEY_LEAD_DAYS: '0' })
    const open = opener(server.env)
    let stale = await published(server)
    const firstOfKey = new Map<string, string>()
    const streams: { turns: number }[] = []
    let goesOn = true
    async function repeat(turn: () => Promise<void>): Promise<void> {
      const stream = { turns: 0 }
      for (streams.push(stream); goesOn; stream.turns++) await turn()
    }

    const walk = ({ refresh_token }: { refresh_token: string }) =>
      repeat(async () => {
        const granted = await refresh(server, refresh_token, newIdempotencyKey())
        assert.equal(granted.status, 200)
        const { access_token } = granted.body
        refresh_token = granted.body.refresh_token
        assert.equal((await me(server, access_token)).status, 200)
        const { outer, inner } = await open(access_token)
        for (const kid of [outer.kid, inner.kid]) {
          const isPublished = stale.some((key) => key.kid === kid)
          assert.ok(isPublished, 'the key of a new token was published before')
          firstOfKey.set(kid, firstOfKey.get(kid) ?? access_token)
        }
      })
    const logInEncrypted = (credentials: object) =>
      repeat(async () => {
        const key = stale.findLast(({ use }) => use === 'enc_front') as JWK
        const body = { __front_enc__: await encryptTo(key, credentials) }
        assert.equal((await server.call('POST', '/auth/login', { body })).status, 200)
      })

    /** As if so much time had passed, at the end of which the server reads its keys. */
    async function pass(seconds: number): Promise<void> {
      await age(server.env, seconds)
      mock.timers.tick(CACHE_LIFETIME_SECONDS * 1000)
    }
    async function everybodyGoesOn(): Promise<void> {
      const before = streams.map(({ turns }) => turns)
      const isOn = ({ turns }: { turns: number }, index: number) => turns >= (before[index] as number) + 2
      await until('two turns of each stream', () => streams.every(isOn))
    }
    async function rotate(): Promise<void> {
      await pass(DAY_SECONDS)
      await until('the next keys', async () => (await published(server)).length === stale.length + USES.length)
      await everybodyGoesOn()
      const former = stale
      stale = await published(server)
      await pass(2 * CACHE_LIFETIME_SECONDS + 1)
      const next = stale.filter(({ use, kid }) => use !== 'enc_front' && !former.some((key) => key.kid === kid))
      await until('tokens of the next keys', () => next.every(({ kid }) => firstOfKey.has(kid)))
      await everybodyGoesOn()
    }
    async function rotateThrice(): Promise<void> {
      for (let rotation = 1; rotation <= 3; rotation++) await rotate()
      goesOn = false
    }
    const sessions = [await logInSomebody(server), await logInSomebody(server)]
    const credentials = await registerSomebody(server)
    await Promise.all([...sessions.map(walk), logInEncrypted(credentials), rotateThrice()])
    for (const token of firstOfKey.values()) assert.equal((await me(server, token)).status, 200)
    const turns = streams.reduce((sum, stream) => sum + stream.turns, 0)
    t.diagnostic(`${turns} refreshes and logins while keys rotate`)
  })

  for (const use of USES)
    test(`a retired ${use} key is still accepted, one that is gone is not, and its row is deleted`, async () => {
      const server = await startServer()
      const { env } = server
      const isPublished = async (store: KeyStore) =>
        JSON.parse(store.published().body).keys.some(({ kid }: Jwk) => kid === old.kid)
      const old = await keyFor(env, use)
      await age(env, 91 * DAY_SECONDS)
      const { named, log } = recorder()
      await openStore(server, log) // makes the successor
      const [successor] = named('keys.made').filter((event) => event.use === use)
      assert.ok(successor?.first_use)

      await age(env, successor.first_use - nowSeconds() + 1) // and now it has come into use
      const retired = await openStore(server)
      assert.equal(retired.active(use).kid, successor.kid)
      assert.equal((await retired.find(use, old.kid))?.kid, old.kid)
      assert.ok(await isPublished(retired))

      await age(env, 14 * DAY_SECONDS - MINUTE_SECONDS)
      assert.ok(await isPublished(await openStore(server)), 'to the end of its grace')
      await age(env, MINUTE_SECONDS)
      const gone = await openStore(server, log)
      assert.equal(await gone.find(use, old.kid), undefined)
      assert.ok(!(await isPublished(gone)))
      assert.ok(!(await readKeys(env)).some(({ kid }) => kid === old.kid))
      assert.deepEqual(
        named('keys.gone').filter((event) => event.use === use),
        [{ event: 'keys.gone', use, kid: old.kid }],
      )
    })

  for (const nodes of [2, 5])
    test(`${nodes} nodes that rotate at once make one new key of each use, and tell of it once`, async () => {
      const server = await startServer()
      for (let round = 1; round <= 2; round++) {
        await age(server.env, 90 * DAY_SECONDS)
        const { named, log } = recorder()
        await Promise.all(Array.from({ length: nodes }, () => openStore(server, log)))
        const counts = USES.map((use) => named('keys.made').filter((event) => event.use === use).length)
        assert.deepEqual(counts, [1, 1, 1])
      }
    })

  test('each use in its time: an enc key is known days before its first use, others two cache lifetimes', async () => {
    const cases = [
      { env: {}, leads: { sig: 1200, enc: 7 * DAY_SECONDS, enc_front: 1200 } },
      { env: { AUTH_KEY_LEAD_DAYS: '0.5' }, leads: { sig: 1200, enc: DAY_SECONDS / 2, enc_front: 1200 } },
      { env: { AUTH_KEY_LEAD_DAYS: '0' }, leads: { sig: 1200, enc: 1200, enc_front: 1200 } },
      { env: { AUTH_KEY_ROTATION_DAYS: '4' }, leads: { sig: 1200, enc: 2 * DAY_SECONDS, enc_front: 1200 } },
    ]
    for (const { env, leads } of cases) {
      const server = await startServer(env)
      const lifeSeconds = Number(env.AUTH_KEY_ROTATION_DAYS ?? 90) * DAY_SECONDS
      for (const use of USES) {
        await age(server.env, lifeSeconds - leads[use] - HOUR_SECONDS, [use])
        const early = recorder()
        await openStore(server, early.log)
        assert.deepEqual(early.named('keys.made'), [], `not yet: ${use}`)

        await age(server.env, 2 * HOUR_SECONDS, [use])
        const { named, log } = recorder()
        const from = nowSeconds()
        await openStore(server, log)
        const [made, ...others] = named('keys.made')
        assert.deepEqual([made?.use, others], [use, []])
        const lead = (made?.first_use as number) - from
        assert.ok(lead >= leads[use] && lead < leads[use] + MINUTE_SECONDS, `${use} leads by ${lead} s`)
      }
    }
  })

  test('never, with a rotation of 0 days', async () => {
    const server = await startServer({ AUTH_KEY_ROTATION_DAYS: '0' })
    await age(server.env, 4000 * DAY_SECONDS)
    const { named, log } = recorder()
    await openStore(server, log)
    assert.deepEqual(named('keys.made'), [])
  })

  test('a key that is missing is made at once', async () => {
    const server = await startServer()
    const [sig] = (await readKeys(server.env)).filter(({ use }) => use === 'sig')
    await replaceKey(server.env, sig as NonNullable<typeof sig>, { ends_at: nowSeconds() - 1 })
    const store = await openStore(server)
    const { kid, first_use } = store.active('sig')
    assert.notEqual(kid, sig?.kid)
    assert.ok(first_use <= nowSeconds())
  })

  test('a change of the algorithms, and back, is a rotation: tokens of both verify', async () => {
    const original: Environment = { AUTH_JWKS_CACHE_TTL_SEC: '1', AUTH_KEY_LEAD_DAYS: '0' }
    const changed = { AUTH_SIGNING_ALG: 'RS256', AUTH_JWE_ALG: 'RSA-OAEP-256' }
    let server = await startServer(original)
    const { env } = server
    const open = opener(env)
    const algorithmsOf = async (token: string) => {
      const { inner, outer } = await open(token)
      return `${inner.alg} in ${outer.alg}`
    }
    let tokens = await logInSomebody(server)
    for (const [change, expected] of [
      [{}, 'ES256 in ECDH-ES+A256KW'],
      [changed, 'RS256 in RSA-OAEP-256'],
      [{}, 'ES256 in ECDH-ES+A256KW'],
    ] as const) {
      await server.close()
      server = await startServer({ ...env, ...change })
      const before = tokens.access_token
      while ((await algorithmsOf(tokens.access_token)) !== expected) {
        tokens = (await refresh(server, tokens.refresh_token)).body as typeof tokens
        assert.equal((await me(server, tokens.access_token)).status, 200)
        await pause(100)
      }
      assert.equal((await me(server, before)).status, 200)
    }
  })
})

suite('the mac key', () => {
  test('does not rotate by itself, however old it is', async () => {
    const server = await startServer()
    await age(server.env, 4000 * DAY_SECONDS, ['mac'])
    const { named, log } = recorder()
    const store = await openStore(server, log)
    assert.deepEqual(named('keys.made'), [])
    assert.equal(store.macKeys().length, 1)
  })

  test('of now comes first, then those that still count or will, and those that are gone do not', async () => {
    const server = await startServer()
    const [first] = (await readKeys(server.env)).filter(({ use }) => use === 'mac')
    const add = (first_use: number) => addKey(server.env, { use: 'mac', first_use, alg: 'HS256', jwk: newMacJwk() })
    const bytes = (key: { jwk: Jwk } | undefined) => key?.jwk.k as string
    const now = Math.floor(nowSeconds())

    await replaceKey(server.env, first as NonNullable<typeof first>, { first_use: now - 3 * DAY_SECONDS })
    const active = await add(now - DAY_SECONDS)
    const next = await add(now + MINUTE_SECONDS)
    const keysOf = (store: KeyStore) => store.macKeys().map(encode)
    assert.deepEqual(keysOf(await openStore(server)), [bytes(active), bytes(first), bytes(next)])

    await age(server.env, 14 * DAY_SECONDS, ['mac'])
    assert.deepEqual(keysOf(await openStore(server)), [bytes(next), bytes(active)])
    assert.ok(!(await readKeys(server.env)).some(({ kid }) => kid === first?.kid), 'its row is deleted')
  })
})

/** Three keys to sign with: one retired whose time is over in an hour, one active, one for in half an hour. */
async function threeKeys(env: Environment) {
  const now = Math.floor(nowSeconds())
  const [first] = (await readKeys(env)).filter(({ use }) => use === 'sig')
  const retired = first as NonNullable<typeof first>
  await replaceKey(env, retired, { first_use: now - 30 * DAY_SECONDS })
  const active = await addKey(env, { use: 'sig', first_use: now - 14 * DAY_SECONDS + 60 * MINUTE_SECONDS })
  const next = await addKey(env, { use: 'sig', first_use: now + 30 * MINUTE_SECONDS })
  return { retired, active, next }
}

suite('when a clock is set', () => {
  for (const days of [1 / 24, -1 / 24, 400, -400])
    test(`by ${days.toFixed(2)} days, a server goes on with the keys that it has`, async () => {
      const env = await freshEnvironment()
      const { retired, active, next } = await threeKeys(env)
      const server = await startServer(env)
      const before = await published(server)
      const store = await openStore(server)
      const session = await logInSomebody(server)
      const isAsBefore = async (store: KeyStore) => {
        assert.deepEqual(JSON.parse(store.published().body).keys, before)
        assert.equal(store.active('sig').kid, active.kid)
        for (const { kid } of [retired, active, next]) assert.equal((await store.find('sig', kid))?.kid, kid)
      }
      await isAsBefore(store)
      mock.timers.enable({ apis: ['Date'], now: Date.now() + days * DAY_SECONDS * 1000 })
      try {
        assert.deepEqual(await published(server), before)
        await isAsBefore(store)
        if (env.DATABASE_URL) {
          assert.equal((await refresh(server, session.refresh_token)).status, 200)
          await isAsBefore(await openStore(server)) // as at the next reading
        }
      } finally {
        mock.timers.reset()
      }
      assert.deepEqual(await published(server), before)
      assert.equal((await readKeys(env)).length, 6)
    })

  test('a key of a wrong future is used only while there is no other, and then replaced by one of now', async () => {
    const server = await startServer()
    const { env } = server
    const { access_token } = await logInSomebody(server)
    await age(env, -400 * DAY_SECONDS)
    await server.close()

    const started = await startServer(env)
    assert.equal((await me(started, access_token)).status, 200)
    assert.equal((await me(started, (await logInSomebody(started)).access_token)).status, 200)
    const successors = (await readKeys(env)).filter(({ first_use }) => first_use < nowSeconds() + 8 * DAY_SECONDS)
    assert.deepEqual(successors.map(({ use, number }) => `${use} ${number}`).sort(), [
      'enc 2',
      'enc_front 2',
      'mac 1',
      'sig 2',
    ])

    const sig = successors.find(({ use }) => use === 'sig') as NonNullable<(typeof successors)[number]>
    await replaceKey(env, sig, { first_use: Math.floor(nowSeconds()) - 1 })
    const store = await openStore(started)
    assert.equal(store.active('sig').kid, sig.kid)
    await replaceKey(env, sig, { first_use: Math.floor(nowSeconds()) - 15 * DAY_SECONDS })
    await openStore(started)
    assert.deepEqual(
      (await readKeys(env)).filter(({ use }) => use === 'sig').map(({ kid }) => kid),
      [sig.kid],
    )
  })

  test('a key of a wrong future beside one of now is neither published nor used, and its row is deleted', async () => {
    const server = await startServer()
    await age(server.env, 30 * DAY_SECONDS)
    const misdated = await addKey(server.env, { use: 'sig', first_use: Math.floor(nowSeconds()) + 400 * DAY_SECONDS })
    const { named, log } = recorder()
    const store = await openStore(server, log)
    assert.notEqual(store.active('sig').kid, misdated.kid)
    assert.ok(!store.published().body.includes(misdated.kid))
    assert.deepEqual(named('keys.gone'), [{ event: 'keys.gone', use: 'sig', kid: misdated.kid }])

    await age(server.env, 60 * DAY_SECONDS)
    await openStore(server, log)
    assert.equal(named('keys.made').filter(({ use }) => use === 'sig').length, 1, 'rotation goes on')
  })

  test('a key that lies ahead by no more than a day beyond its lead is one like any other', async () => {
    const server = await startServer()
    const first_use = Math.floor(nowSeconds()) + 20 * MINUTE_SECONDS + DAY_SECONDS - MINUTE_SECONDS
    const next = await addKey(server.env, { use: 'sig', first_use })
    const store = await openStore(server)
    assert.ok(store.published().body.includes(next.kid))
  })
})

/** A database that can be taken away. */
function refusing(database: Database) {
  let isAway = false
  const rows: Database['rows'] = (...statement) =>
    isAway ? Promise.reject(new Error('away')) : database.rows(...statement)
  return {
    database: { ...database, rows },
    leave() {
      isAway = true
    },
    comeBack() {
      isAway = false
    },
  }
}

suite('while the database cannot be asked', () => {
  test('time goes on: the next key comes into use, and a retired one is gone when its time is over', async () => {
    const server = await startServer()
    const { retired, active, next } = await threeKeys(server.env)
    const now = Math.floor(nowSeconds())
    const [first] = (await readKeys(server.env)).filter(({ use }) => use === 'mac')
    const oldMac = { first_use: now - DAY_SECONDS, ends_at: now + 60 * MINUTE_SECONDS }
    await replaceKey(server.env, first as NonNullable<typeof first>, oldMac)
    await addKey(server.env, { use: 'mac', first_use: now, alg: 'HS256', jwk: newMacJwk() })
    const { database, leave } = refusing(server.database)
    const store = await openStore({ env: server.env, database })
    leave()
    assert.deepEqual([store.active('sig').kid, store.macKeys().length], [active.kid, 2])

    const from = performance.now()
    let minutes = 31
    const clock = mock.method(performance, 'now', () => from + minutes * MINUTE_SECONDS * 1000)
    try {
      assert.equal(store.active('sig').kid, next.kid)
      assert.equal((await store.find('sig', retired.kid))?.kid, retired.kid)
      minutes = 61
      await assert.rejects(store.find('sig', retired.kid), { code: 'AUTH_UNAVAILABLE' })
      assert.equal((await store.find('sig', active.kid))?.kid, active.kid)
      assert.equal(store.macKeys().length, 1)
    } finally {
      clock.mock.restore()
    }
  })

  test('or not be written to, a key that is gone is not published', async () => {
    const server = await startServer()
    const old = await keyFor(server.env, 'sig')
    const row: Database['row'] = () => Promise.reject(new Error('read-only'))
    const { named, log } = recorder()
    const env = { ...server.env, AUTH_JWKS_CACHE_TTL_SEC: '1' }
    const store = await openStore({ env, database: { ...server.database, row } }, log)
    await runSql(env, "update keys set ends_at = now() where use = 'sig'")
    await until('the log to say so', () => named('keys.failed').some(({ err }) => err?.message === 'read-only'))
    await until('its successor alone', () => JSON.parse(store.published('sig').body).keys.length === 1)
    assert.ok(!store.published().body.includes(old.kid))
    assert.ok((await readKeys(env)).some(({ kid }) => kid === old.kid))
  })

  test('the keys in memory serve, and the log is told at every reading', async () => {
    const server = await startServer({ AUTH_JWKS_CACHE_TTL_SEC: '1' })
    const { database, leave } = refusing(server.database)
    const { named, log } = recorder()
    const store = await openStore({ env: server.env, database }, log)
    const active = USES.map((use) => store.active(use).kid)
    leave()
    await until('two failures', () => named('keys.failed').length >= 2)
    assert.equal(named('keys.failed')[0]?.err?.message, 'away')
    assert.deepEqual(
      USES.map((use) => store.active(use).kid),
      active,
    )
    for (const [index, use] of USES.entries()) assert.ok(await store.find(use, active[index]))
    assert.equal(JSON.parse(store.published().body).keys.length, 3)
  })

  test('who asks for a key that is not at hand is told so, and finds it as soon as the database is back', async () => {
    const server = await startServer()
    const { database, leave, comeBack } = refusing(server.database)
    const store = await openStore({ env: server.env, database })
    const { kid } = await addKey(server.env, { use: 'sig', first_use: Math.floor(nowSeconds()) })
    leave()
    await assert.rejects(store.find('sig', kid), { code: 'AUTH_UNAVAILABLE', retryAfterSeconds: 1 })
    comeBack()
    assert.equal((await store.find('sig', kid))?.kid, kid)
  })
})

suite('a key id that is not known', () => {
  /** Counts the readings. */
  async function countingStore(server: LocalServer) {
    let readings = 0
    const rows: Database['rows'] = (texts, ...values) => {
      if (texts.some((text) => text.includes('private_jwe'))) readings++
      return server.database.rows(texts, ...values)
    }
    const store = await openStore({ env: server.env, database: { ...server.database, rows } })
    const atStart = readings
    return { store, readings: () => readings - atStart }
  }

  test('has the keys read again, once for all who ask, and at most every 30 seconds', async () => {
    const server = await startServer()
    const { store, readings } = await countingStore(server)
    const ask = () => Promise.all(Array.from({ length: 50 }, () => store.find('sig', 'unknown')))
    assert.deepEqual(new Set(await ask()), new Set([undefined]))
    assert.equal(readings(), 1)
    await ask()
    assert.equal(readings(), 1)

    const later = performance.now() + 30_001
    const clock = mock.method(performance, 'now', () => later)
    try {
      await ask()
      assert.equal(readings(), 2)
    } finally {
      clock.mock.restore()
    }
  })

  test('is found when another node has just made it', async () => {
    const server = await startServer()
    const store = await openStore(server)
    const { kid } = await addKey(server.env, { use: 'enc', first_use: Math.floor(nowSeconds()) })
    assert.equal((await store.find('enc', kid))?.kid, kid)
    assert.equal(await store.find('sig', kid), undefined, 'for its use alone')
  })
})

test('nobody waits for the keys, however often they are read', async () => {
  const server = await startServer({ AUTH_JWKS_CACHE_TTL_SEC: '1' })
  let isHeld = false
  const held = Promise.withResolvers<void>()
  const rows: Database['rows'] = async (...statement) => {
    if (isHeld) await held.promise
    return server.database.rows(...statement)
  }
  let asked = 0
  const watched: Database['rows'] = (...statement) => {
    asked++
    return rows(...statement)
  }
  const store = await openStore({ env: server.env, database: { ...server.database, rows: watched } })
  isHeld = true
  const before = asked
  await until('a reading under way', () => asked > before)
  for (const use of USES) assert.ok(await store.find(use, store.active(use).kid))
  assert.equal(JSON.parse(store.published().body).keys.length, 3)
  held.resolve()
})

test('private keys cannot be taken out of memory again, but for the one that node:crypto signs with', async () => {
  for (const algorithms of [{}, { AUTH_SIGNING_ALG: 'RS256', AUTH_JWE_ALG: 'RSA-OAEP-256' }]) {
    const store = await openStore(await startServer(algorithms))
    for (const use of USES) {
      const key = store.active(use)
      assert.deepEqual([key.privateKey.type, key.privateKey.extractable], ['private', use === 'sig'])
      assert.deepEqual([key.publicKey.type, 'jwk' in key], ['public', false])
    }
  }
})
