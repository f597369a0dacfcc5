import assert from 'node:assert/strict'
import { generateKeyPairSync, randomUUID } from 'node:crypto'
import { suite, test } from 'node:test'
import { encryptJwe, type Json, type Jwk } from '../support/jose_by_hand.ts'
import { keyFor } from '../support/keys.ts'
import {
  freshEnvironment,
  newCredentials,
  registerSomebody,
  type Server,
  startProcess,
  startServer,
} from '../support/server.ts'

const HEADER = { alg: 'RSA-OAEP-256', enc: 'A256GCM' }
const now = () => Math.floor(Date.now() / 1000)
const server = await startServer()
const publicKey = await publishedKey(server)

async function publishedKey({ call }: Pick<Server, 'call'>): Promise<Jwk> {
  const { body } = await call('GET', '/.well-known/jwks.json')
  return body.keys.find(({ use }: Jwk) => use === 'enc_front')
}

interface Choices {
  aad?: string
  contentKeyBytes?: number
  ivBytes?: number
}

/** The object form, as a page makes it: with WebCrypto, from the published key alone. */
async function asObject(payload: unknown, choices: Choices = {}, jwk = publicKey): Promise<Json> {
  const { aad, contentKeyBytes = 32, ivBytes = 12 } = choices
  const contentKey = crypto.getRandomValues(new Uint8Array(contentKeyBytes))
  const iv = crypto.getRandomValues(new Uint8Array(ivBytes))
  const rsa = await webCryptoKey(jwk)
  const aes = await crypto.subtle.importKey('raw', contentKey.slice(0, 32), 'AES-GCM', false, ['encrypt'])
  const gcm = { name: 'AES-GCM', iv, ...(aad !== undefined && { additionalData: Buffer.from(aad) }) }
  const [cek, ct] = await Promise.all([
    crypto.subtle.encrypt('RSA-OAEP', rsa, contentKey),
    crypto.subtle.encrypt(gcm, aes, Buffer.from(textOf(payload))),
  ])
  const parts = { cek: base64url(cek), iv: base64url(iv), ct: base64url(ct) }
  return { kid: jwk.kid, ...HEADER, ...parts, ...(aad !== undefined && { aad }) }
}

/**
 * WebCrypto refuses a JWK whose `use` it does not know, and RFC 7517 leaves `enc_front` to us, so it gets the
 * numbers.
 */
function webCryptoKey({ kty, n, e }: Jwk): Promise<CryptoKey> {
  return crypto.subtle.importKey('jwk', { kty, n, e }, { name: 'RSA-OAEP', hash: 'SHA-256' }, false, ['encrypt'])
}

function asCompact(payload: unknown, header: Json = {}, named: Json = {}, jwk = publicKey): string {
  return encryptJwe({ ...HEADER, kid: jwk.kid, ...header }, textOf(payload), jwk, named)
}

/** A text is taken as it is, so that it may also be no JSON. */
function textOf(payload: unknown): string {
  return typeof payload === 'string' ? payload : JSON.stringify(payload)
}

function base64url(bytes: ArrayBuffer | Uint8Array): string {
  return Buffer.from(bytes as Uint8Array).toString('base64url')
}

function register(front: unknown, { call }: Pick<Server, 'call'> = server) {
  return call('POST', '/auth/register', { body: { __front_enc__: front } })
}

function logIn(front: unknown, { call }: Pick<Server, 'call'> = server) {
  return call('POST', '/auth/login', { body: { __front_enc__: front } })
}

