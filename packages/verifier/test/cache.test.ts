/** What a verifier remembers. The same object twice means that the second answer came from memory. */
import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import { createVerifier } from '../src/index.ts'
import { AUDIENCE, ISSUER, issue, newKey, startJwksEndpoint } from './support/issuer.ts'

const sig = await newKey('sig', 'ES256')
const enc = await newKey('enc', 'ECDH-ES+A256KW')
const { url: jwksUrl } = await startJwksEndpoint(sig)
const options = { issuer: ISSUER, audience: AUDIENCE, jwksUrl, decryptionKeys: [enc.privateJwk] }

test('the oldest token makes room for the next', async () => {
  const verifier = createVerifier({ ...options, maxCachedTokens: 2 })
  const [oldest, middle, newest] = [await issue(sig, enc), await issue(sig, enc), await issue(sig, enc)]
  const first = await verifier.verify(oldest)
  const second = await verifier.verify(middle)
  assert.equal(await verifier.verify(oldest), first)
  const third = await verifier.verify(newest)
  assert.equal(await verifier.verify(middle), second)
  assert.equal(await verifier.verify(newest), third)
  assert.notEqual(await verifier.verify(oldest), first)
  assert.deepEqual(await verifier.verify(oldest), first)
})

test('only a token that can be found again makes an older one give way', async () => {
  const verifier = createVerifier({ ...options, maxCachedTokens: 2, clockSkewSeconds: 60 })
  const [older, newer] = [await issue(sig, enc), await issue(sig, enc)]
  const first = await verifier.verify(older)
  await Promise.all([verifier.verify(newer), verifier.verify(newer)])
  assert.equal(await verifier.verify(older), first, 'one that comes twice at once takes one place')

  const nowSeconds = Math.floor(Date.now() / 1000)
  await verifier.verify(await issue(sig, enc, { claims: { iat: nowSeconds - 900, exp: nowSeconds - 10 } }))
  assert.equal(await verifier.verify(older), first, 'one within the clock skew takes none')
})

test('a thousand tokens of a thousand people are never mixed up', async () => {
  const verifier = createVerifier({ ...options, maxCachedTokens: 300 })
  const tokens = await Promise.all(Array.from({ length: 1000 }, () => issue(sig, enc)))
  const auths = await Promise.all(tokens.map(verifier.verify))
  assert.equal(new Set(auths.map(({ tokenId }) => tokenId)).size, 1000)
  for (const [index, token] of tokens.entries()) assert.deepEqual(await verifier.verify(token), auths[index])
})

test('nothing is remembered with maxCachedTokens: 0', async () => {
  const verifier = createVerifier({ ...options, maxCachedTokens: 0 })
  const token = await issue(sig, enc)
  assert.notEqual(await verifier.verify(token), await verifier.verify(token))
})

test('a token changed after it was remembered is another token, and with spaces or padding it is none', async () => {
  const verifier = createVerifier(options)
  const token = await issue(sig, enc)
  await verifier.verify(token)
  const changed = token.slice(0, -1) + (token.endsWith('A') ? 'Q' : 'A')
  const hostile = [changed, `${token} `, ` ${token}`, `${token}\t`, `${token}\n`, `${token}=`, token.replace('.', '. ')]
  for (const other of hostile) await assert.rejects(verifier.verify(other), { code: 'AUTH_TOKEN_INVALID' })
})

test('a token is remembered up to its exp, verified in full within the clock skew, and expired after it', async () => {
  mock.timers.enable({ apis: ['Date'], now: Date.now() })
  const verifier = createVerifier({ ...options, clockSkewSeconds: 60 })
  const token = await issue(sig, enc)
  const auth = await verifier.verify(token)

  mock.timers.setTime(auth.expiresAt * 1000 - 1)
  assert.equal(await verifier.verify(token), auth)
  mock.timers.setTime(auth.expiresAt * 1000)
  assert.notEqual(await verifier.verify(token), auth)
  assert.notEqual(await verifier.verify(token), await verifier.verify(token))
  mock.timers.setTime((auth.expiresAt + 60) * 1000)
  await assert.rejects(verifier.verify(token), { code: 'AUTH_TOKEN_EXPIRED', status: 401 })
  mock.timers.reset()
})
