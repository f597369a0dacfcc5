import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { chmod, cp, readdir, readFile, rename, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { mock, suite, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { promisify } from 'node:util'
import { CompactEncrypt, compactDecrypt, decodeProtectedHeader, importJWK, type JWK } from 'jose'
import { type Config, loadConfig } from '../../src/config.ts'
import { openKeyStore } from '../../src/utils/jwks.ts'
import { readKeys } from '../../src/utils/key_files.ts'
import {
  type Environment,
  freshEnvironment,
  logInSomebody,
  me,
  newIdempotencyKey,
  refresh,
  registerSomebody,
  type Server,
  startProcess,
  startServer,
} from '../support/server.ts'
import { until } from '../support/wait.ts'

const DAY_SECONDS = 24 * 60 * 60
const USES = ['sig', 'enc', 'enc_front'] as const

/** The life of a key in seconds instead of days. */
const QUICK: Environment = {
  AUTH_JWKS_CACHE_TTL_SEC: '1',
  AUTH_KEY_ROTATION_DAYS: String(4 / DAY_SECONDS),
  AUTH_KEY_GRACE_DAYS: String(4 / DAY_SECONDS),
  AUTH_ACCESS_TTL_SEC: '3',
  AUTH_CLOCK_SKEW_SEC: '1',
}

const failOnTrouble = (error: unknown) => assert.fail(error as Error)

/** Makes every key look as if it had come into use that many seconds earlier. */
async function age(config: Config, seconds: number): Promise<void> {
  for (const { file } of await readKeys(config)) {
    const jwk = JSON.parse(await readFile(file.path, 'utf8'))
    await writeFile(file.path, JSON.stringify({ ...jwk, iat: jwk.iat - seconds, nbf: jwk.nbf - seconds }))
  }
}

async function published(server: Server): Promise<(JWK & { kid: string; use: string })[]> {
  return (await server.call('GET', '/.well-known/jwks.json')).body.keys
}

async function encryptTo({ kid, kty, n, e }: JWK, payload: object): Promise<string> {
  return new CompactEncrypt(Buffer.from(JSON.stringify(payload)))
    .setProtectedHeader({ alg: 'RSA-OAEP-256', enc: 'A256GCM', kid: kid as string })
    .encrypt(await importJWK({ kty, n, e } as JWK, 'RSA-OAEP-256'))
}

/** Of the key that encrypted a token, and of the one that signed what is inside. */
async function keyIdsIn(token: string, config: Config): Promise<unknown[]> {
  const outer = decodeProtectedHeader(token)
  const key = (await readKeys(config)).find(({ kid }) => kid === outer.kid)
  const { plaintext } = await compactDecrypt(token, key?.privateKey as CryptoKey)
  return [outer.kid, decodeProtectedHeader(Buffer.from(plaintext).toString()).kid]
}

suite('keys rotate by themselves', () => {
  test('under a stream of requests without one refusal, and no token names a key that a stale JWKS lacks', async () => {
    const server = await startServer(QUICK)
    const seen = new Set<string>()
    const fetched = [{ atMs: performance.now(), keys: await published(server) }]
    let checks = 0
    const isEnough = () => USES.every((use) => [...seen].filter((key) => key.startsWith(`${use} `)).length >= 4)

    async function walk(): Promise<void> {
      let { access_token, refresh_token } = await logInSomebody(server)
      while (!isEnough()) {
        const issuedAtMs = performance.now()
        const granted = await refresh(server, refresh_token, newIdempotencyKey())
        assert.equal(granted.status, 200)
        ;({ access_token, refresh_token } = granted.body)
        assert.equal((await me(server, access_token)).status, 200)
        // What a verifier has that fetched the keys a cache lifetime ago. On a machine so slow that there is none so
        // young, it would have fetched them again meanwhile.
        const ageMs = ({ atMs }: { atMs: number }) => issuedAtMs - atMs
        const stale = fetched.findLast((entry) => ageMs(entry) >= 1000)
        if (!stale || ageMs(stale) > 1900) continue
        for (const kid of await keyIdsIn(access_token, loadConfig(server.env)))
          assert.ok(
            stale.keys.some((key) => key.kid === kid),
            'the key of a new token was published a cache lifetime ago',
          )
        checks++
      }
    }
    async function logInEncrypted(): Promise<void> {
      const credentials = await registerSomebody(server)
      while (!isEnough()) {
        const key = fetched.at(-1)?.keys.findLast(({ use }) => use === 'enc_front') as JWK
        const body = { __front_enc__: await encryptTo(key, credentials) }
        assert.equal((await server.call('POST', '/auth/login', { body })).status, 200)
      }
    }
    async function fetchKeys(): Promise<void> {
      while (!isEnough()) {
        const keys = await published(server)
        fetched.push({ atMs: performance.now(), keys })
        for (const { use, kid } of keys) seen.add(`${use} ${kid}`)
        await pause(200)
      }
    }
    await Promise.all([fetchKeys(), walk(), walk(), logInEncrypted()])
    assert.ok(checks > 0)
  })

  test('a retired enc_front key still decrypts, one that is gone does not, and its file is deleted', async () => {
    const config = loadConfig(await freshEnvironment())
    const old = (await readKeys(config)).find(({ use }) => use === 'enc_front')
    await age(config, config.keyRotationSeconds + DAY_SECONDS)
    await openKeyStore(config, failOnTrouble) // makes the successor
    await age(config, 2 * config.jwksCacheTtlSeconds + 1) // and now it has come into use
    const retired = await openKeyStore(config, failOnTrouble)
    assert.notEqual((await retired.active('enc_front')).kid, old?.kid)
    assert.equal((await retired.find('enc_front', old?.kid))?.kid, old?.kid)
    assert.ok((await retired.published()).body.includes(old?.kid as string))

    await age(config, config.keyGraceSeconds)
    const gone = await openKeyStore(config, failOnTrouble)
    assert.equal(await gone.find('enc_front', old?.kid), undefined)
    assert.ok(!(await gone.published()).body.includes(old?.kid as string))
    assert.ok(!(await readdir(config.keysDir)).includes('enc_front-1.json'))
  })

  for (const nodes of [2, 5])
    test(`${nodes} nodes that rotate at once on one folder make one new key of each use`, async () => {
      for (let round = 0; round < 5; round++) {
        const config = loadConfig(await freshEnvironment())
        await age(config, config.keyRotationSeconds)
        await Promise.all(Array.from({ length: nodes }, () => openKeyStore(config, failOnTrouble)))
        const expected = USES.flatMap((use) => [`${use}-1.json`, `${use}-2.json`])
        assert.deepEqual((await readdir(config.keysDir)).sort(), expected.sort())
      }
    })

  test('after kill -9 at any moment of a rotation the folder is in order, and the next reading goes on', async () => {
    const environment = await freshEnvironment()
    const config = loadConfig(environment)
    const program = `
      import { loadConfig } from '${import.meta.resolve('../../src/config.ts')}'
      import { createKey, readKeys } from '${import.meta.resolve('../../src/utils/key_files.ts')}'
      const config = loadConfig(process.env)
      for (;;) {
        await createKey(config, 'sig', 'ES256', Math.floor(Date.now() / 1000), await readKeys(config))
        console.log('made one')
      }`
    const rounds = 12
    for (let round = 0; round < rounds; round++) {
      const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
        env: { PATH: process.env.PATH, ...environment },
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      await new Promise((resolve) => child.stdout.once('data', resolve))
      await pause(Math.random() * 20)
      const ended = new Promise((resolve) => child.once('exit', resolve))
      child.kill('SIGKILL')
      await ended
      const store = await openKeyStore(config, failOnTrouble)
      for (const use of USES) assert.equal((await store.active(use)).use, use)
    }
    assert.ok((await readKeys(config)).length >= USES.length + rounds, 'no key that was made is lost')
  })

  test('what a killed process left half-written is swept away, but not what is being written', async () => {
    const config = loadConfig(await freshEnvironment())
    const leftover = `${randomUUID()}.tmp`
    await cp(join(config.keysDir, 'sig-1.json'), join(config.keysDir, leftover))
    await openKeyStore(config, failOnTrouble)
    assert.ok((await readdir(config.keysDir)).includes(leftover))
    mock.timers.enable({ apis: ['Date'], now: Date.now() + 3_600_000 })
    await openKeyStore(config, failOnTrouble).finally(() => mock.timers.reset())
    assert.ok(!(await readdir(config.keysDir)).includes(leftover))
  })
})

suite('when the clock is set', () => {
  for (const [direction, hours] of Object.entries({ forward: 1, back: -1 }))
    test(`an hour ${direction}, the server goes on, and no key is lost`, async () => {
      const server = await startServer()
      const before = await published(server)
      const session = await logInSomebody(server)
      mock.timers.enable({ apis: ['Date'], now: Date.now() + hours * 3_600_000 })
      try {
        const granted = await refresh(server, session.refresh_token)
        assert.equal(granted.status, 200)
        assert.equal((await me(server, granted.body.access_token)).status, 200)
        assert.equal((await me(server, (await logInSomebody(server)).access_token)).status, 200)
        const next = await openKeyStore(loadConfig(server.env), failOnTrouble) // as at the next reading
        assert.deepEqual(JSON.parse((await next.published()).body).keys, before)
      } finally {
        mock.timers.reset()
      }
    })
})

test('a change of the algorithms, and back, is a rotation: tokens of both verify', async () => {
  const original = await freshEnvironment({ AUTH_JWKS_CACHE_TTL_SEC: '1' })
  const changed = { ...original, AUTH_SIGNING_ALG: 'RS256', AUTH_JWE_ALG: 'RSA-OAEP-256' }
  const algorithmsOf = async (token: string) => {
    const outer = decodeProtectedHeader(token)
    const key = (await readKeys(loadConfig(original))).find(({ kid }) => kid === outer.kid)
    const { plaintext } = await compactDecrypt(token, key?.privateKey as CryptoKey)
    return `${decodeProtectedHeader(Buffer.from(plaintext).toString()).alg} in ${outer.alg}`
  }
  let tokens: { access_token: string; refresh_token: string } | undefined
  for (const [env, expected] of [
    [original, 'ES256 in ECDH-ES+A256KW'],
    [changed, 'RS256 in RSA-OAEP-256'],
    [original, 'ES256 in ECDH-ES+A256KW'],
  ] as const) {
    const server = await startServer(env)
    tokens ??= await logInSomebody(server)
    const before = tokens.access_token
    while ((await algorithmsOf(tokens.access_token)) !== expected) {
      tokens = (await refresh(server, tokens.refresh_token)).body as typeof tokens
      assert.equal((await me(server, tokens.access_token)).status, 200)
      await pause(100)
    }
    assert.equal((await me(server, before)).status, 200)
    await server.close()
  }
})

test('with its folder read-only a server keeps serving, and its log and doctor say so', async (t) => {
  const env = await freshEnvironment({ LOG_LEVEL: 'error' })
  const config = loadConfig(env)
  await age(config, config.keyRotationSeconds)
  // Nothing is read-only to root, so root lends everything to somebody else.
  const user = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : undefined
  const command = join(import.meta.dirname, '../../cli/cerrojo.ts')
  const isReadable = await promisify(execFile)('test', ['-r', command], { ...user }).then(
    () => true,
    () => false,
  )
  if (!isReadable) return t.skip('the sources are not readable to another user')
  if (user) await promisify(execFile)('chown', ['-R', `${user.uid}:${user.gid}`, dirname(config.keysDir)])
  await chmod(config.keysDir, 0o500)

  const server = await startProcess(env, user)
  await until('the log to say so', () => /EACCES.*the keys could not be/.test(server.output()))
  assert.equal((await me(server, (await logInSomebody(server)).access_token)).status, 200)
  const options = { ...user, env: { PATH: process.env.PATH, ...env } }
  const doctor = await promisify(execFile)(process.execPath, [command, 'doctor'], options)
  assert.match(doctor.stdout, /is read-only +keys cannot rotate/)
})

test('a file whose name speaks of another use than its key keeps nobody from making the keys that are missing', async () => {
  const config = loadConfig(await freshEnvironment())
  await rename(join(config.keysDir, 'enc-1.json'), join(config.keysDir, 'sig-1.json'))
  const store = await openKeyStore(config, failOnTrouble)
  for (const use of USES) assert.equal((await store.active(use)).use, use)
})