suite('a browser that encrypts its payload', () => {
  const forms: Record<string, (payload: unknown) => unknown> = {
    'as an object': asObject,
    'as an object with aad': (payload) => asObject(payload, { aad: 'POST /auth/login, für uns' }),
    'as an object with an empty aad': (payload) => asObject(payload, { aad: '' }),
    'as a compact JWE': (payload) => asCompact(payload),
  }
  for (const [form, make] of Object.entries(forms))
    test(`${form} registers and logs in, and so does whoever sends it plain`, async () => {
      const credentials = newCredentials()
      const registered = await register(await make({ ...credentials, iat: now(), jti: randomUUID() }))
      assert.deepEqual([registered.status, registered.body.email], [201, credentials.email])
      assert.equal((await logIn(await make({ ...credentials, iat: now(), jti: randomUUID() }))).status, 200)
      assert.equal((await logIn(await make(credentials))).status, 200, 'iat and jti are optional')
      assert.equal((await server.call('POST', '/auth/login', { body: credentials })).status, 200)
      const wrong = await logIn(await make({ ...credentials, password: 'not the password 1' }))
      assert.deepEqual([wrong.status, wrong.body.error.code], [401, 'AUTH_INVALID_CREDENTIALS'])
    })

  test('is believed for what it encrypted, not for what stands beside it', async () => {
    const [inside, beside] = [newCredentials(), newCredentials()]
    const { body } = await server.call('POST', '/auth/register', {
      body: { ...beside, __front_enc__: asCompact(inside) },
    })
    assert.equal(body.email, inside.email)
  })

  test('with a clock a little ahead or behind is still understood', async () => {
    const credentials = await registerSomebody(server)
    for (const seconds of [-30, 30])
      assert.equal((await logIn(asCompact({ ...credentials, iat: now() + seconds, jti: randomUUID() }))).status, 200)
  })
})

