import assert from 'node:assert/strict'
import { createHmac, createPublicKey, generateKeyPairSync, randomUUID } from 'node:crypto'
import { suite, test } from 'node:test'
import { deflateRawSync } from 'node:zlib'
import {
  concatKdf,
  decodeJson,
  decryptJwe,
  encode,
  encryptJwe,
  type Json,
  type Jwk,
  publicHalf,
  signJws,
  unwrapKey,
  verifyJws,
  wrapKey,
} from '../support/jose_by_hand.ts'
import { keyFor } from '../support/keys.ts'
import { agreedByAliceAndBob, WRAPPING } from '../support/rfc_examples.ts'
import { logInSomebody, me, refresh, type Server, sessionIdOf, startServer } from '../support/server.ts'

const UUID_V4 = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
const COPIED = ['iss', 'aud', 'iat', 'exp', 'jti']
const ISSUER = { AUTH_ISS: 'https://auth.example', AUTH_AUD: 'our-apps' }
const now = () => Math.floor(Date.now() / 1000)

suite('the implementation by hand agrees with', () => {
  test('RFC 7518, appendix C: Concat KDF', () => {
    const { secret, derived: expected } = agreedByAliceAndBob()
    const derived = concatKdf(secret, 128, 'A128GCM', encode('Alice'), encode('Bob'))
    assert.equal(encode(derived), expected)
  })

  test('RFC 3394, section 4.6: wrapping 256 bits with 256 bits', () => {
    const { wrappingKey, key, wrapped: expected } = WRAPPING
    const wrapped = wrapKey(wrappingKey, key)
    assert.equal(wrapped.toString('hex'), expected)
    assert.deepEqual(unwrapKey(wrappingKey, wrapped), key)
  })

  test('RFC 7515, appendix A.3: ES256', () => {
    const key = {
      kty: 'EC',
      crv: 'P-256',
      x: 'f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU',
      y: 'x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0',
    }
    const payload = 'eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ'
    const signature = 'DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q'
    const { plaintext } = verifyJws(`eyJhbGciOiJFUzI1NiJ9.${payload}.${signature}`, key)
    assert.equal(JSON.parse(plaintext.toString()).iss, 'joe')
    assert.throws(() => verifyJws(`eyJhbGciOiJFUzI1NiJ9.${payload}.A${signature.slice(1)}`, key))
  })
})

const servers: Record<string, Server> = {}
for (const signing of ['ES256', 'RS256'])
  for (const encryption of ['ECDH-ES+A256KW', 'RSA-OAEP-256']) {
    const algorithms = { AUTH_SIGNING_ALG: signing, AUTH_JWE_ALG: encryption }
    servers[`${signing} in ${encryption}`] = await startServer({ ...ISSUER, ...algorithms, AUTH_ACCESS_TTL_SEC: '321' })
  }

