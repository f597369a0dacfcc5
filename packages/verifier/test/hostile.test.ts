/** Tokens that must be refused, each wrong in one way; verifier and module refuse each with the same code. */
import assert from 'node:assert/strict'
import { createHmac, randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { me } from '../../../test/support/server.ts'
import { createVerifier, VerifierError } from '../src/index.ts'
import { AUDIENCE, type Changes, ISSUER, issue, newKey } from './support/issuer.ts'
import { startModule } from './support/module.ts'

const module = await startModule()
const verifier = createVerifier({ ...module.options, cooldownSeconds: 0 })
const foreign = {
  ES256: await newKey('sig', 'ES256'),
  RS256: await newKey('sig', 'RS256'),
  ES384: await newKey('sig', 'ES384'),
  ecdh: await newKey('enc', 'ECDH-ES+A256KW'),
  rsa: await newKey('enc', 'RSA-OAEP-256'),
}

/** A token of the module's own keys, but for the changes. */
const forge = (changes: Changes) => issue(module.sig, module.enc, changes)
const nowSeconds = () => Math.floor(Date.now() / 1000)
const base64url = (value: string | object) =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')

/** With the part of that index changed in the middle, where no padding bit hides the change. */
function tamper(token: string, index: number): string {
  const part = token.split('.')[index] as string
  const middle = Math.floor(part.length / 2)
  const other = part[middle] === 'A' ? 'B' : 'A'
  return replacePart(token, index, part.slice(0, middle) + other + part.slice(middle + 1))
}

function replacePart(token: string, index: number, replacement: string): string {
  return token.split('.').with(index, replacement).join('.')
}

function removeSignature(jws: string): string {
  const header = { alg: 'none', typ: 'at+jwt', kid: module.sig.kid }
  return replacePart(replacePart(jws, 0, base64url(header)), 2, '')
}

/** The classic: the public key, which everybody has, as the secret of an HMAC. */
function signWithPublicKey(jws: string): string {
  const header = { alg: 'HS256', typ: 'at+jwt', kid: module.sig.kid }
  const [input] = /^.+(?=\.)/.exec(replacePart(jws, 0, base64url(header))) as unknown as [string]
  return `${input}.${createHmac('sha256', JSON.stringify(module.sig.publicJwk)).update(input).digest('base64url')}`
}

function payloadOf(jws: string): string {
  return Buffer.from(jws.split('.')[1] as string, 'base64url').toString()
}

async function innerLayer(): Promise<string> {
  let inner = ''
  await forge({
    replaceJws: (jws) => {
      inner = jws
      return jws
    },
  })
  return inner
}

/** Somebody else's user id under the signature. */
function changeUser(jws: string): string {
  return replacePart(jws, 1, base64url({ ...JSON.parse(payloadOf(jws)), sub: randomUUID() }))
}

const STRANGE_HEADERS = {
  crit: { crit: ['strange'], strange: true },
  jwk: { jwk: { kty: 'EC', crv: 'P-256', x: 'AA', y: 'AA' } },
  jku: { jku: 'https://attacker.example/jwks.json' },
  x5c: { x5c: ['AAAA'] },
  x5u: { x5u: 'https://attacker.example/cert.pem' },
}

const INVALID: Record<string, () => string | Promise<string>> = {
  'no token at all': () => '',
  'not a token': () => 'not.a.token',
  'five empty parts': () => '....',
  'a part too many': async () => `${await forge({})}.AAAA`,
  'a header that is not JSON': async () => `${base64url('{')}.${(await forge({})).split('.').slice(1).join('.')}`,

  'the inner layer alone': innerLayer,
  'claims encrypted without a signature': () => forge({ replaceJws: (jws) => payloadOf(jws) }),
  'nothing encrypted': () => forge({ replaceJws: () => '' }),
  'an encrypted token inside the encryption': () => forge({ replaceJws: () => forge({}) }),

  'another outer alg than the key has': () =>
    forge({ outerHeader: { alg: 'ECDH-ES' }, encryptTo: module.enc.publicKey }),
  'an RSA key under the id of our key': () =>
    forge({ outerHeader: { alg: 'RSA-OAEP-256' }, encryptTo: foreign.rsa.publicKey }),
  'a shared secret in the place of our key': () =>
    forge({ outerHeader: { alg: 'dir' }, encryptTo: new Uint8Array(32) }),
  'A128GCM as outer enc': () => forge({ outerHeader: { enc: 'A128GCM' } }),
  'A256CBC-HS512 as outer enc': () => forge({ outerHeader: { enc: 'A256CBC-HS512' } }),
  'no cty': () => forge({ outerHeader: { cty: undefined } }),
  'another cty': () => forge({ outerHeader: { cty: 'jwt' } }),
  'a compressed content': () => forge({ outerHeader: { zip: 'DEF' } }),
  'no outer kid': () => forge({ outerHeader: { kid: undefined } }),
  'an unknown outer kid': () => forge({ outerHeader: { kid: 'unknown' } }),
  'a kid that every object has': () => forge({ outerHeader: { kid: 'constructor' } }),
  'the kid of a signing key outside': () => forge({ outerHeader: { kid: module.sig.kid } }),
  'encrypted to the key for browsers': () => issue(module.sig, module.encFront),
  'encrypted to a foreign key under our kid': () => forge({ encryptTo: foreign.ecdh.publicKey }),
  'a changed outer header': async () => tamper(await forge({}), 0),
  'a changed encrypted key': async () => tamper(await forge({}), 1),
  'a changed initialization vector': async () => tamper(await forge({}), 2),
  'a changed ciphertext': async () => tamper(await forge({}), 3),
  'a changed authentication tag': async () => tamper(await forge({}), 4),

  'no signature': () => forge({ replaceJws: removeSignature }),
  'a signature made with the public key': () => forge({ replaceJws: signWithPublicKey }),
  'a changed signature': () => forge({ replaceJws: (jws) => tamper(jws, 2) }),
  'another user under the signature': () => forge({ replaceJws: changeUser }),
  'a signature of a foreign key under our kid': () => forge({ signWith: foreign.ES256.privateKey }),
  'a signature of a foreign key under its own kid': () => issue(foreign.ES256, module.enc),
  'an RS256 signature under the kid of our ES256 key': () =>
    forge({ innerHeader: { alg: 'RS256' }, signWith: foreign.RS256.privateKey }),
  'an ES384 signature under the kid of our ES256 key': () =>
    forge({ innerHeader: { alg: 'ES384' }, signWith: foreign.ES384.privateKey }),
  'no inner kid': () => forge({ innerHeader: { kid: undefined } }),
  'an unknown inner kid': () => forge({ innerHeader: { kid: 'unknown' } }),
  'the kid of an encryption key inside': () => forge({ innerHeader: { kid: module.enc.kid } }),
  'no typ': () => forge({ innerHeader: { typ: undefined } }),
  'the typ of another kind of token': () => forge({ innerHeader: { typ: 'JWT' } }),

  'another issuer': () => forge({ claims: { iss: 'somebody-else' } }),
  'another audience': () => forge({ claims: { aud: 'somebody-else' } }),
  'a list of audiences': () => forge({ claims: { aud: [AUDIENCE] } }),
  'a list of issuers': () => forge({ claims: { iss: [ISSUER] } }),
  'issued in the future': () => forge({ claims: { iat: nowSeconds() + 70 } }),
  'not valid yet': () => forge({ claims: { nbf: nowSeconds() + 70 } }),
  'exp as text': () => forge({ claims: { exp: String(nowSeconds() + 900) } }),
  'iat as text': () => forge({ claims: { iat: String(nowSeconds()) } }),
  'a user id that is no UUID': () => forge({ claims: { sub: 'me' } }),
  'a user id in capitals': () => forge({ claims: { sub: 'AAAAAAAA-AAAA-4AAA-8AAA-AAAAAAAAAAAA' } }),
  'a session id that is no UUID': () => forge({ claims: { sid: 7 } }),
  'a token id that is no UUID': () => forge({ claims: { jti: '' } }),
}
for (const claim of ['sub', 'sid', 'iss', 'aud', 'iat', 'exp', 'jti'])
  INVALID[`no ${claim}`] = () => forge({ claims: { [claim]: undefined } })
for (const [claim, other] of Object.entries({ iss: 'x', aud: 'x', iat: 1, exp: 9e9, jti: 'x' })) {
  INVALID[`${claim} missing outside`] = () => forge({ outerHeader: { [claim]: undefined } })
  INVALID[`another ${claim} outside than inside`] = () => forge({ outerHeader: { [claim]: other } })
}
for (const [name, header] of Object.entries(STRANGE_HEADERS)) {
  INVALID[`${name} outside`] = () => forge({ outerHeader: header })
  INVALID[`${name} inside`] = () => forge({ innerHeader: header })
}

const EXPIRED: Record<string, Changes> = {
  'expired longer ago than the clock skew': { claims: { iat: nowSeconds() - 970, exp: nowSeconds() - 70 } },
}

const GOOD: Record<string, Changes> = {
  'no changes': {},
  'expired within the clock skew': { claims: { iat: nowSeconds() - 930, exp: nowSeconds() - 30 } },
  'issued in the future within the clock skew': { claims: { iat: nowSeconds() + 30 } },
  'a claim more': { claims: { roles: ['reader'] } },
}

/** By /auth/me; a good token of a session that does not exist is refused as revoked, so past verification. */
async function codeOfModule(token: string): Promise<string> {
  return (await me(module.server, token)).body.error.code
}

async function refusalOf(token: string): Promise<VerifierError> {
  return verifier.verify(token).then(
    () => assert.fail('it verified'),
    (error) => error,
  )
}

for (const [name, forged] of Object.entries(INVALID))
  test(`refuses as invalid: ${name}`, async () => {
    const token = await forged()
    const error = await refusalOf(token)
    assert.ok(error instanceof VerifierError)
    assert.equal(error.code, 'AUTH_TOKEN_INVALID')
    assert.equal(error.status, 401)
    assert.equal(error.cause, undefined)
    assert.match(`${error.message} ${error.reason}`, /^[\w ]+$/)
    assert.equal(await codeOfModule(token), 'AUTH_TOKEN_INVALID')
    assert.equal((await refusalOf(token)).code, 'AUTH_TOKEN_INVALID', 'also the second time')
  })

for (const [name, changes] of Object.entries(EXPIRED))
  test(`refuses as expired: ${name}`, async () => {
    const token = await forge(changes)
    assert.equal((await refusalOf(token)).code, 'AUTH_TOKEN_EXPIRED')
    assert.equal(await codeOfModule(token), 'AUTH_TOKEN_EXPIRED')
  })

for (const [name, changes] of Object.entries(GOOD))
  test(`accepts: ${name}`, async () => {
    const token = await forge(changes)
    assert.equal((await verifier.verify(token)).claims?.iss, ISSUER)
    assert.equal(await codeOfModule(token), 'AUTH_TOKEN_REVOKED')
  })

test('tells the log, by reason, which check a token failed', async () => {
  const reasons: Record<string, Changes> = {
    kid: { outerHeader: { kid: 'unknown' } },
    alg: { innerHeader: { alg: 'RS256' }, signWith: foreign.RS256.privateKey },
    header: { innerHeader: { jku: 'https://attacker.example/jwks.json' } },
    cty: { outerHeader: { cty: 'jwt' } },
    ERR_JWS_SIGNATURE_VERIFICATION_FAILED: { signWith: foreign.ES256.privateKey },
    aud: { claims: { aud: 'somebody-else' } },
    'copied claims': { outerHeader: { jti: 'x' } },
    identifiers: { claims: { sid: 7 } },
    exp: EXPIRED['expired longer ago than the clock skew'] as Changes,
  }
  for (const [reason, changes] of Object.entries(reasons))
    assert.equal((await refusalOf(await forge(changes))).reason, reason)
})

test('refuses identifiers that only look like text', async () => {
  const token = await forge({ claims: { sub: [randomUUID()] } })
  assert.equal((await refusalOf(token)).code, 'AUTH_TOKEN_INVALID')
})

test('refuses what is not even text', async () => {
  for (const value of [undefined, null, 7, {}, ['a.b.c.d.e']])
    assert.equal((await refusalOf(value as unknown as string)).code, 'AUTH_TOKEN_INVALID')
})
