/** The published keys: public halves only, fit for caches, and following the keys in the database. */
import assert from 'node:assert/strict'
import { createPublicKey } from 'node:crypto'
import { suite, test } from 'node:test'
import { assertRefused, assertSecurityHeaders } from '../support/answers.ts'
import { decodeJson, decryptJwe, type Jwk, thumbprint } from '../support/jose_by_hand.ts'
import { addKey, keyFor, readJwks, readKeys } from '../support/keys.ts'
import { type Environment, freshEnvironment, logInSomebody, me, type Server, startServer } from '../support/server.ts'
import { until } from '../support/wait.ts'

const HOUR_SECONDS = 3600
const DAY_SECONDS = 24 * HOUR_SECONDS
const USES = ['sig', 'enc', 'enc_front']
const server = await startServer()
const fetchJwks = (from: Server, ifNoneMatch?: string) =>
  from.call('GET', '/.well-known/jwks.json', {
    headers: ifNoneMatch === undefined ? {} : { 'if-none-match': ifNoneMatch },
  })
const etag = (await fetchJwks(server)).headers.get('etag') as string
const publishedIds = async (by: Server) => (await fetchJwks(by)).body.keys.map(({ kid }: Jwk) => kid).sort()

suite('the JWK Set', () => {
  test('has a key for each use, with its public members and no others', async () => {
    const answer = await fetchJwks(server)
    assert.equal(answer.status, 200)
    assert.deepEqual(Object.keys(answer.body), ['keys'])
    assert.deepEqual(answer.body.keys.map(({ use }: Jwk) => use).sort(), ['enc', 'enc_front', 'sig'])
    for (const key of answer.body.keys) {
      const { kid, use, alg, kty } = key
      const material = kty === 'EC' ? { crv: 'P-256', x: key.x, y: key.y } : { n: key.n, e: key.e }
      assert.deepEqual(key, { kid, use, alg, kty, ...material })
      assert.equal(alg, { sig: 'ES256', enc: 'ECDH-ES+A256KW', enc_front: 'RSA-OAEP-256' }[use as string])
      const details = createPublicKey({ key, format: 'jwk' }).asymmetricKeyDetails
      assert.equal(details?.modulusLength ?? details?.namedCurve, kty === 'EC' ? 'prime256v1' : 3072)
    }
  })

  test('holds nothing of a private key', async () => {
    const text = JSON.stringify((await fetchJwks(server)).body)
    const secrets = (await readJwks(server.env)).flatMap(({ d, p, q, dp, dq, qi, k }) => [d, p, q, dp, dq, qi, k])
    for (const secret of secrets.filter((member) => member !== undefined)) assert.ok(!text.includes(secret))
  })

  test('may be cached by everyone, for as long as the configuration says', async () => {
    const answer = await fetchJwks(server)
    assert.equal(answer.headers.get('cache-control'), 'public, max-age=600')
    assert.match(answer.headers.get('content-type') ?? '', /^application\/json\b/)
    assert.match(answer.headers.get('etag') ?? '', /^"[\x21\x23-\x7e]+"$/, 'a strong ETag')
    assert.equal((await fetchJwks(server)).headers.get('etag'), answer.headers.get('etag'))
    assertSecurityHeaders(answer)
  })

  const matching = [etag, `W/${etag}`, '*', `"other", ${etag}`, `"other",W/"third" , W/${etag}`, ` ${etag} `]
  for (const ifNoneMatch of matching)
    test(`is not sent again to who has it: ${ifNoneMatch.replace(etag, '<etag>')}`, async () => {
      const answer = await fetchJwks(server, ifNoneMatch)
      assert.deepEqual([answer.status, answer.body], [304, undefined])
      assert.equal(answer.headers.get('etag'), etag)
      assert.equal(answer.headers.get('cache-control'), 'public, max-age=600')
    })

  for (const ifNoneMatch of [
    '',
    '"other"',
    'W/"other"',
    etag.slice(1, -1),
    etag.toLowerCase(),
    `${etag.slice(0, -2)}"`,
  ])
    test(`is sent to who has another: ${ifNoneMatch.replace(etag, '<etag>')}`, async () => {
      assert.equal((await fetchJwks(server, ifNoneMatch)).body.keys.length, 3)
    })

  for (const use of USES)
    test(`is given for ${use} alone, with an ETag of its own`, async () => {
      const ask = (headers = {}) => server.call('GET', `/.well-known/jwks.json?use=${use}`, { headers })
      const answer = await ask()
      const whole = await fetchJwks(server)
      assert.deepEqual(
        answer.body.keys,
        whole.body.keys.filter((key: Jwk) => key.use === use),
      )
      assert.equal(answer.body.keys.length, 1)
      assert.equal(answer.headers.get('cache-control'), 'public, max-age=600')
      const own = answer.headers.get('etag') as string
      assert.notEqual(own, etag)
      assert.equal((await ask({ 'if-none-match': own })).status, 304)
      assert.equal((await ask({ 'if-none-match': etag })).status, 200)
      assert.equal((await fetchJwks(server, own)).status, 200)
    })

  for (const query of ['use=mac', 'use=', 'use=SIG', 'use=sig,enc', 'use=sig&use=enc', 'use=sig&use=sig'])
    test(`is refused for ?${query}`, async () => {
      assertRefused(await server.call('GET', `/.well-known/jwks.json?${query}`), 400, 'AUTH_BAD_REQUEST')
    })

  test('is whole for a query that asks for something else', async () => {
    assert.equal((await server.call('GET', '/.well-known/jwks.json?x=sig')).headers.get('etag'), etag)
  })
})