suite('the same 400, byte for byte, answers', async () => {
  const credentials = await registerSomebody(server)
  const { email, password } = credentials
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 3072 })
  const stranger = { ...privateKey.export({ format: 'jwk' }), kid: publicKey.kid } as Jwk
  const object = (change: Json | ((parts: Json) => Json), payload: unknown = credentials) =>
    asObject(payload).then((parts) => ({ ...parts, ...(typeof change === 'function' ? change(parts) : change) }))
  const cases: Record<string, () => unknown> = {
    null: () => null,
    'a number': () => 7,
    true: () => true,
    'an empty text': () => '',
    'an empty object': () => ({}),
    'a list': () => [],
    'a text that is no JWE': () => 'a.b.c.d.e',
    'an unknown kid': () => object({ kid: 'unknown' }),
    'no kid': () => object({ kid: undefined }),
    'a kid that is a list': () => object({ kid: [publicKey.kid] }),
    'the kid of a key for another use': async () => object({ kid: (await keyFor(server.env, 'enc')).kid }),
    "a stranger's key": () => asObject(credentials, {}, stranger),
    'another alg': () => object({ alg: 'RSA-OAEP' }),
    'no alg': () => object({ alg: undefined }),
    'another enc': () => object({ enc: 'A128GCM' }),
    'no enc': () => object({ enc: undefined }),
    'a zip': () => object({ zip: 'DEF' }),
    'an iv of 8 bytes': () => object(({ iv }) => ({ iv: iv.slice(0, 11) })),
    'an iv of 13 bytes': () => asObject(credentials, { ivBytes: 13 }),
    'an iv of 16 bytes': () => asObject(credentials, { ivBytes: 16 }),
    'no iv': () => object({ iv: undefined }),
    'a content key of 16 bytes': () => asObject(credentials, { contentKeyBytes: 16 }),
    'a content key of 31 bytes': () => asShortKey(),
    'a content key of 64 bytes': () => asObject(credentials, { contentKeyBytes: 64 }),
    'a cek that is cut': () => object(({ cek }) => ({ cek: cek.slice(0, -4) })),
    'a cek that is empty': () => object({ cek: '' }),
    'a cek in wrong base64': () => object(({ cek }) => ({ cek: `!${cek.slice(1)}` })),
    'a ct in wrong base64': () => object(({ ct }) => ({ ct: `${ct.slice(0, -2)}%%` })),
    'an iv in wrong base64': () => object({ iv: '****************' }),
    'a ct shorter than its tag': () => object({ ct: 'AAAA' }),
    'a ct that is empty': () => object({ ct: '' }),
    'a tag with one bit flipped': () => object(({ ct }) => ({ ct: flipLastBit(ct) })),
    'a tag cut to 12 bytes': () =>
      object(({ ct }) => ({ ct: Buffer.from(ct, 'base64url').subarray(0, -4).toString('base64url') })),
    'an aad that was not encrypted with': () => object({ aad: 'x' }),
    'no aad though encrypted with one': () => asObject(credentials, { aad: 'x' }).then(({ aad, ...parts }) => parts),
    'an aad that is a number': () => object({ aad: 1 }),
    'an aad that is an object': () => object({ aad: { length: 5 } }),
    'an aad that is a list': () => object({ aad: [] }),
    'parts that are numbers': () => ({ kid: 1, alg: 2, enc: 3, cek: 4, iv: 5, ct: 6 }),
    'parts that are objects': () => object({ cek: {}, iv: [], ct: null }),
    'no JSON inside': () => asObject('hello'),
    'JSON cut short inside': () => asCompact(JSON.stringify(credentials).slice(0, -1)),
    'nothing inside': () => asCompact(''),
    'null inside': () => asObject('null'),
    'a list inside': () => asObject([credentials]),
    'a text inside': () => asObject('"text"'),
    'a number inside': () => asCompact('1'),
    'bytes that are no UTF-8 inside': () => asBytes(Buffer.from('{"email":"\xff"}', 'latin1')),
    'no email inside': () => asObject({ password }),
    'no password inside': () => asCompact({ email }),
    'an email that is a number': () => asObject({ email: 1, password }),
    'a password that is null': () => asCompact({ email, password: null }),
    'a password that is a list': () => asCompact({ email, password: [password] }),
    'an iat 61 seconds ago': () => asObject({ ...credentials, iat: now() - 62 }),
    'an iat beyond the clock skew ahead': () => asCompact({ ...credentials, iat: now() + 90 }),
    'an iat that is a text': () => asObject({ ...credentials, iat: String(now()) }),
    'an iat that is null': () => asObject({ ...credentials, iat: null }),
    'an iat in milliseconds': () => asCompact({ ...credentials, iat: Date.now() }),
    'a jti that is a number': () => asObject({ ...credentials, jti: 5 }),
    'a jti that is an object': () => asCompact({ ...credentials, jti: {} }),
    'a compact JWE with an unknown kid': () => asCompact(credentials, { kid: 'unknown' }),
    'a compact JWE with another alg': () => asCompact(credentials, { alg: 'RSA-OAEP' }),
    'a compact JWE with another enc': () => asCompact(credentials, { enc: 'A128GCM' }),
    'a compact JWE with zip': () => asCompact(credentials, { zip: 'DEF' }),
    'a compact JWE with crit': () => asCompact(credentials, { crit: ['exp'], exp: 1 }),
    'a compact JWE with a jwk': () => asCompact(credentials, { jwk: { kty: 'RSA', n: publicKey.n, e: 'AQAB' } }),
    'a compact JWE cut short': () => asCompact(credentials).slice(0, -3),
    'a compact JWE with a flipped tag bit': () => flipLastBit(asCompact(credentials)),
    'a compact JWE of a stranger': () => asCompact(credentials, {}, {}, stranger),
    'a compact JWE to the key for access tokens': async () => {
      const enc = await keyFor(server.env, 'enc')
      return encryptJwe({ alg: enc.alg, enc: 'A256GCM', kid: enc.kid }, JSON.stringify(credentials), enc)
    },
    'a jti used before': async () => {
      const payload = { ...credentials, iat: now(), jti: randomUUID() }
      assert.equal((await logIn(await asObject(payload))).status, 200)
      return asCompact(payload)
    },
    'a jti used before, without an iat': async () => {
      const payload = { ...credentials, jti: randomUUID() }
      assert.equal((await logIn(asCompact(payload))).status, 200)
      return asObject(payload)
    },
  }
  const expected = await refusalOf(await object({ kid: 'unknown' }), '/auth/login')
  assert.match(expected, /^400 .*"AUTH_BAD_REQUEST"/)
  for (const [title, make] of Object.entries(cases))
    test(title, async () => {
      const front = await make()
      for (const path of ['/auth/login', '/auth/register']) assert.equal(await refusalOf(front, path), expected)
    })

  /** Status and body as they came. */
  async function refusalOf(front: unknown, path: string): Promise<string> {
    const body = JSON.stringify({ __front_enc__: front })
    const response = await fetch(server.url + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body,
    })
    const { date, 'x-request-id': id, ...headers } = Object.fromEntries(response.headers)
    return `${response.status} ${await response.text()} ${JSON.stringify(headers)}`
  }

  /** A key that AES does not have; the rest does not matter then. */
  async function asShortKey(): Promise<Json> {
    const rsa = await webCryptoKey(publicKey)
    const cek = base64url(await crypto.subtle.encrypt('RSA-OAEP', rsa, new Uint8Array(31)))
    return object({ cek })
  }

  function asBytes(content: Buffer): string {
    return encryptJwe({ ...HEADER, kid: publicKey.kid }, content, publicKey)
  }

  function flipLastBit(text: string): string {
    const [, before = '', last = ''] = /^(.*?)([^.]*)$/s.exec(text) ?? []
    const bytes = Buffer.from(last, 'base64url')
    bytes[bytes.length - 1] = (bytes.at(-1) as number) ^ 1
    return before + bytes.toString('base64url')
  }
})

