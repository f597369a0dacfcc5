/**
 * Project Wycheproof's vectors for JWE and JWS (vectors/, Apache License 2.0), through the module's own verification
 * with a key store that knows the vectors' keys. None of them is an access token, so that none is accepted as a whole;
 * the cause of the refusal tells how far it came. What the vectors call valid, in algorithms that we take, must come as
 * far as its claims: that shows that this test sees.
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { errors, importJWK, type JWK } from 'jose'
import { loadConfig } from '../../src/config.ts'
import { AuthError } from '../../src/models/types.ts'
import { decryptFrontEnc, verifyAccessToken } from '../../src/utils/crypto.ts'
import type { KeyStore } from '../../src/utils/jwks.ts'
import { decodeJson, encryptJwe, type Json, type Jwk, publicHalf } from '../support/jose_by_hand.ts'
import { newJwk } from '../support/keys.ts'

interface Vector {
  tcId: number
  comment: string
  result: 'valid' | 'invalid'
  jws?: string
  jwe?: string
}
interface Group {
  private: Jwk
  tests: Vector[]
}

const OURS = { sig: ['ES256', 'RS256'], enc: ['ECDH-ES+A256KW', 'RSA-OAEP-256'], enc_front: ['RSA-OAEP-256'] }
const config = loadConfig({})
const wrapping = { ...newJwk(), alg: 'ECDH-ES+A256KW', kid: 'wrapping' }

export const needs = ['module']

export default function attack(): void {
  test('a signature in a JWS that is called invalid, or of an algorithm not taken, is not verified', async () => {
    for (const { key, vector, token, header } of read('json_web_signature_test.json', 'jws')) {
      const outer = { alg: wrapping.alg, enc: 'A256GCM', cty: 'JWT', kid: wrapping.kid }
      const refusal = await refusalOf(storeOf({ sig: key, enc: wrapping }), encryptJwe(outer, token, wrapping))
      const isVerified = refusal instanceof errors.JWTInvalid || refusal instanceof errors.JWTClaimValidationFailed
      assert.equal(isVerified, vector.result === 'valid' && OURS.sig.includes(header.alg), describe(vector, refusal))
    }
  })

  test('a JWE that is called invalid, or of an algorithm that we do not take, is not decrypted', async () => {
    for (const { key, vector, token, header } of read('json_web_encryption_test.json', 'jwe')) {
      const refusal = await refusalOf(storeOf({ enc: key }), token)
      const isDecrypted = refusal instanceof errors.JWSInvalid // what is inside is no JWS
      assert.equal(isDecrypted, isTaken(vector, header, OURS.enc), describe(vector, refusal))
    }
  })

  test('nor is it decrypted where a browser may have made it', async () => {
    for (const { key, vector, token, header } of read('json_web_encryption_test.json', 'jwe')) {
      const refusal = await decryptFrontEnc(storeOf({ enc_front: key }), token).catch((error) => error)
      const isDecrypted = refusal instanceof SyntaxError // what is inside is no JSON
      assert.equal(isDecrypted, isTaken(vector, header, OURS.enc_front), describe(vector, refusal))
    }
  })
}

/** Every vector of a file with its group's key, and its own header where that can be read. */
function read(file: string, form: 'jws' | 'jwe') {
  const { numberOfTests, testGroups } = JSON.parse(readFileSync(join(import.meta.dirname, 'vectors', file), 'utf8'))
  const vectors = (testGroups as Group[]).flatMap(({ private: key, tests }) =>
    tests.map((vector) => {
      const token = vector[form] as string
      return { key, vector, token, header: headerOf(token) }
    }),
  )
  assert.equal(vectors.length, numberOfTests)
  return vectors
}

function headerOf(token: string): Json {
  try {
    return decodeJson(token.split('.')[0])
  } catch {
    return {}
  }
}

/** Has those keys whatever kid is asked for, which is more than a real one would do, but each for its use alone. */
function storeOf(keys: Partial<Record<'sig' | 'enc' | 'enc_front', Jwk>>): KeyStore {
  const find: KeyStore['find'] = async (use) => {
    const key = keys[use]
    if (!key || (key.use && !use.startsWith(key.use))) return undefined
    const half = use === 'sig' && key.kty !== 'oct' ? publicHalf(key) : key
    const material = await importJWK(half as JWK, key.alg)
    return { ...key, publicKey: material, privateKey: material } as unknown as Awaited<ReturnType<KeyStore['find']>>
  }
  return { find } as KeyStore
}

async function refusalOf(store: KeyStore, token: string): Promise<unknown> {
  const refusal = await verifyAccessToken(store, config, token).catch((error) => error)
  assert.ok(refusal instanceof AuthError && refusal.code === 'AUTH_TOKEN_INVALID', 'no vector is an access token')
  return refusal.cause
}

function isTaken({ result }: Vector, { alg, enc, zip }: Json, algorithms: string[]): boolean {
  return result === 'valid' && algorithms.includes(alg) && enc === 'A256GCM' && zip === undefined
}

function describe({ tcId, comment, result }: Vector, refusal: unknown): string {
  return `${tcId}, ${comment}, which is ${result}: ${refusal}`
}
