/** Where the keys come from, how old they may get, and what happens while they cannot be had. */
import assert from 'node:assert/strict'
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import type { ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, type TestContext, test } from 'node:test'
import type { JWK } from 'jose'
import { createVerifier, type Verifier, type VerifierError, type VerifierOptions } from '../src/index.ts'
import {
  AUDIENCE,
  ISSUER,
  issue,
  type JwksEndpoint,
  newKey,
  startJwksEndpoint,
  type TestKey,
} from './support/issuer.ts'

const sig = await newKey('sig', 'ES256')
const nextSig = await newKey('sig', 'RS256')
const enc = await newKey('enc', 'ECDH-ES+A256KW')
const nextEnc = await newKey('enc', 'RSA-OAEP-256')
/** After a failed load the verifier waits so long. */
const RETRY_SECONDS = 1

function verifierFor(endpoint: JwksEndpoint, options: Partial<VerifierOptions> = {}): Verifier {
  const decryptionKeys = [enc.privateJwk]
  const all = { issuer: ISSUER, audience: AUDIENCE, jwksUrl: endpoint.url, decryptionKeys, ...options }
  return createVerifier(all as VerifierOptions)
}

function codeOf(verification: Promise<unknown>): Promise<string> {
  return verification.then(
    () => 'verified',
    (error: VerifierError) => error.code,
  )
}

const folder = await mkdtemp(join(tmpdir(), 'cerrojo-verifier-'))
after(() => rm(folder, { recursive: true, force: true }))

/**
 * Stops the monotonic clock, by which keys age, so that no machine is too slow for a test; each look at it is later
 * than the one before all the same.
 * @returns puts it on
 */
function stopClock(context: TestContext): (seconds: number) => void {
  let nowMs = performance.now()
  context.mock.method(performance, 'now', () => {
    nowMs += 0.001
    return nowMs
  })
  return (seconds) => {
    nowMs += seconds * 1000
  }
}

/** What `cerrojo keys export` writes, put in the place of the one before. */
async function exportKeys(endpoint: JwksEndpoint, ...keys: TestKey[]): Promise<string> {
  const decryptionKeys = keys.map(({ privateJwk }) => privateJwk)
  const exported = { issuer: ISSUER, audience: AUDIENCE, jwksUrl: endpoint.url, decryptionKeys }
  const path = join(folder, `${new URL(endpoint.url).port}.json`)
  await writeFile(`${path}.new`, JSON.stringify(exported))
  await rename(`${path}.new`, path)
  return path
}

test('the JWKS is fetched once, also for tokens that arrive together', async () => {
  const endpoint = await startJwksEndpoint(sig)
  const verifier = verifierFor(endpoint)
  assert.equal(endpoint.requests, 0, 'not before the first token')
  await Promise.all(Array.from({ length: 20 }, async () => verifier.verify(await issue(sig, enc))))
  await verifier.verify(await issue(sig, enc))
  assert.equal(endpoint.requests, 1)
})

test('a token of a new key has the JWKS fetched again, and waits for that if it must', async () => {
  const endpoint = await startJwksEndpoint(sig)
  const verifier = verifierFor(endpoint, { cooldownSeconds: 0.4 })
  await verifier.verify(await issue(sig, enc))
  endpoint.keys = [sig, nextSig]
  assert.equal(await codeOf(verifier.verify(await issue(nextSig, enc))), 'verified')
  assert.equal(endpoint.requests, 2)
})

test('a flood of unknown key ids fetches the JWKS once in a cooldown, and no token is refused unseen', async () => {
  const endpoint = await startJwksEndpoint(sig)
  const verifier = verifierFor(endpoint, { cooldownSeconds: 1 })
  const issued = Array.from({ length: 50 }, (_, index) =>
    issue(sig, enc, { [index % 2 ? 'innerHeader' : 'outerHeader']: { kid: `unknown-${index}` } }),
  )
  const [tokens, nextToken] = [await Promise.all(issued), await issue(nextSig, enc)]
  const startMs = performance.now()
  await verifier.verify(await issue(sig, enc))
  const flood = tokens.map((token) => codeOf(verifier.verify(token)))
  const genuine = verifier.verify(nextToken)
  endpoint.keys = [sig, nextSig]
  assert.deepEqual(new Set(await Promise.all(flood)), new Set(['AUTH_TOKEN_INVALID']))
  assert.equal(await codeOf(genuine), 'verified')
  const cooldowns = Math.floor((performance.now() - startMs) / 1000 + 0.01) // one, unless the machine is busy
  assert.ok(endpoint.requests >= 2 && endpoint.requests <= 1 + cooldowns, `${endpoint.requests}`)
})

