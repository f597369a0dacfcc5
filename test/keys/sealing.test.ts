import assert from 'node:assert/strict'
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { suite, test } from 'node:test'
import { encode, hkdf, type Jwk, thumbprint } from '../support/jose_by_hand.ts'
import { addKey, type HeldKey, newJwk, openStore, readKeys, seal, type Use } from '../support/keys.ts'
import { type Environment, freshEnvironment, logInSomebody, me, runSql, startServer } from '../support/server.ts'

const CHANGED = /^The row of the \w+ key \d+ is not the one that its key was sealed for: restore it .*, or delete it/
const NOT_OPEN = /^The \w+ key \d+ in the database does not open with the secret from .*keys-secret: copy .*reset --yes/

const first = async (env: Environment, use: Use) =>
  (await readKeys(env)).find((key) => key.use === use) as HeldKey & { jwk: Jwk }
const sealedOf = async (env: Environment, use: Use) =>
  (await runSql(env, 'select private_jwe from keys where use = $1', [use]))[0]?.private_jwe as string
const put = (env: Environment, use: Use, privateJwe: string) =>
  runSql(env, 'update keys set private_jwe = $2 where use = $1', [use, privateJwe])

/** Puts another key in the place of one, as only somebody with the secret could. */
async function replaceJwk(env: Environment, use: Use, jwk: Jwk): Promise<void> {
  const { first_use } = await first(env, use)
  const kid = thumbprint(jwk)
  const privateJwe = seal(env, { use, kid, first_use, jwk })
  await runSql(env, 'update keys set kid = $2, alg = $3, private_jwe = $4 where use = $1', [
    use,
    kid,
    jwk.alg,
    privateJwe,
  ])
}

suite('a row of keys that was changed does not open, and the module says so', () => {
  const changes: Record<string, { change: (env: Environment) => Promise<unknown>; says?: RegExp }> = {
    // A key for browsers would do to encrypt access tokens, too.
    'its use': { change: (env) => runSql(env, "update keys set use = 'enc', number = 2 where use = 'enc_front'") },
    'its kid': { change: (env) => runSql(env, "update keys set kid = 'another' where use = 'sig'") },
    'its alg': { change: (env) => runSql(env, "update keys set alg = 'RS256' where use = 'sig'") },
    'its first use, to later': {
      change: (env) => runSql(env, "update keys set first_use = first_use + interval '1 hour' where use = 'enc'"),
    },
    'its first use, to earlier, by less than a second': {
      change: (env) =>
        runSql(env, "update keys set first_use = first_use - interval '1 millisecond' where use = 'mac'"),
    },
    "the sealed keys of two rows, the one for the other's": {
      change: async (env) => {
        const [sig, enc] = [await sealedOf(env, 'sig'), await sealedOf(env, 'enc')]
        await put(env, 'sig', enc)
        await put(env, 'enc', sig)
      },
    },
    'the sealed key of an older row of the same use': {
      change: async (env) => {
        const { first_use } = await first(env, 'sig')
        const older = await addKey(env, { use: 'sig', first_use: first_use - 60 })
        await runSql(env, 'update keys set private_jwe = $1 where use = $2 and kid <> $3', [
          seal(env, older),
          'sig',
          older.kid,
        ])
      },
    },
    'its sealed key, for a plain one': {
      change: async (env) => put(env, 'sig', JSON.stringify((await first(env, 'sig')).jwk)),
      says: NOT_OPEN,
    },
    'one bit of its sealed key': {
      change: async (env) => {
        const parts = (await sealedOf(env, 'enc')).split('.')
        const ciphertext = Buffer.from(parts[3] as string, 'base64url')
        ciphertext[9] = (ciphertext[9] as number) ^ 1
        await put(env, 'enc', parts.with(3, encode(ciphertext)).join('.'))
      },
      says: NOT_OPEN,
    },
    'its header, without the key that seals': {
      change: async (env) => {
        const { kid } = await first(env, 'sig')
        const [, ...rest] = (await sealedOf(env, 'sig')).split('.')
        const header = { alg: 'dir', enc: 'A256GCM', cty: 'jwk+json', use: 'sig', kid, first_use: 1 }
        await put(env, 'sig', [encode(header), ...rest].join('.'))
        await runSql(env, "update keys set first_use = to_timestamp(1) where use = 'sig'")
      },
      says: NOT_OPEN,
    },
    'its sealed key, for one that a stranger sealed': {
      change: async (env) => {
        const stranger = { ...env, AUTH_KEYS_SECRET: encode(randomBytes(32)) }
        await put(env, 'sig', seal(stranger, await first(env, 'sig')))
      },
      says: NOT_OPEN,
    },
  }
  for (const [title, { change, says = CHANGED }] of Object.entries(changes))
    test(title, async () => {
      const env = await freshEnvironment()
      const server = await startServer(env)
      const { access_token } = await logInSomebody(server)
      const secrets = (await readKeys(env)).flatMap(({ jwk }) => [jwk.d, jwk.p, jwk.k]).filter(Boolean)
      await change(env)
      await assert.rejects(openStore(server), ({ message }: Error) => {
        assert.match(message, says)
        for (const secret of secrets) assert.ok(!message.includes(secret))
        return true
      })
      assert.equal((await me(server, access_token)).status, 200, 'a server that runs goes on with what it has')
      await server.close()
      await assert.rejects(startServer(env), { message: says })
    })

  test('but its end is nothing that is sealed, and what was not changed opens', async () => {
    const server = await startServer()
    const before = (await openStore(server)).published().body
    await runSql(server.env, "update keys set ends_at = now() + interval '300 days' where use = 'enc'")
    await runSql(server.env, 'update keys set number = number + 5')
    assert.equal((await openStore(server)).published().body, before)
  })
})

