/** Verifies access tokens: a JWS inside a JWE (nested JWT, RFC 7519), by all the steps of the contract. */
import { hash } from 'node:crypto'
import { type CryptoKey, compactDecrypt, errors, type JWK, jwtVerify } from 'jose'
import { createTokenCache, type Verified } from './cache.ts'
import type { AccessClaims } from './claims.ts'
import { VerifierError } from './errors.ts'
import { createKeySet, type KeySet } from './key_set.ts'
import { ALGORITHMS, type Key, keysAtUrl, keysInFolder, keysInMemory } from './key_sources.ts'

/** Exactly one of the two. */
export type DecryptionKeySource =
  /** Private JWKs (RFC 7517), each with `kid`, `use: "enc"` and `alg`. */
  | { decryptionKeys: readonly JWK[]; keysDir?: undefined }
  /** A folder with one private JWK a `.json` file; other uses than "enc" are ignored. */
  | { keysDir: string; decryptionKeys?: undefined }

export type VerifierOptions = DecryptionKeySource & {
  /** The `iss` to insist on, AUTH_ISS of the issuer. */
  issuer: string
  /** The `aud` to insist on, AUTH_AUD of the issuer. */
  audience: string
  /** Where the issuer publishes its keys. Over HTTPS, unless nobody can come between: these keys decide who gets in. */
  jwksUrl: string | URL
  /** Seconds by which the clocks may differ, for `exp`, `iat` and `nbf`. Default 60. */
  clockSkewSeconds?: number
  /** Seconds after which JWKS and folder are read again. Default 600. */
  keysMaxAgeSeconds?: number
  /** Least seconds between two readings that unknown key ids ask for. Default 30. */
  cooldownSeconds?: number
  /** Seconds that fetching the JWKS may take. Default 5. */
  fetchTimeoutSeconds?: number
  /** How many verified tokens are remembered, about 1 KB each; 0 for none. Default 10,000. */
  maxCachedTokens?: number
  /** Told each time that keys cannot be fetched or read, also while the cached ones still serve; must not throw. */
  onKeyFailure?: (error: unknown) => void
}

export interface Verifier {
  /**
   * @param token compact JWE (RFC 7516), without "Bearer"
   * @throws {VerifierError} AUTH_TOKEN_EXPIRED for a genuine token past its time, AUTH_UNAVAILABLE when the keys that
   *   it names cannot be had, AUTH_TOKEN_INVALID for everything else
   */
  verify(token: string): Promise<AccessClaims>
}

const COPIED_CLAIMS = ['iss', 'aud', 'iat', 'exp', 'jti']
/** Header parameters that would have us decompress, obey an extension or take a key from a stranger. */
const REFUSED_HEADERS = ['zip', 'crit', 'jwk', 'jku', 'x5c', 'x5u']
const UUID_FORM = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
/**
 * Base64url without spaces and padding (RFC 7515, section 2), which decoders overlook: they would pass one token off
 * as any
 * number. Unused bits at the end of a part still give it a few spellings; each is verified, and remembered, for itself.
 */
const COMPACT_FORM = /^[\w.-]+$/
type KeyHeader = { kid?: string; alg?: string }
const DECRYPTION = {
  keyManagementAlgorithms: ALGORITHMS.enc,
  contentEncryptionAlgorithms: ['A256GCM'],
  maxDecompressedLength: 0,
}

/**
 * Reads no key yet: the first token does. One verifier serves a whole process.
 * @throws {TypeError} naming the option that is missing or wrong
 */