test('keys are fetched again when they are too old', async (t) => {
  const letPass = stopClock(t)
  const endpoint = await startJwksEndpoint(sig)
  const verifier = verifierFor(endpoint)
  await verifier.verify(await issue(sig, enc))
  letPass(599)
  await verifier.verify(await issue(sig, enc))
  assert.equal(endpoint.requests, 1)
  letPass(1)
  await verifier.verify(await issue(sig, enc))
  assert.equal(endpoint.requests, 2)
})

test('while the issuer is down the cached keys serve, and what they cannot tell is not called invalid', async (t) => {
  const letPass = stopClock(t)
  const endpoint = await startJwksEndpoint(sig)
  const failures: unknown[] = []
  const verifier = verifierFor(endpoint, { cooldownSeconds: 0, onKeyFailure: (error) => failures.push(error) })
  const seen = await issue(sig, enc)
  const claims = await verifier.verify(seen)
  await endpoint.stop()
  letPass(600)

  assert.equal(await codeOf(verifier.verify(await issue(sig, enc))), 'verified')
  assert.equal(await verifier.verify(seen), claims, 'from the cache')
  assert.ok(failures.length > 0)
  const refusal = verifier.verify(await issue(nextSig, enc))
  await assert.rejects(refusal, { code: 'AUTH_UNAVAILABLE', status: 503, reason: 'no signing keys' })
  await assert.rejects(refusal, (error: VerifierError) => error.cause instanceof Error)

  endpoint.misbehave = (response) => {
    const published = JSON.stringify({ keys: [sig.publicJwk, nextSig.publicJwk] })
    setTimeout(() => response.end(published), 100) // long after the token was decrypted
  }
  await endpoint.start()
  letPass(RETRY_SECONDS)
  assert.equal(await codeOf(verifier.verify(await issue(nextSig, enc))), 'verified', 'the load under way tells')
})

test('an issuer that is down at first is unavailable, and served from when it is up', async (t) => {
  const letPass = stopClock(t)
  const endpoint = await startJwksEndpoint(sig)
  await endpoint.stop()
  const verifier = verifierFor(endpoint)
  assert.equal(await codeOf(verifier.verify(await issue(sig, enc))), 'AUTH_UNAVAILABLE')
  await endpoint.start()
  letPass(RETRY_SECONDS)
  assert.equal(await codeOf(verifier.verify(await issue(sig, enc))), 'verified')
})

test('an issuer that is down is asked once a second, however many tokens come', async (t) => {
  const letPass = stopClock(t)
  const endpoint = await startJwksEndpoint(sig)
  endpoint.misbehave = (response) => response.writeHead(500).end()
  const verifier = verifierFor(endpoint)
  for (let second = 1; second <= 2; second++) {
    for (let count = 0; count < 20; count++)
      assert.equal(await codeOf(verifier.verify(await issue(sig, enc))), 'AUTH_UNAVAILABLE')
    assert.equal(endpoint.requests, second)
    letPass(RETRY_SECONDS)
  }
})

test('an issuer that hangs delays known keys at most once, for the time limit', async (t) => {
  const letPass = stopClock(t)
  const endpoint = await startJwksEndpoint(sig)
  const failures: unknown[] = []
  const onKeyFailure = (error: unknown) => failures.push(error)
  const verifier = verifierFor(endpoint, { fetchTimeoutSeconds: 1, onKeyFailure })
  await verifier.verify(await issue(sig, enc))
  endpoint.misbehave = () => {}
  letPass(600)

  assert.equal(await codeOf(verifier.verify(await issue(sig, enc))), 'verified')
  assert.equal(failures.length, 1)
  letPass(RETRY_SECONDS)
  const asked = new Promise((resolve) => {
    endpoint.misbehave = resolve
  })
  assert.equal(await codeOf(verifier.verify(await issue(sig, enc))), 'verified')
  assert.equal(failures.length, 1, 'it waited for the issuer again')
  await asked
})

const MISBEHAVIOURS: Record<string, (response: ServerResponse) => void> = {
  'an error': (response) => response.writeHead(500).end('{}'),
  'a page': (response) => response.end('<html></html>'),
  'no keys member': (response) => response.end('{}'),
  'no keys': (response) => response.end('{"keys":[]}'),
  'only keys of another use': (response) => response.end(JSON.stringify({ keys: [enc.publicJwk] })),
  'half a key': (response) =>
    response.end(JSON.stringify({ keys: [{ kid: 'half', use: 'sig', alg: 'ES256', kty: 'EC' }] })),
  'a redirection to its keys': (response) => response.writeHead(302, { location: `${redirectionTarget.url}` }).end(),
  'half an answer': (response) => {
    response.writeHead(200, { 'content-length': 1000 }).write('{"keys":[')
    setTimeout(() => response.destroy(), 20)
  },
}
const redirectionTarget = await startJwksEndpoint(sig, nextSig)

