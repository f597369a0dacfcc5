/** Where the keys come from, how old they may get, and what happens while they cannot be had. */
import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import type { ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
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
/** After a failed load the verifier waits a second. */
const RETRY_MS = 1_100

function verifierFor(endpoint: JwksEndpoint, options: Partial<VerifierOptions> = {}): Verifier {
  const decryptionKeys = options.keysDir ? {} : { decryptionKeys: [enc.privateJwk] }
  const all = { issuer: ISSUER, audience: AUDIENCE, jwksUrl: endpoint.url, ...decryptionKeys, ...options }
  return createVerifier(all as VerifierOptions)
}

function codeOf(verification: Promise<unknown>): Promise<string> {
  return verification.then(
    () => 'verified',
    (error: VerifierError) => error.code,
  )
}

async function folderWith(files: Record<string, unknown>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'cerrojo-verifier-'))
  after(() => rm(folder, { recursive: true, force: true }))
  for (const [name, content] of Object.entries(files)) await writeKeyFile(folder, name, content)
  return folder
}

/** Text as it is, all else as JSON. */
function writeKeyFile(folder: string, name: string, content: unknown): Promise<void> {
  return writeFile(join(folder, name), typeof content === 'string' ? content : JSON.stringify(content))
}

test('the JWKS is fetched once, also for tokens that arrive together', async () => {
  const endpoint = await startJwksEndpoint(sig)
  const verifier = verifierFor(endpoint)
  assert.equal(endpoint.requests, 0, 'not before the first token')
  await Promise.all(Array.from({ length: 20 }, async () => verifier.verify(await issue(sig, enc))))
  await verifier.verify(await issue(sig, enc))
  assert.equal(endpoint.requests, 1)
})

test('a token of a new key has the JWKS fetched again, after the cooldown', async () => {
  const endpoint = await startJwksEndpoint(sig)
  const verifier = verifierFor(endpoint, { cooldownSeconds: 0.4 })
  await verifier.verify(await issue(sig, enc))

  endpoint.keys = [sig, nextSig]
  assert.equal(await codeOf(verifier.verify(await issue(nextSig, enc))), 'AUTH_TOKEN_INVALID')
  assert.equal(endpoint.requests, 1)
  await sleep(450)
  assert.equal(await codeOf(verifier.verify(await issue(nextSig, enc))), 'verified')
  assert.equal(endpoint.requests, 2)
})

test('a flood of unknown key ids fetches the JWKS once more and no further', async () => {
  const endpoint = await startJwksEndpoint(sig)
  const verifier = verifierFor(endpoint, { cooldownSeconds: 0.4 })
  await verifier.verify(await issue(sig, enc))
  await sleep(450)
  const flood = Array.from({ length: 50 }, async (_, index) => {
    const token = await issue(sig, enc, { innerHeader: { kid: `unknown-${index}` } })
    return codeOf(verifier.verify(token))
  })
  assert.deepEqual(new Set(await Promise.all(flood)), new Set(['AUTH_TOKEN_INVALID']))
  assert.equal(endpoint.requests, 2)
})

test('keys are fetched again when they are too old', async () => {
  const endpoint = await startJwksEndpoint(sig)
  const verifier = verifierFor(endpoint, { keysMaxAgeSeconds: 0.2 })
  await verifier.verify(await issue(sig, enc))
  await sleep(250)
  await verifier.verify(await issue(sig, enc))
  assert.equal(endpoint.requests, 2)
})

test('while the issuer is down the cached keys serve, and what they cannot tell is not called invalid', async () => {
  const endpoint = await startJwksEndpoint(sig)
  const failures: unknown[] = []
  const verifier = verifierFor(endpoint, {
    keysMaxAgeSeconds: 0.1,
    cooldownSeconds: 0,
    onKeyFailure: (error) => failures.push(error),
  })
  const seen = await issue(sig, enc)
  const claims = await verifier.verify(seen)
  await endpoint.stop()
  await sleep(150)

  assert.equal(await codeOf(verifier.verify(await issue(sig, enc))), 'verified')
  assert.equal(await verifier.verify(seen), claims, 'from the cache')
  assert.ok(failures.length > 0)
  const refusal = verifier.verify(await issue(nextSig, enc))
  await assert.rejects(refusal, { code: 'AUTH_UNAVAILABLE', status: 503, reason: 'no signing keys' })
  await assert.rejects(refusal, (error: VerifierError) => error.cause instanceof Error)

  endpoint.keys = [sig, nextSig]
  await endpoint.start()
  await sleep(RETRY_MS)
  assert.equal(await codeOf(verifier.verify(await issue(nextSig, enc))), 'verified')
})