export function createVerifier(options: VerifierOptions): Verifier {
  checkOptions(options)
  const { issuer, audience, decryptionKeys: jwks, keysDir, clockSkewSeconds = 60, fetchTimeoutSeconds = 5 } = options
  const { maxCachedTokens = 10_000, keysMaxAgeSeconds = 600, cooldownSeconds = 30, onKeyFailure } = options

  const aging = {
    maxAgeSeconds: keysMaxAgeSeconds,
    cooldownSeconds,
    onFailure: (error: unknown) => onKeyFailure?.(error),
  }
  const constant = { ...aging, maxAgeSeconds: Number.POSITIVE_INFINITY, cooldownSeconds: Number.POSITIVE_INFINITY }
  const signingKeys = createKeySet(keysAtUrl(new URL(options.jwksUrl), fetchTimeoutSeconds), {
    name: 'signing keys',
    ...aging,
  })
  const decryptionKeys = jwks
    ? createKeySet(keysInMemory(jwks), { name: 'decryption keys', ...constant })
    : createKeySet(keysInFolder(keysDir), { name: 'decryption keys', ...aging })
  const isCurrent = (key: Key) => signingKeys.get(key.kid) === key || decryptionKeys.get(key.kid) === key
  const cache = createTokenCache(maxCachedTokens, isCurrent)

  async function verify(token: string): Promise<AccessClaims> {
    if (typeof token !== 'string') throw invalid('not a string')
    if (signingKeys.isStale() || decryptionKeys.isStale())
      await Promise.all([signingKeys.refresh(), decryptionKeys.refresh()])

    const digest = hash('sha256', token, 'base64')
    const known = cache.find(digest)
    if (known) return known.claims

    const verified = await verifyInFull(token).catch((error) => {
      throw asVerifierError(error)
    })
    cache.add(digest, verified)
    return verified.claims
  }

  /** The contract's steps, from the outside in. */
  async function verifyInFull(token: string): Promise<Verified> {
    if (!COMPACT_FORM.test(token)) throw invalid('encoding')
    const usedKeys: Key[] = []
    const getDecryptionKey = (header: KeyHeader) => keyNamedIn(header, decryptionKeys, usedKeys)
    const outer = await compactDecrypt(token, getDecryptionKey, DECRYPTION)
    if (outer.protectedHeader.cty !== 'JWT') throw invalid('cty')

    const getSigningKey = (header: KeyHeader) => keyNamedIn(header, signingKeys, usedKeys)
    const { payload } = await jwtVerify<AccessClaims>(outer.plaintext, getSigningKey, {
      algorithms: ALGORITHMS.sig,
      issuer,
      audience,
      typ: 'at+jwt',
      clockTolerance: clockSkewSeconds,
      requiredClaims: ['sub', 'sid', 'iat', 'exp', 'jti'],
    })
    if (COPIED_CLAIMS.some((claim) => outer.protectedHeader[claim] !== payload[claim])) throw invalid('copied claims')
    if (![payload.sub, payload.sid, payload.jti].every(isUuid)) throw invalid('identifiers')
    if (payload.iat > Date.now() / 1000 + clockSkewSeconds) throw invalid('iat')
    return { claims: freeze(payload), usedKeys }
  }

  return { verify }
}

/** The key that a JOSE header names, if the header asks for nothing but that and the key's own algorithm. */
async function keyNamedIn(header: KeyHeader, keys: KeySet, usedKeys: Key[]): Promise<CryptoKey> {
  if (REFUSED_HEADERS.some((name) => name in header)) throw invalid('header')
  const key = keys.get(header.kid) ?? (await keys.load(header.kid))
  if (!key) throw invalid('kid')
  if (key.alg !== header.alg) throw invalid('alg')
  usedKeys.push(key)
  return key.cryptoKey
}

function isUuid(value: unknown): boolean {
  return typeof value === 'string' && UUID_FORM.test(value)
}

function invalid(reason: string): VerifierError {
  return new VerifierError('AUTH_TOKEN_INVALID', reason)
}

/** What jose threw is not passed on: its errors carry the claims, and a parser's message quotes what it read. */
function asVerifierError(error: unknown): VerifierError {
  if (error instanceof VerifierError) return error
  if (error instanceof errors.JWTExpired) return new VerifierError('AUTH_TOKEN_EXPIRED', 'exp')
  if (error instanceof errors.JWTClaimValidationFailed) return invalid(error.claim)
  return invalid(error instanceof errors.JOSEError ? error.code : 'malformed')
}

/** All the way down, since the caller shares it with others. */
function freeze<Value extends object>(value: Value): Value {
  for (const member of Object.values(value)) if (typeof member === 'object' && member !== null) freeze(member)
  return Object.freeze(value)
}

function checkOptions(options: VerifierOptions): void {
  const { issuer, audience, jwksUrl, decryptionKeys, keysDir } = options
  if (!issuer || typeof issuer !== 'string') throw new TypeError('issuer must be a text')
  if (!audience || typeof audience !== 'string') throw new TypeError('audience must be one text')
  if (!URL.canParse(jwksUrl)) throw new TypeError('jwksUrl must be an absolute URL')
  if ((decryptionKeys === undefined) === (keysDir === undefined))
    throw new TypeError('Either decryptionKeys or keysDir must be given')
  const isPrivateKey = ({ kid, use, alg = '', d }: JWK) => kid && use === 'enc' && ALGORITHMS.enc.includes(alg) && d
  if (decryptionKeys && (decryptionKeys.length === 0 || !decryptionKeys.every(isPrivateKey)))
    throw new TypeError(
      `decryptionKeys must be private JWKs with kid, use "enc" and alg ${ALGORITHMS.enc.join(' or ')}`,
    )
  for (const name of ['clockSkewSeconds', 'keysMaxAgeSeconds', 'cooldownSeconds', 'fetchTimeoutSeconds'] as const)
    if (!((options[name] ?? 0) >= 0)) throw new TypeError(`${name} must be a number of seconds, at least 0`)
  const { maxCachedTokens = 0 } = options
  if (!Number.isSafeInteger(maxCachedTokens) || maxCachedTokens < 0)
    throw new TypeError('maxCachedTokens must be a whole number, at least 0')
}