for (const [name, misbehave] of Object.entries(MISBEHAVIOURS))
  test(`an issuer that answers ${name} counts as down`, async () => {
    const endpoint = await startJwksEndpoint(sig)
    const verifier = verifierFor(endpoint, { cooldownSeconds: 0 })
    await verifier.verify(await issue(sig, enc))
    endpoint.misbehave = misbehave
    assert.equal(await codeOf(verifier.verify(await issue(nextSig, enc))), 'AUTH_UNAVAILABLE')
    assert.equal(await codeOf(verifier.verify(await issue(sig, enc))), 'verified')
  })

test('only the published keys of use "sig" and a known alg verify; others do no harm', async () => {
  const other = await newKey('sig', 'ES384')
  const front: TestKey = { ...nextSig, publicJwk: { ...nextSig.publicJwk, use: 'enc_front' } }
  const endpoint = await startJwksEndpoint(other, front, sig)
  const verifier = verifierFor(endpoint)
  assert.equal(await codeOf(verifier.verify(await issue(sig, enc))), 'verified')
  assert.equal(await codeOf(verifier.verify(await issue(nextSig, enc))), 'AUTH_TOKEN_INVALID')
  assert.equal(await codeOf(verifier.verify(await issue(other, enc))), 'AUTH_TOKEN_INVALID')
})

test('a token seen before is refused once its signing key is no longer published', async (t) => {
  const letPass = stopClock(t)
  const endpoint = await startJwksEndpoint(sig)
  const verifier = verifierFor(endpoint)
  const token = await issue(sig, enc)
  const claims = await verifier.verify(token)
  letPass(600)
  assert.equal(await verifier.verify(token), claims, 'still remembered after the same keys were fetched again')
  endpoint.keys = [nextSig]
  letPass(600)
  assert.equal(await codeOf(verifier.verify(token)), 'AUTH_TOKEN_INVALID')
})

test('a token seen before is refused when another key is published under its key id', async (t) => {
  const letPass = stopClock(t)
  const endpoint = await startJwksEndpoint(sig)
  const verifier = verifierFor(endpoint)
  const token = await issue(sig, enc)
  await verifier.verify(token)
  endpoint.keys = [{ ...nextSig, publicJwk: { ...nextSig.publicJwk, kid: sig.kid } }]
  letPass(600)
  assert.equal(await codeOf(verifier.verify(token)), 'AUTH_TOKEN_INVALID')
})

test('a key to which the issuer encrypts and that this server lacks is no fault of the token', async (t) => {
  stopClock(t)
  const endpoint = await startJwksEndpoint(sig, enc)
  const failures: Error[] = []
  const verifier = verifierFor(endpoint, { onKeyFailure: (error) => failures.push(error as Error) })
  await verifier.verify(await issue(sig, enc))
  endpoint.keys = [sig, enc, nextEnc] // as after `keys rotate --now`, while the JWKS at hand is still young

  const genuine = await Promise.all(Array.from({ length: 20 }, () => issue(sig, nextEnc)))
  const codes = await Promise.all(genuine.map((token) => codeOf(verifier.verify(token))))
  assert.deepEqual(new Set(codes), new Set(['AUTH_UNAVAILABLE']))
  assert.equal(failures.length, 1, 'told once for all of them')
  assert.ok(failures[0]?.message.includes(nextEnc.kid))
  await assert.rejects(verifier.verify(await issue(sig, nextEnc)), (error: VerifierError) => {
    assert.ok((error.cause as Error).message.includes(nextEnc.kid))
    return error.status === 503
  })
  assert.equal(await codeOf(verifier.verify(await issue(sig, enc))), 'verified')

  const before = failures.length
  const unpublished = await issue(sig, await newKey('enc', 'ECDH-ES+A256KW'))
  assert.equal(await codeOf(verifier.verify(unpublished)), 'AUTH_TOKEN_INVALID')
  assert.equal(failures.length, before, 'a key id that anybody made up is told to nobody')
})