suite('an access token', () => {
  for (const [algorithms, server] of Object.entries(servers)) {
    test(`of ${algorithms} is what the contract says, in every header and claim`, async () => {
      const before = now()
      const { access_token, refresh_token } = await logInSomebody(server)
      const [signing, encryption] = algorithms.split(' in ')
      const { signatureKey, encryptionKey } = await keysOf(server)
      const outer = decryptJwe(access_token, encryptionKey)
      const inner = verifyJws(outer.plaintext.toString(), signatureKey)
      const claims = JSON.parse(inner.plaintext.toString())

      const { epk, ...outerHeader } = outer.header
      const copies = Object.fromEntries(COPIED.map((name) => [name, claims[name]]))
      const { kid } = encryptionKey
      assert.deepEqual(outerHeader, { alg: encryption, enc: 'A256GCM', cty: 'JWT', kid, ...copies })
      if (encryption === 'ECDH-ES+A256KW') assert.deepEqual(Object.keys(epk).sort(), ['crv', 'kty', 'x', 'y'])
      assert.deepEqual(inner.header, { alg: signing, typ: 'at+jwt', kid: signatureKey.kid })
      assert.deepEqual(Object.keys(claims).sort(), ['aud', 'exp', 'iat', 'iss', 'jti', 'sid', 'sub'])
      assert.deepEqual([claims.iss, claims.aud], [ISSUER.AUTH_ISS, ISSUER.AUTH_AUD])
      assert.equal(claims.exp - claims.iat, 321)
      assert.ok(claims.iat >= before && claims.iat <= now())
      for (const name of ['sub', 'jti']) assert.match(claims[name], UUID_V4, name)
      assert.equal(claims.sid, sessionIdOf(refresh_token))
      assert.equal((await me(server, access_token)).body.id, claims.sub)
    })

    test(`made by hand with ${algorithms} is accepted`, async () => {
      const answer = await me(server, (await forgery(server)).token())
      assert.equal(answer.status, 200)
    })
  }

  test('has a jti of its own, and the sid of its session', async () => {
    const server = servers['ES256 in ECDH-ES+A256KW'] as Server
    const login = await logInSomebody(server)
    const { body } = await refresh(server, login.refresh_token)
    const first = await claimsOf(server, login.access_token)
    const second = await claimsOf(server, body.access_token)
    assert.notEqual(first.jti, second.jti)
    assert.equal(first.sid, second.sid)
  })

  const times = [
    { title: 'that has expired within the clock skew is accepted', exp: -50, status: 200 },
    { title: 'that has expired beyond the clock skew is called expired', exp: -61, code: 'AUTH_TOKEN_EXPIRED' },
    { title: 'issued in the future within the clock skew is accepted', iat: 50, status: 200 },
    { title: 'issued in the future beyond the clock skew is refused', iat: 70, code: 'AUTH_TOKEN_INVALID' },
  ]
  for (const { title, iat = -900, exp = 900, status = 401, code } of times)
    test(title, async () => {
      const server = servers['ES256 in ECDH-ES+A256KW'] as Server
      const answer = await me(server, (await forgery(server)).token({ claims: { iat: now() + iat, exp: now() + exp } }))
      assert.deepEqual([answer.status, answer.body.error?.code], [status, code])
    })
})

interface Change {
  /** Undefined leaves the claim out. */
  claims?: Json
  inner?: Json
  /** Over what the claims say. */
  outer?: Json
  /** What the outer header says, whatever is done. */
  named?: Json
  signatureKey?: Jwk
  encryptionKey?: Jwk
  /** What stands inside, instead of a JWS. */
  content?: string | Buffer
}
type Forgery = Awaited<ReturnType<typeof forgery>>

/** Makes tokens for somebody who is logged in; without a change they are as good as the server's own. */
async function forgery(server: Server) {
  const { access_token: genuine } = await logInSomebody(server)
  const { signatureKey, encryptionKey } = await keysOf(server)
  const { sub, sid } = await claimsOf(server, genuine)
  const { AUTH_ISS: iss, AUTH_AUD: aud } = server.env
  const jws = ({ claims = {}, inner = {}, signatureKey: key = signatureKey }: Change = {}) => {
    const header = { alg: key.alg, typ: 'at+jwt', kid: key.kid, ...inner }
    return signJws(header, { sub, sid, ...standardClaims({ iss, aud }), ...claims }, key)
  }
  const token = (change: Change = {}) => {
    const content = change.content ?? jws(change)
    const { alg, kid } = change.encryptionKey ?? encryptionKey
    const header = { alg, enc: 'A256GCM', cty: 'JWT', kid, ...copiesOf(content), ...change.outer }
    return encryptJwe(header, content, change.encryptionKey ?? encryptionKey, change.named)
  }
  const jwsHeader = { alg: signatureKey.alg, typ: 'at+jwt', kid: signatureKey.kid }
  return { genuine, signatureKey, encryptionKey, jwsHeader, jws, token }
}

/** The claims to copy from a JWS; from anything else none. */
function copiesOf(content: string | Buffer): Json {
  const parts = typeof content === 'string' ? content.split('.') : []
  const claims = parts.length === 3 ? (decodeJson(parts[1]) ?? {}) : {}
  return Object.fromEntries(COPIED.map((name) => [name, claims[name]]))
}

let issued = 0
function standardClaims(more: Json): Json {
  const iat = now() - 10 - (issued++ % 10)
  return { ...more, iat, exp: iat + 900, jti: randomUUID() }
}

async function keysOf(server: Server) {
  const signatureKey = await keyFor(server.env, 'sig', server.env.AUTH_SIGNING_ALG)
  return { signatureKey, encryptionKey: await keyFor(server.env, 'enc', server.env.AUTH_JWE_ALG) }
}

async function claimsOf(server: Server, token: string): Promise<Json> {
  const { signatureKey, encryptionKey } = await keysOf(server)
  return JSON.parse(verifyJws(decryptJwe(token, encryptionKey).plaintext.toString(), signatureKey).plaintext.toString())
}