suite('a jti', () => {
  test('sent twenty times at once is accepted exactly once', async () => {
    const payload = { ...(await registerSomebody(server)), iat: now(), jti: randomUUID() }
    const fronts = await Promise.all(
      Array.from({ length: 20 }, (_, index) => (index % 2 ? asCompact(payload) : asObject(payload))),
    )
    const statuses = (await Promise.all(fronts.map((front) => logIn(front)))).map(({ status }) => status)
    assert.deepEqual(statuses.sort(), [200, ...Array(19).fill(400)])
  })

  test('that was used stays used when the server starts again', async () => {
    const first = await startServer()
    const jwk = await publishedKey(first)
    const credentials = await registerSomebody(first)
    const front = asCompact({ ...credentials, iat: now(), jti: randomUUID() }, {}, {}, jwk)
    assert.equal((await logIn(front, first)).status, 200)
    await first.close()
    const second = await startServer(first.env)
    assert.equal((await logIn(front, second)).status, 400)
    const another = asCompact({ ...credentials, iat: now(), jti: randomUUID() }, {}, {}, jwk)
    assert.equal((await logIn(another, second)).status, 200)
  })
})

test('where encryption is required, plain bodies and payloads without iat or jti are refused', async () => {
  const strict = await startServer({ AUTH_FRONT_ENC_REQUIRED: 'true' })
  const jwk = await publishedKey(strict)
  const credentials = newCredentials()
  const send = (path: string, payload: Json) =>
    strict.call('POST', path, { body: { __front_enc__: asCompact(payload, {}, {}, jwk) } })
  for (const path of ['/auth/register', '/auth/login']) {
    const refused = [
      await strict.call('POST', path, { body: credentials }),
      await send(path, credentials),
      await send(path, { ...credentials, iat: now() }),
      await send(path, { ...credentials, jti: randomUUID() }),
    ]
    for (const { status, body } of refused) assert.deepEqual([status, body.error.code], [400, 'AUTH_BAD_REQUEST'])
    const { status } = await send(path, { ...credentials, iat: now(), jti: randomUUID() })
    assert.equal(status, path === '/auth/register' ? 201 : 200)
  }
})

test('nothing that was decrypted is ever logged', async () => {
  const program = await startProcess(await freshEnvironment({ LOG_LEVEL: 'trace' }))
  const jwk = await publishedKey(program)
  const credentials = newCredentials()
  const jti = randomUUID()
  const payloads: unknown[] = [
    { ...credentials, iat: now(), jti },
    { ...credentials, iat: now(), jti },
    { ...credentials, iat: 0 },
    { ...credentials, password: 'kurz 7' },
    `${JSON.stringify(credentials)} and this is no JSON`,
    { email: credentials.email, password: [credentials.password] },
  ]
  for (const payload of payloads)
    for (const path of ['/auth/register', '/auth/login'])
      for (const front of [asCompact(payload, {}, {}, jwk), await asObject(payload, {}, jwk)])
        await program.call('POST', path, { body: { __front_enc__: front } })
  await program.end('SIGTERM')
  const log = program.output()
  assert.match(log, /\/auth\/login/)
  for (const secret of [credentials.email, credentials.password, 'kurz 7', jti, 'no JSON'])
    assert.ok(!log.includes(secret), `the log has ${secret}`)
})