test('an issuer that is down at first is unavailable, and served from when it is up', async () => {
  const endpoint = await startJwksEndpoint(sig)
  await endpoint.stop()
  const verifier = verifierFor(endpoint)
  assert.equal(await codeOf(verifier.verify(await issue(sig, enc))), 'AUTH_UNAVAILABLE')
  await endpoint.start()
  await sleep(RETRY_MS)
  assert.equal(await codeOf(verifier.verify(await issue(sig, enc))), 'verified')
})

test('an issuer that is down is asked once a second, however many tokens come', async () => {
  const endpoint = await startJwksEndpoint(sig)
  endpoint.misbehave = (response) => response.writeHead(500).end()
  const verifier = verifierFor(endpoint)
  for (let count = 0; count < 20; count++)
    assert.equal(await codeOf(verifier.verify(await issue(sig, enc))), 'AUTH_UNAVAILABLE')
  assert.equal(endpoint.requests, 1)
})

test('an issuer that hangs delays known keys at most once, for the time limit', async () => {
  const endpoint = await startJwksEndpoint(sig)
  const verifier = verifierFor(endpoint, { keysMaxAgeSeconds: 0.1, fetchTimeoutSeconds: 0.5 })
  await verifier.verify(await issue(sig, enc))
  endpoint.misbehave = () => {}
  await sleep(150)

  assert.equal(await codeOf(verifier.verify(await issue(sig, enc))), 'verified')
  await sleep(RETRY_MS)
  const token = await issue(sig, enc)
  const start = performance.now()
  assert.equal(await codeOf(verifier.verify(token)), 'verified')
  assert.ok(performance.now() - start < 300, 'it waited for the issuer again')
  assert.equal(endpoint.requests, 3, 'though it asked again')
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

test('a token seen before is refused once its signing key is no longer published', async () => {
  const endpoint = await startJwksEndpoint(sig)
  const verifier = verifierFor(endpoint, { keysMaxAgeSeconds: 0.2 })
  const token = await issue(sig, enc)
  const claims = await verifier.verify(token)
  await sleep(250)
  assert.equal(await verifier.verify(token), claims, 'still remembered after the same keys were fetched again')
  endpoint.keys = [nextSig]
  await sleep(250)
  assert.equal(await codeOf(verifier.verify(token)), 'AUTH_TOKEN_INVALID')
})

test('a token seen before is refused when another key is published under its key id', async () => {
  const endpoint = await startJwksEndpoint(sig)
  const verifier = verifierFor(endpoint, { keysMaxAgeSeconds: 0.2 })
  const token = await issue(sig, enc)
  await verifier.verify(token)
  endpoint.keys = [{ ...nextSig, publicJwk: { ...nextSig.publicJwk, kid: sig.kid } }]
  await sleep(250)
  assert.equal(await codeOf(verifier.verify(token)), 'AUTH_TOKEN_INVALID')
})

test('a new file in the key folder is read when a token names it', async () => {
  const keysDir = await folderWith({ 'enc-1.json': enc.privateJwk })
  const verifier = verifierFor(await startJwksEndpoint(sig), { keysDir, cooldownSeconds: 0.3 })
  await verifier.verify(await issue(sig, enc))
  await writeKeyFile(keysDir, 'enc-2.json', nextEnc.privateJwk)
  assert.equal(await codeOf(verifier.verify(await issue(sig, nextEnc))), 'AUTH_TOKEN_INVALID')
  await sleep(350)
  assert.equal(await codeOf(verifier.verify(await issue(sig, nextEnc))), 'verified')
})

test('a token seen before is refused once its decryption key has left the folder', async () => {
  const keysDir = await folderWith({ 'enc-1.json': enc.privateJwk, 'enc-2.json': nextEnc.privateJwk })
  const verifier = verifierFor(await startJwksEndpoint(sig), { keysDir, keysMaxAgeSeconds: 0.2 })
  const token = await issue(sig, enc)
  await verifier.verify(token)
  await rm(join(keysDir, 'enc-1.json'))
  await sleep(250)
  assert.equal(await codeOf(verifier.verify(token)), 'AUTH_TOKEN_INVALID')
})

test('a key of the folder past its exp decrypts nothing', async () => {
  const retired = { ...enc.privateJwk, exp: Math.floor(Date.now() / 1000) - 1 }
  const current = { ...nextEnc.privateJwk, exp: Math.floor(Date.now() / 1000) + 100 }
  const keysDir = await folderWith({ 'enc-1.json': retired, 'enc-2.json': current })
  const verifier = verifierFor(await startJwksEndpoint(sig), { keysDir })
  assert.equal(await codeOf(verifier.verify(await issue(sig, enc))), 'AUTH_TOKEN_INVALID')
  assert.equal(await codeOf(verifier.verify(await issue(sig, nextEnc))), 'verified')
})

const secretMember = enc.privateJwk.d as string
const BAD_FOLDERS: Record<string, Record<string, unknown>> = {
  'is empty': {},
  'holds keys of other uses only': {
    'sig-1.json': sig.privateJwk,
    'front.json': { ...enc.privateJwk, use: 'enc_front' },
  },
  'holds a file that is not JSON': { 'enc-1.json': enc.privateJwk, 'enc-2.json': `${secretMember}!` },
  'holds a file that is encrypted': { 'enc-1.json': enc.privateJwk, 'enc-2.json': { ciphertext: 'abc' } },
  'holds a key that is none': { 'enc-1.json': { ...enc.privateJwk, x: secretMember.slice(5) } },
}
for (const [name, files] of Object.entries(BAD_FOLDERS))
  test(`a key folder that ${name} makes the verifier unavailable, and no secret is told`, async () => {
    const failures: unknown[] = []
    const keysDir = await folderWith(files)
    const onKeyFailure = (error: unknown) => failures.push(error)
    const verifier = verifierFor(await startJwksEndpoint(sig), { keysDir, onKeyFailure })
    assert.equal(await codeOf(verifier.verify(await issue(sig, enc))), 'AUTH_UNAVAILABLE')
    assert.equal(failures.length, 1)
    const { message, stack, cause } = failures[0] as Error
    assert.equal(cause, undefined)
    assert.ok(!`${message} ${stack}`.includes(secretMember.slice(5)))
  })

test('a missing key folder makes the verifier unavailable', async () => {
  const verifier = verifierFor(await startJwksEndpoint(sig), { keysDir: join(tmpdir(), 'there', 'is', 'none') })
  assert.equal(await codeOf(verifier.verify(await issue(sig, enc))), 'AUTH_UNAVAILABLE')
})

test('wrong options are refused at once, by name', async () => {
  const good = { issuer: ISSUER, audience: AUDIENCE, jwksUrl: 'https://auth.example/jwks.json', keysDir: './keys' }
  const { d: _, ...publicJwk } = enc.privateJwk as JWK & { d: string }
  const withKeys = (...decryptionKeys: JWK[]) => ({ keysDir: undefined, decryptionKeys })
  createVerifier(good)
  createVerifier({ ...good, ...withKeys(enc.privateJwk, nextEnc.privateJwk) })
  const wrong: [RegExp, object][] = [
    [/^issuer/, { issuer: undefined }],
    [/^audience/, { audience: '' }],
    [/^audience/, { audience: [AUDIENCE] }],
    [/^jwksUrl/, { jwksUrl: '/.well-known/jwks.json' }],
    [/^jwksUrl/, { jwksUrl: undefined }],
    [/^Either decryptionKeys or keysDir/, { keysDir: undefined }],
    [/^Either decryptionKeys or keysDir/, { decryptionKeys: [enc.privateJwk] }],
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