suite('a key', () => {
  test('made at the first start is of the configured kind, one for each use, with a thumbprint as its id', async () => {
    const rsa = await startServer({
      AUTH_SIGNING_ALG: 'RS256',
      AUTH_JWE_ALG: 'RSA-OAEP-256',
      AUTH_JWKS_CACHE_TTL_SEC: '77',
    })
    const answer = await fetchJwks(rsa)
    assert.equal(answer.headers.get('cache-control'), 'public, max-age=77')
    assert.deepEqual(answer.body.keys.map(({ use, alg, kty }: Jwk) => [use, alg, kty]).sort(), [
      ['enc', 'RSA-OAEP-256', 'RSA'],
      ['enc_front', 'RSA-OAEP-256', 'RSA'],
      ['sig', 'RS256', 'RSA'],
    ])
    for (const key of answer.body.keys) {
      assert.equal(createPublicKey({ key, format: 'jwk' }).asymmetricKeyDetails?.modulusLength, 3072)
      assert.equal(key.kid, thumbprint(key))
    }
    const mac = (await readKeys(rsa.env)).find(({ use }) => use === 'mac')
    assert.deepEqual([mac?.alg, mac?.jwk.kty, Buffer.from(mac?.jwk.k, 'base64url').length], ['HS256', 'oct', 32])
    assert.equal((await me(rsa, (await logInSomebody(rsa)).access_token)).status, 200)
  })

  test('whose time has not come is published and not used; one whose time is over, neither', async () => {
    const env = await freshEnvironment()
    const inUse = { sig: (await keyFor(env, 'sig')).kid, enc: (await keyFor(env, 'enc')).kid }
    const now = Math.floor(Date.now() / 1000)
    const add = async (use: 'sig' | 'enc', times: { first_use: number; ends_at?: number }) =>
      (await addKey(env, { use, ...times })).kid
    const coming = [
      await add('sig', { first_use: now + HOUR_SECONDS }),
      await add('enc', { first_use: now + 7 * DAY_SECONDS }),
    ]
    const over = [
      await add('sig', { first_use: now - 60, ends_at: now - 30 }),
      await add('enc', { first_use: now - 60, ends_at: now - 30 }),
    ]
    const started = await startServer(env)
    const ids = await publishedIds(started)
    for (const kid of [...Object.values(inUse), ...coming]) assert.ok(ids.includes(kid))
    for (const kid of over) assert.ok(!ids.includes(kid))
    assert.deepEqual(await keyIdsIn((await logInSomebody(started)).access_token, env), inUse)
  })

  test('put into the database is published, then used, and the tokens of the old key still verify', async () => {
    const quick = await startServer({ AUTH_JWKS_CACHE_TTL_SEC: '1' })
    const { access_token: old } = await logInSomebody(quick)
    const before = await fetchJwks(quick)
    const first_use = Math.floor(Date.now() / 1000)
    const added = {
      sig: (await addKey(quick.env, { use: 'sig', first_use })).kid,
      enc: (await addKey(quick.env, { use: 'enc', first_use })).kid,
    }
    await until('the new keys to be published', async () => {
      const ids = await publishedIds(quick)
      return Object.values(added).every((kid) => ids.includes(kid))
    })
    const after = await fetchJwks(quick, before.headers.get('etag') as string)
    assert.equal(after.status, 200)
    assert.equal(after.body.keys.length, before.body.keys.length + 2)
    const { access_token: fresh } = await logInSomebody(quick)
    assert.deepEqual(await keyIdsIn(fresh, quick.env), added)
    for (const token of [old, fresh]) assert.equal((await me(quick, token)).status, 200)
  })
})

/** Which keys an access token was encrypted and signed with. */
async function keyIdsIn(accessToken: string, env: Environment): Promise<{ sig: string; enc: string }> {
  const enc = decodeJson(accessToken.split('.')[0]).kid
  const key = (await readJwks(env)).find(({ kid }) => kid === enc)
  const jws = decryptJwe(accessToken, key as Jwk).plaintext.toString()
  return { sig: decodeJson(jws.split('.')[0]).kid, enc }
}