function strangersKey(alg: 'ES256' | 'RS256' | 'ECDH-ES+A256KW'): Jwk {
  const { privateKey } =
    alg === 'RS256'
      ? generateKeyPairSync('rsa', { modulusLength: 2048 })
      : generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return { ...privateKey.export({ format: 'jwk' }), alg } as Jwk
}

function unsigned({ jws }: Forgery, alg: string): string {
  const [header, payload] = jws().split('.')
  return `${encode({ ...decodeJson(header), alg })}.${payload}.`
}

/** The classic: a public key taken for the secret of an HMAC. */
function signedWithPublicKey({ jws, signatureKey }: Forgery): string {
  const [header, payload] = jws({ inner: { alg: 'HS256' } }).split('.')
  const secret = createPublicKey({ key: publicHalf(signatureKey), format: 'jwk' }).export({
    type: 'spki',
    format: 'pem',
  })
  return `${header}.${payload}.${createHmac('sha256', secret).update(`${header}.${payload}`).digest('base64url')}`
}

function flip(token: string, part: number): string {
  const parts = token.split('.')
  const bytes = Buffer.from(parts[part] as string, 'base64url')
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] as number) ^ 1
  parts[part] = bytes.toString('base64url')
  return parts.join('.')
}

/** A point of P-256 with one bit changed: no longer on the curve. */
function offCurve(jwk: Jwk): Jwk {
  const y = Buffer.from(jwk.y, 'base64url')
  y[31] = (y[31] as number) ^ 1
  return { ...publicHalf(jwk), y: encode(y) }
}

function p384(): Jwk {
  return generateKeyPairSync('ec', { namedCurve: 'P-384' }).publicKey.export({ format: 'jwk' }) as Jwk
}

const KEY_HEADERS = (key: Jwk): Json => ({
  jwk: publicHalf(key),
  jku: 'https://evil.example/jwks.json',
  x5c: ['MIIB'],
  x5u: 'https://evil.example/cert.pem',
})

