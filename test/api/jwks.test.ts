/** The published keys: public halves only, fit for caches, and following the key files. */
import assert from 'node:assert/strict'
import { createPublicKey, generateKeyPairSync, randomUUID } from 'node:crypto'
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { assertSecurityHeaders } from '../support/answers.ts'
import { decodeJson, decryptJwe, type Jwk } from '../support/jose_by_hand.ts'
import { keyFor, readKeyFiles } from '../support/key_files.ts'
import { type Environment, freshEnvironment, logInSomebody, me, type Server, startServer } from '../support/server.ts'
import { until } from '../support/wait.ts'

const DAY_SECONDS = 86_400
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
    const secrets = readKeyFiles(server.env).flatMap(({ d, p, q, dp, dq, qi }) => [d, p, q, dp, dq, qi])
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
})

suite('a key file', () => {
  test('made at the first start is of the configured kind, one for each use, and readable by its owner alone', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'cerrojo-keys-'))
    after(() => rm(folder, { recursive: true, force: true }))
    const keysDir = join(folder, 'made', 'here')
    const rsa = await startServer({
      AUTH_KEYS_DIR: keysDir,
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
    for (const key of answer.body.keys)
      assert.equal(createPublicKey({ key, format: 'jwk' }).asymmetricKeyDetails?.modulusLength, 3072)
    assert.equal((await stat(keysDir)).mode & 0o777, 0o700)
    for (const use of ['sig', 'enc', 'enc_front'])
      assert.equal((await stat(join(keysDir, `${use}-1.json`))).mode & 0o777, 0o600)
    assert.equal((await me(rsa, (await logInSomebody(rsa)).access_token)).status, 200)
  })

  test('whose time has not come is published and not used; one whose time is over, neither', async () => {
    const env = await freshEnvironment()
    const inUse = { sig: keyFor(env, 'sig').kid, enc: keyFor(env, 'enc').kid }
    const now = Math.floor(Date.now() / 1000)
    const coming = [
      await writeKeyFile(env, 'sig', { nbf: now + DAY_SECONDS }),
      await writeKeyFile(env, 'enc', { nbf: now + DAY_SECONDS }),
    ]
    const over = [
      await writeKeyFile(env, 'sig', { nbf: now - 60, exp: now - 30 }),
      await writeKeyFile(env, 'enc', { nbf: now - 60, exp: now - 30 }),
    ]
    const started = await startServer(env)
    const ids = await publishedIds(started)
    for (const kid of [...Object.values(inUse), ...coming]) assert.ok(ids.includes(kid))
    for (const kid of over) assert.ok(!ids.includes(kid))
    assert.deepEqual(keyIdsIn((await logInSomebody(started)).access_token, env), inUse)
  })

  test('put into the folder is published, then used, and the tokens of the old key still verify', async () => {
    const quick = await startServer({ AUTH_JWKS_CACHE_TTL_SEC: '1' })
    const { access_token: old } = await logInSomebody(quick)
    const before = await fetchJwks(quick)
    const nbf = Math.floor(Date.now() / 1000)
    const added = {
      sig: await writeKeyFile(quick.env, 'sig', { nbf }),
      enc: await writeKeyFile(quick.env, 'enc', { nbf }),
    }
    await until('the new keys to be published', async () => {
      const ids = await publishedIds(quick)
      return Object.values(added).every((kid) => ids.includes(kid))
    })
    const after = await fetchJwks(quick, before.headers.get('etag') as string)
    assert.equal(after.status, 200)
    assert.equal(after.body.keys.length, before.body.keys.length + 2)
    const { access_token: fresh } = await logInSomebody(quick)
    assert.deepEqual(keyIdsIn(fresh, quick.env), added)
    for (const token of [old, fresh]) assert.equal((await me(quick, token)).status, 200)
  })
})

/** Writes a private key on P-256 as an operator would, and tells its key id. */
async function writeKeyFile(
  env: Environment,
  use: 'sig' | 'enc',
  times: { nbf: number; exp?: number },
): Promise<string> {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const kid = randomUUID()
  const alg = use === 'sig' ? 'ES256' : 'ECDH-ES+A256KW'
  const jwk = { ...privateKey.export({ format: 'jwk' }), kid, use, alg, ...times }
  await writeFile(join(env.AUTH_KEYS_DIR as string, `${kid}.json`), JSON.stringify(jwk), { mode: 0o600 })
  return kid
}

/** Which keys an access token was encrypted and signed with. */
function keyIdsIn(accessToken: string, env: Environment): { sig: string; enc: string } {
  const enc = decodeJson(accessToken.split('.')[0]).kid
  const key = readKeyFiles(env).find(({ kid }) => kid === enc)
  const jws = decryptJwe(accessToken, key as Jwk).plaintext.toString()
  return { sig: decodeJson(jws.split('.')[0]).kid, enc }
}