test('a function is asked for keys at first, again for one that is missing, and never for a made-up one', async () => {
  const endpoint = await startJwksEndpoint(sig, enc, nextEnc)
  const held = [enc.privateJwk]
  let asked = 0
  const decryptionKeys = async () => {
    asked++
    return [...held, sig.privateJwk] // which is of another use, and does no harm
  }
  const verifier = verifierFor(endpoint, { decryptionKeys, cooldownSeconds: 0 })
  await Promise.all(Array.from({ length: 5 }, async () => verifier.verify(await issue(sig, enc))))
  assert.equal(asked, 1)
  const unknown = await issue(sig, enc, { outerHeader: { kid: 'unknown' } })
  assert.equal(await codeOf(verifier.verify(unknown)), 'AUTH_TOKEN_INVALID')
  assert.equal(asked, 1)
  held.push(nextEnc.privateJwk)
  assert.equal(await codeOf(verifier.verify(await issue(sig, nextEnc))), 'verified')
  assert.equal(asked, 2)
})

test('a function is asked again when its keys are old, and one that it no longer gives opens nothing', async (t) => {
  const letPass = stopClock(t)
  const endpoint = await startJwksEndpoint(sig, nextEnc)
  let held = [enc.privateJwk]
  const verifier = verifierFor(endpoint, { decryptionKeys: async () => held })
  const token = await issue(sig, enc)
  const auth = await verifier.verify(token)
  letPass(600)
  assert.equal(await verifier.verify(token), auth, 'still remembered after the same keys were read again')
  held = [nextEnc.privateJwk]
  letPass(600)
  assert.equal(await codeOf(verifier.verify(token)), 'AUTH_TOKEN_INVALID')
  assert.equal(await codeOf(verifier.verify(await issue(sig, nextEnc))), 'verified')
})

const secretMember = enc.privateJwk.d as string
const { d: _, ...publicJwk } = enc.privateJwk as JWK & { d: string }
const BAD_KEYS: Record<string, () => Promise<JWK[]>> = {
  throws: () => Promise.reject(new Error('no secret store')),
  'never answers': () => new Promise(() => {}),
  'answers no keys': async () => [],
  'answers keys of other uses': async () => [sig.privateJwk, { ...enc.privateJwk, use: 'enc_front' }],
  'answers the public half': async () => [publicJwk],
  'answers half a key': async () => [enc.privateJwk, { ...nextEnc.privateJwk, n: secretMember.slice(5) }],
}
for (const [name, answer] of Object.entries(BAD_KEYS))
  test(`a function that ${name} makes the verifier unavailable, and keys that it gave before serve on`, async (t) => {
    stopClock(t)
    const endpoint = await startJwksEndpoint(sig, enc, nextEnc)
    const failures: unknown[] = []
    let decryptionKeys = answer
    const options: Partial<VerifierOptions> = { decryptionKeys: () => decryptionKeys(), fetchTimeoutSeconds: 1 }
    const onKeyFailure = (error: unknown) => failures.push(error)
    const unavailable = verifierFor(endpoint, { ...options, onKeyFailure })
    assert.equal(await codeOf(unavailable.ready()), 'AUTH_UNAVAILABLE')
    assert.equal(await codeOf(unavailable.verify(await issue(sig, enc))), 'AUTH_UNAVAILABLE')
    assert.equal(failures.length, 1)
    const { message, stack, cause } = failures[0] as Error
    assert.equal(cause, undefined)
    assert.ok(!`${message} ${stack}`.includes(secretMember.slice(5)))

    decryptionKeys = async () => [enc.privateJwk]
    const verifier = verifierFor(endpoint, { ...options, cooldownSeconds: 0 })
    await verifier.ready()
    decryptionKeys = answer
    assert.equal(await codeOf(verifier.verify(await issue(sig, nextEnc))), 'AUTH_UNAVAILABLE')
    assert.equal(await codeOf(verifier.verify(await issue(sig, enc))), 'verified')
  })

test('an exported file tells all that is needed, and is read again for a key that is missing', async (t) => {
  const letPass = stopClock(t)
  const endpoint = await startJwksEndpoint(sig, enc, nextEnc)
  const verifier = createVerifier({ keysFile: await exportKeys(endpoint, enc), cooldownSeconds: 0 })
  assert.equal(await codeOf(verifier.verify(await issue(sig, enc))), 'verified')
  const strange = await issue(sig, enc, { claims: { aud: 'somebody-else' } })
  assert.equal(await codeOf(verifier.verify(strange)), 'AUTH_TOKEN_INVALID')
  assert.equal(await codeOf(verifier.verify(await issue(sig, nextEnc))), 'AUTH_UNAVAILABLE')
  letPass(RETRY_SECONDS)
  await exportKeys(endpoint, enc, nextEnc)
  assert.equal(await codeOf(verifier.verify(await issue(sig, nextEnc))), 'verified')
})