const HOSTILE: Record<string, (it: Forgery) => string> = {
  'a text that is no token': () => 'abc',
  'five empty parts': () => '....',
  'a JWS without the encryption': ({ jws }) => jws(),
  'an unsigned JWT': (it) => unsigned(it, 'none'),
  'a refresh token': () => 'A'.repeat(64),

  'an inner token with alg none': (it) => it.token({ content: unsigned(it, 'none') }),
  'an inner token with alg NONE': (it) => it.token({ content: unsigned(it, 'NONE') }),
  'an inner token without its signature': (it) => it.token({ content: it.jws().replace(/[^.]+$/, '') }),
  'an inner token signed with the public key as an HMAC secret': (it) => it.token({ content: signedWithPublicKey(it) }),
  'an inner signature with one bit flipped': (it) => it.token({ content: flip(it.jws(), 2) }),
  'inner claims with one bit flipped': (it) => it.token({ content: flip(it.jws(), 1) }),
  "an inner token signed by a stranger under our key's name": (it) =>
    it.token({ signatureKey: { ...strangersKey('ES256'), kid: it.signatureKey.kid } }),
  'an inner token signed by a stranger under its own name': (it) =>
    it.token({ signatureKey: { ...strangersKey('ES256'), kid: 'stranger' } }),
  "an inner token of another algorithm than its key's": (it) =>
    it.token({ signatureKey: { ...strangersKey('RS256'), kid: it.signatureKey.kid } }),
  'an inner token that names RS256 over an ES256 signature': (it) => it.token({ inner: { alg: 'RS256' } }),
  'an inner token signed with the encryption key': (it) =>
    it.token({ signatureKey: { ...it.encryptionKey, alg: 'ES256' } }),
  'an inner kid that is unknown': (it) => it.token({ inner: { kid: 'unknown' } }),
  'an inner kid that is missing': (it) => it.token({ inner: { kid: undefined } }),
  'an inner kid that is a number': (it) => it.token({ inner: { kid: 1 } }),
  'an inner kid of the encryption key': (it) => it.token({ inner: { kid: it.encryptionKey.kid } }),
  'an inner typ of JWT': (it) => it.token({ inner: { typ: 'JWT' } }),
  'no inner typ': (it) => it.token({ inner: { typ: undefined } }),
  'a crit in the inner header': (it) => it.token({ inner: { crit: ['exp'], exp: 1 } }),
  'an inner header that asks for unencoded content (b64)': (it) => it.token({ inner: { crit: ['b64'], b64: true } }),

  'an outer kid that is unknown': (it) => it.token({ outer: { kid: 'unknown' } }),
  'an outer kid that is missing': (it) => it.token({ outer: { kid: undefined } }),
  'an outer kid of the signature key': (it) => it.token({ outer: { kid: it.signatureKey.kid } }),
  "an outer layer for a stranger's key under our key's name": (it) =>
    it.token({ encryptionKey: { ...strangersKey('ECDH-ES+A256KW'), kid: it.encryptionKey.kid } }),
  'no cty': (it) => it.token({ outer: { cty: undefined } }),
  'another cty': (it) => it.token({ outer: { cty: 'JSON' } }),
  'an outer enc of A128GCM': (it) => it.token({ outer: { enc: 'A128GCM' } }),
  'an outer enc that only pretends to be A128GCM': (it) => it.token({ named: { enc: 'A128GCM' } }),
  'an outer enc of A256CBC-HS512': (it) => it.token({ named: { enc: 'A256CBC-HS512' } }),
  'an outer alg of ECDH-ES': (it) => it.token({ named: { alg: 'ECDH-ES' } }),
  'an outer alg of ECDH-ES+A128KW': (it) => it.token({ named: { alg: 'ECDH-ES+A128KW' } }),
  'an outer alg of none': (it) => it.token({ named: { alg: 'none' } }),
  'an outer alg of RSA-OAEP-256 over an EC key': (it) => it.token({ named: { alg: 'RSA-OAEP-256' } }),
  'an outer alg of dir': (it) =>
    it.token({ encryptionKey: { kty: 'oct', alg: 'dir', kid: it.encryptionKey.kid, k: encode(Buffer.alloc(32)) } }),
  'an outer alg of PBES2': (it) => it.token({ named: { alg: 'PBES2-HS512+A256KW', p2c: 1_000_000, p2s: 'AAAA' } }),
  'a zip header over plain content': (it) => it.token({ outer: { zip: 'DEF' } }),
  'compressed content': (it) => {
    const jws = it.jws()
    return it.token({ outer: { zip: 'DEF', ...copiesOf(jws) }, content: deflateRawSync(jws) })
  },
  'an outer crit': (it) => it.token({ outer: { crit: ['exp'] } }),
  'an epk on another curve': (it) => it.token({ named: { epk: p384() } }),
  'an epk off the curve': (it) => it.token({ named: { epk: offCurve(it.signatureKey) } }),
  'an epk of zeros': (it) => {
    const zero = encode(Buffer.alloc(32))
    return it.token({ named: { epk: { kty: 'EC', crv: 'P-256', x: zero, y: zero } } })
  },
  'an epk that is missing': (it) => it.token({ named: { epk: undefined } }),
  'an epk that is a text': (it) => it.token({ named: { epk: 'P-256' } }),

  'plain JSON inside the encryption': (it) => it.token({ content: JSON.stringify(decodeJson(it.jws().split('.')[1])) }),
  'nothing inside the encryption': (it) => it.token({ content: '' }),
  'a token inside a token': (it) => it.token({ content: it.token() }),
  'claims that are a list': (it) => it.token({ content: signJws(it.jwsHeader, '[]', it.signatureKey) }),
  'claims that are null': (it) => it.token({ content: signJws(it.jwsHeader, 'null', it.signatureKey) }),

  'an issuer that is not ours': (it) => it.token({ claims: { iss: 'https://evil.example' } }),
  'an audience that is not ours': (it) => it.token({ claims: { aud: 'others' } }),
  'an audience that is a list with ours in it': (it) => it.token({ claims: { aud: [ISSUER.AUTH_AUD] } }),
  'an audience that is a list beside a copy that is ours': (it) =>
    it.token({ claims: { aud: [ISSUER.AUTH_AUD] }, outer: { aud: ISSUER.AUTH_AUD } }),
  'a subject that is no UUID': (it) => it.token({ claims: { sub: 'admin' } }),
  'a subject that is a number': (it) => it.token({ claims: { sub: 1 } }),
  'a subject that is SQL': (it) => it.token({ claims: { sub: "' or 1=1 --" } }),
  'a session id that is no UUID': (it) => it.token({ claims: { sid: 'x' } }),
  'a jti that is no UUID': (it) => it.token({ claims: { jti: 'x' } }),
  'an exp that is a text': (it) => it.token({ claims: { exp: String(now() + 900) } }),
  'an iat that is a text': (it) => it.token({ claims: { iat: String(now()) } }),
  'a not-before in the future': (it) => it.token({ claims: { nbf: now() + 600 } }),

  'a genuine token that is cut short': (it) => it.genuine.slice(0, -5),
  'a genuine token with a sixth part': (it) => `${it.genuine}.AAAA`,
  'a genuine token with four parts': (it) => it.genuine.split('.').slice(0, 4).join('.'),
  'a genuine token with its tag cut to 12 bytes': (it) => it.genuine.slice(0, -6),
  'the parts of two genuine tokens': (it) =>
    [...it.genuine.split('.').slice(0, 3), ...it.token().split('.').slice(3)].join('.'),
  ...Object.fromEntries(
    ['header', 'encrypted key', 'iv', 'ciphertext', 'tag'].map((name, part) => [
      `a genuine token with one bit of its ${name} flipped`,
      (it: Forgery) => flip(it.genuine, part),
    ]),
  ),
  ...Object.fromEntries(
    ['sub', 'sid', 'iss', 'aud', 'iat', 'exp', 'jti'].map((claim) => [
      `no ${claim}`,
      (it: Forgery) => it.token({ claims: { [claim]: undefined } }),
    ]),
  ),
  ...Object.fromEntries(
    COPIED.flatMap((claim) => [
      [`no copy of ${claim}`, (it: Forgery) => it.token({ outer: { [claim]: undefined } })],
      [`a copy of ${claim} that differs`, (it: Forgery) => it.token({ outer: { [claim]: different(claim) } })],
    ]),
  ),
  ...Object.fromEntries(
    ['jwk', 'jku', 'x5c', 'x5u'].flatMap((name) => [
      [`an outer ${name}`, (it: Forgery) => it.token({ outer: { [name]: KEY_HEADERS(it.encryptionKey)[name] } })],
      [`an inner ${name}`, (it: Forgery) => it.token({ inner: { [name]: KEY_HEADERS(it.signatureKey)[name] } })],
      [
        `an inner ${name} of the stranger who signed`,
        (it: Forgery) => {
          const stranger = { ...strangersKey('ES256'), kid: it.signatureKey.kid }
          return it.token({ signatureKey: stranger, inner: { [name]: KEY_HEADERS(stranger)[name] } })
        },
      ],
    ]),
  ),
}