suite('a key of another size or kind is refused, though it is sealed with the secret:', () => {
  const rsa = (modulusLength: number, alg: string) => ({
    ...(generateKeyPairSync('rsa', { modulusLength }).privateKey.export({ format: 'jwk' }) as Jwk),
    alg,
  })
  const curve = (namedCurve: string, alg: string) => ({
    ...(generateKeyPairSync('ec', { namedCurve }).privateKey.export({ format: 'jwk' }) as Jwk),
    alg,
  })
  const secret = (bytes: number) => ({ kty: 'oct', k: encode(randomBytes(bytes)), alg: 'HS256' })
  const refused: Record<string, { use: Use; jwk: () => Jwk }> = {
    'RSA of 2048 bits to sign': { use: 'sig', jwk: () => rsa(2048, 'RS256') },
    'RSA of 2048 bits to encrypt': { use: 'enc', jwk: () => rsa(2048, 'RSA-OAEP-256') },
    'RSA of 2048 bits for browsers': { use: 'enc_front', jwk: () => rsa(2048, 'RSA-OAEP-256') },
    'P-384 to sign': { use: 'sig', jwk: () => curve('P-384', 'ES384') },
    'P-384 to encrypt': { use: 'enc', jwk: () => curve('P-384', 'ECDH-ES+A256KW') },
    'a mac of 16 bytes': { use: 'mac', jwk: () => secret(16) },
    'an algorithm of another use': { use: 'enc', jwk: () => ({ ...newJwk(), alg: 'ES256' }) },
    'an algorithm of nobody': { use: 'sig', jwk: () => ({ ...newJwk(), alg: 'none' }) },
  }
  for (const [title, { use, jwk }] of Object.entries(refused))
    test(title, async () => {
      const server = await startServer()
      await replaceJwk(server.env, use, jwk())
      await assert.rejects(openStore(server), { message: CHANGED })
    })

  test('a key id that is not its thumbprint', async () => {
    const server = await startServer()
    const key = { ...(await first(server.env, 'sig')), kid: 'chosen' }
    await runSql(server.env, "update keys set kid = 'chosen', private_jwe = $1 where use = 'sig'", [
      seal(server.env, key),
    ])
    await assert.rejects(openStore(server), { message: CHANGED })
  })

  test('a header that binds another key id', async () => {
    const server = await startServer()
    const key = { ...(await first(server.env, 'sig')), kid: 'another' }
    await put(server.env, 'sig', seal(server.env, key))
    await assert.rejects(openStore(server), { message: CHANGED })
  })

  const accepted: Record<string, { use: Use; jwk: () => Jwk }> = {
    'RSA of 3072 bits to sign': { use: 'sig', jwk: () => rsa(3072, 'RS256') },
    'RSA of 4096 bits for browsers': { use: 'enc_front', jwk: () => rsa(4096, 'RSA-OAEP-256') },
    'P-256 to encrypt': { use: 'enc', jwk: () => ({ ...newJwk(), alg: 'ECDH-ES+A256KW' }) },
    'a mac of 32 bytes': { use: 'mac', jwk: () => secret(32) },
  }
  test(`but not ${Object.keys(accepted).join(', ')}`, async () => {
    const server = await startServer()
    for (const { use, jwk } of Object.values(accepted)) await replaceJwk(server.env, use, jwk())
    await openStore(server)
  })
})

test('the public half is derived from the sealed one: nothing beside it in the row is published', async () => {
  const server = await startServer()
  const { keys } = JSON.parse((await openStore(server)).published().body)
  for (const key of await readKeys(server.env)) {
    const { kty, crv, x, y, n, e } = key.jwk
    const material = kty === 'EC' ? { crv, x, y } : { n, e }
    const found = keys.find(({ kid }: Jwk) => kid === key.kid)
    assert.deepEqual(
      found,
      key.use === 'mac' ? undefined : { kid: key.kid, use: key.use, alg: key.alg, kty, ...material },
    )
  }
})

test('the implementation by hand agrees with RFC 5869, appendix A.3: HKDF without salt and info', () => {
  assert.equal(
    hkdf(Buffer.alloc(22, 0x0b), '').toString('hex'),
    '8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d',
  )
})