test('what an exported file says of the issuer gives way to options', async () => {
  const endpoint = await startJwksEndpoint(sig)
  const elsewhere = await startJwksEndpoint(sig)
  const keysFile = await exportKeys(endpoint, enc)
  const verifier = createVerifier({ keysFile, jwksUrl: elsewhere.url, audience: 'notes' })
  assert.equal(await codeOf(verifier.verify(await issue(sig, enc))), 'AUTH_TOKEN_INVALID')
  assert.equal(await codeOf(verifier.verify(await issue(sig, enc, { claims: { aud: 'notes' } }))), 'verified')
  assert.deepEqual([endpoint.requests, elsewhere.requests], [0, 1])
})

test('a file that is missing, or none of an export, is refused at once, and no secret is told', async () => {
  const endpoint = await startJwksEndpoint(sig)
  assert.throws(() => createVerifier({ keysFile: join(folder, 'none.json') }), { code: 'ENOENT' })
  const keysFile = await exportKeys(endpoint, enc)
  for (const text of ['', `${secretMember}!`, '{}', JSON.stringify({ decryptionKeys: [enc.privateJwk] })]) {
    await writeFile(keysFile, text)
    assert.throws(() => createVerifier({ keysFile }), {
      message: `${keysFile} is not what "cerrojo keys export" writes`,
    })
  }
})

test('a file that is spoilt later is told to onKeyFailure, and what it held before serves on', async (t) => {
  const letPass = stopClock(t)
  const endpoint = await startJwksEndpoint(sig)
  const keysFile = await exportKeys(endpoint, enc)
  const failures: unknown[] = []
  const onKeyFailure = (error: unknown) => failures.push(error)
  const verifier = createVerifier({ keysFile, onKeyFailure })
  await verifier.ready()
  await writeFile(keysFile, secretMember)
  letPass(600)
  assert.equal(await codeOf(verifier.verify(await issue(sig, enc))), 'verified')
  assert.equal(failures.length, 1)
  assert.ok(!String(failures[0]).includes(secretMember))
})

test('ready tells whether tokens can be verified, and asks no more than a token would', async () => {
  const endpoint = await startJwksEndpoint(sig)
  await verifierFor(endpoint).ready()
  const verifier = verifierFor(endpoint)
  await Promise.all([verifier.ready(), verifier.ready(), verifier.verify(await issue(sig, enc))])
  assert.equal(endpoint.requests, 2)
  await endpoint.stop()
  await verifier.ready()
  await assert.rejects(verifierFor(endpoint).ready(), (error: VerifierError) => {
    assert.ok(error.cause instanceof Error)
    return error.code === 'AUTH_UNAVAILABLE'
  })
})

test('wrong options are refused at once, by name', async () => {
  const issuer = { issuer: ISSUER, audience: AUDIENCE, jwksUrl: 'https://auth.example/jwks.json' }
  const withKeys = (...decryptionKeys: JWK[]) => ({ decryptionKeys })
  const good = { ...issuer, ...withKeys(enc.privateJwk, nextEnc.privateJwk) }
  createVerifier(good)
  createVerifier({ ...good, decryptionKeys: async () => [] })
  const wrong: [RegExp, object][] = [
    [/^issuer/, { issuer: undefined }],
    [/^audience/, { audience: '' }],
    [/^audience/, { audience: [AUDIENCE] }],
    [/^jwksUrl/, { jwksUrl: '/.well-known/jwks.json' }],
    [/^jwksUrl/, { jwksUrl: undefined }],
    [/^Either keysFile or decryptionKeys/, { decryptionKeys: undefined }],
    [/^Either keysFile or decryptionKeys/, { keysFile: './cerrojo.json' }],
    [/^decryptionKeys/, withKeys()],
    [/^decryptionKeys/, withKeys(publicJwk)],
    [/^decryptionKeys/, withKeys({ ...enc.privateJwk, use: 'enc_front' })],
    [/^decryptionKeys/, withKeys(sig.privateJwk)],
    [/^clockSkewSeconds/, { clockSkewSeconds: -1 }],
    [/^clockSkewSeconds/, { clockSkewSeconds: '60s' }],
    [/^keysMaxAgeSeconds/, { keysMaxAgeSeconds: Number.NaN }],
    [/^cooldownSeconds/, { cooldownSeconds: -1 }],
    [/^fetchTimeoutSeconds/, { fetchTimeoutSeconds: -1 }],
    [/^maxCachedTokens/, { maxCachedTokens: -1 }],
    [/^maxCachedTokens/, { maxCachedTokens: 1.5 }],
  ]
  for (const [message, change] of wrong)
    assert.throws(() => createVerifier({ ...good, ...change } as VerifierOptions), { name: 'TypeError', message })
})