function different(claim: string) {
  if (claim === 'jti') return randomUUID()
  return claim === 'iat' || claim === 'exp' ? now() + 901 : 'other'
}

suite('an access token is refused that has or is', async () => {
  const server = servers['ES256 in ECDH-ES+A256KW'] as Server
  const it = await forgery(server)
  for (const [title, make] of Object.entries(HOSTILE))
    test(title, async () => {
      const answer = await me(server, make(it))
      assert.deepEqual([answer.status, answer.body.error?.code], [401, 'AUTH_TOKEN_INVALID'])
    })

  test('the session of another user, whose it is not', async () => {
    const another = await claimsOf(server, (await logInSomebody(server)).access_token)
    const answer = await me(server, it.token({ claims: { sub: another.sub } }))
    assert.deepEqual([answer.status, answer.body.error?.code], [401, 'AUTH_TOKEN_REVOKED'])
  })

  const rsa = servers['RS256 in RSA-OAEP-256'] as Server
  const withRsa = await forgery(rsa)
  const hostileRsa: Record<string, Change> = {
    'an outer alg of RSA-OAEP with SHA-1': { encryptionKey: { ...withRsa.encryptionKey, alg: 'RSA-OAEP' } },
    'an outer alg of RSA1_5': { named: { alg: 'RSA1_5' } },
    'an outer alg of ECDH-ES+A256KW over an RSA key': { named: { alg: 'ECDH-ES+A256KW' } },
    'an inner alg of PS256 over an RSA key': { inner: { alg: 'PS256' } },
    'an outer kid of the key for browsers': { encryptionKey: await keyFor(rsa.env, 'enc_front') },
  }
  for (const [title, change] of Object.entries(hostileRsa))
    test(title, async () => {
      const answer = await me(rsa, withRsa.token(change))
      assert.deepEqual([answer.status, answer.body.error?.code], [401, 'AUTH_TOKEN_INVALID'])
    })
})
