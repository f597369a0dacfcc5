import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { type Change, COPIED, forge, now } from '../support/forgery.ts'
import { concatKdf, decryptJwe, encode, type Json, unwrapKey, verifyJws, wrapKey } from '../support/jose_by_hand.ts'
import { keyFor } from '../support/keys.ts'
import { agreedByAliceAndBob, WRAPPING } from '../support/rfc_examples.ts'
import { logInSomebody, me, refresh, type Server, sessionIdOf, startServer } from '../support/server.ts'

const UUID_V4 = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
const ISSUER = { AUTH_ISS: 'https://auth.example', AUTH_AUD: 'our-apps' }

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

  test('of the session of another user is refused', async () => {
    const server = servers['ES256 in ECDH-ES+A256KW'] as Server
    const another = await claimsOf(server, (await logInSomebody(server)).access_token)
    const answer = await me(server, (await forgery(server)).token({ claims: { sub: another.sub } }))
    assert.deepEqual([answer.status, answer.body.error?.code], [401, 'AUTH_TOKEN_REVOKED'])
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

/** Makes tokens for somebody who is logged in; without a change they are as good as the server's own. */
async function forgery(server: Server) {
  const { access_token: genuine } = await logInSomebody(server)
  return forge({ genuine, claims: await claimsOf(server, genuine), ...(await keysOf(server)) })
}

async function keysOf(server: Server) {
  const signatureKey = await keyFor(server.env, 'sig', server.env.AUTH_SIGNING_ALG)
  return { signatureKey, encryptionKey: await keyFor(server.env, 'enc', server.env.AUTH_JWE_ALG) }
}

async function claimsOf(server: Server, token: string): Promise<Json> {
  const { signatureKey, encryptionKey } = await keysOf(server)
  return JSON.parse(verifyJws(decryptJwe(token, encryptionKey).plaintext.toString(), signatureKey).plaintext.toString())
}

suite('an access token of RSA keys is refused that has', async () => {
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
