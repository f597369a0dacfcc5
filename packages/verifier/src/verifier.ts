/** Verifies access tokens with keys at hand: a JWS inside a JWE (RFC 7519), by all the steps of the contract. */
import { compactDecrypt, errors, type JWK, jwtVerify } from 'jose'
import type { AccessClaims, Auth, Verifier } from './auth.ts'
import { createTokenCache, digestOf } from './cache.ts'
import { VerifierError } from './errors.ts'
import { ALGORITHMS, invalid, isUuid, type JoseHeader, outerHeaderOf, refuseStrange } from './form.ts'
import { createKeySet } from './key_set.ts'
import { type AskForKeys, type Key, keysAtUrl, keysInFile, keysOnAsking, readKeysFile } from './key_sources.ts'

/** Whom to believe, and how to open what is encrypted to us: all in one file, or one by one. */
export type IssuerOptions =
  | {
      /** The path of what `cerrojo keys export --out` writes. Its keys are read again as they rotate. */
      keysFile: string
      issuer?: string
      audience?: string
      jwksUrl?: string | URL
      decryptionKeys?: undefined
    }
  | {
      keysFile?: undefined
      /** The `iss` to insist on, AUTH_ISS of the issuer. */
      issuer: string
      /** The `aud` to insist on, AUTH_AUD of the issuer. */
      audience: string
      /** Where the issuer publishes its keys; over HTTPS, unless nobody can come between: they decide who gets in. */
      jwksUrl: string | URL
      /**
       * Private JWKs (RFC 7517), each with `kid`, `use: "enc"` and `alg`, or a function that fetches them, and is
       * asked again as they age and when one is missing.
       */
      decryptionKeys: readonly JWK[] | AskForKeys
    }

export type VerifierOptions = IssuerOptions & {
  /** Seconds by which the clocks may differ, for `exp`, `iat` and `nbf`. Default 60. */
  clockSkewSeconds?: number
  /** Seconds after which all keys are read again. Default 600. */
  keysMaxAgeSeconds?: number
  /** Least seconds between two readings that unknown key ids ask for, and wait for. Default 1. */
  cooldownSeconds?: number
  /** Seconds that reading keys may take. Default 5. */
  fetchTimeoutSeconds?: number
  /** How many verified tokens are remembered, about 1 KB each; 0 for none. Default 10,000. */
  maxCachedTokens?: number
  /**
   * Told each time that keys cannot be read, also while the cached ones still serve, and when one is missing to which
   * the issuer encrypts; must not throw.
   */
  onKeyFailure?: (error: unknown) => void
}

interface Verified {
  auth: Auth
  /** The one that decrypted it and the one that verified it. */
  usedKeys: readonly Key[]
}

const COPIED_CLAIMS = ['iss', 'aud', 'iat', 'exp', 'jti']
const DECRYPTION = {
  keyManagementAlgorithms: ALGORITHMS.enc,
  contentEncryptionAlgorithms: ['A256GCM'],
  maxDecompressedLength: 0,
}

/**
 * Reads no key yet, but for what stands in `keysFile`: `ready()` does, or the first token.
 * @throws {TypeError} naming the option that is missing or wrong
 * @throws {Error} when `keysFile` cannot be read
 */
export function createVerifier(options: VerifierOptions): Verifier {
  const { issuer, audience, jwksUrl, loadKeys } = issuerIn(options)
  checkNumbers(options)
  const { clockSkewSeconds = 60, keysMaxAgeSeconds = 600, cooldownSeconds = 1, fetchTimeoutSeconds = 5 } = options
  const { maxCachedTokens = 10_000, onKeyFailure = () => {} } = options

  const aging = {
    maxAgeSeconds: keysMaxAgeSeconds,
    cooldownSeconds,
    timeoutSeconds: fetchTimeoutSeconds,
    onFailure: onKeyFailure,
  }
  const publishedKeys = createKeySet(keysAtUrl(new URL(jwksUrl)), { name: 'signing keys', ...aging })
  const decryptionKeys = createKeySet(loadKeys, { name: 'decryption keys', ...aging })
  const isCurrent = (key: Key) => (key.use === 'enc' ? decryptionKeys : publishedKeys).get(key.kid) === key
  const cache = createTokenCache<Verified>(maxCachedTokens, ({ usedKeys }) => usedKeys.every(isCurrent))

  async function verify(token: string): Promise<Auth> {
    if (typeof token !== 'string') throw invalid('not a string')
    if (publishedKeys.isStale() || decryptionKeys.isStale())
      await Promise.all([publishedKeys.refresh(), decryptionKeys.refresh()])

    const digest = digestOf(token)
    const known = cache.find(digest)
    if (known) return known

    const verified = await verifyInFull(token).catch((error) => {
      throw asVerifierError(error)
    })
    cache.add(digest, verified)
    return verified.auth
  }

  /** The contract's steps, from the outside in. */
  async function verifyInFull(token: string): Promise<Verified> {
    const decryptionKey = await keyNamedIn(outerHeaderOf(token), findDecryptionKey)
    const outer = await compactDecrypt(token, decryptionKey.cryptoKey, DECRYPTION)

    const usedKeys = [decryptionKey]
    const getSigningKey = async (header: JoseHeader) => {
      refuseStrange(header)
      const signingKey = await keyNamedIn(header, findSigningKey)
      usedKeys.push(signingKey)
      return signingKey.cryptoKey
    }
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
    return { auth: authIn(payload), usedKeys }
  }

  /** Only the issuer knows which keys there are: one that it publishes and we lack is our fault, not the token's. */
  async function findDecryptionKey(kid: string): Promise<Key | undefined> {
    const known = decryptionKeys.get(kid)
    if (known) return known
    const published = await publishedKeys.find(kid)
    return published?.use === 'enc' ? decryptionKeys.demand(kid) : undefined
  }

  async function findSigningKey(kid: string): Promise<Key | undefined> {
    const found = await publishedKeys.find(kid)
    return found?.use === 'sig' ? found : undefined
  }

  async function ready(): Promise<void> {
    await Promise.all([publishedKeys.ready(), decryptionKeys.ready()])
  }

  return { verify, ready }
}

/** The key that a JOSE header names, if its algorithm is the key's own. */
async function keyNamedIn({ kid, alg }: JoseHeader, find: (kid: string) => Promise<Key | undefined>): Promise<Key> {
  const key = typeof kid === 'string' ? await find(kid) : undefined
  if (!key) throw invalid('kid')
  if (key.alg !== alg) throw invalid('alg')
  return key
}

function authIn(claims: AccessClaims): Auth {
  const { sub: userId, sid: sessionId, jti: tokenId, exp: expiresAt } = claims
  return freeze({ userId, expiresAt, tokenId, sessionId, claims })
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

function issuerIn({ keysFile, decryptionKeys, ...options }: VerifierOptions) {
  if ((decryptionKeys === undefined) === (keysFile === undefined))
    throw new TypeError('Either keysFile or decryptionKeys must be given')
  const { issuer, audience, jwksUrl } = { ...(keysFile !== undefined && readKeysFile(keysFile)), ...options }
  if (!issuer || typeof issuer !== 'string') throw new TypeError('issuer must be a text')
  if (!audience || typeof audience !== 'string') throw new TypeError('audience must be one text')
  if (!jwksUrl || !URL.canParse(jwksUrl)) throw new TypeError('jwksUrl must be an absolute URL')
  const loadKeys = keysFile === undefined ? keysGiven(decryptionKeys ?? []) : keysInFile(keysFile)
  return { issuer, audience, jwksUrl, loadKeys }
}

function keysGiven(keys: readonly JWK[] | AskForKeys) {
  if (typeof keys === 'function') return keysOnAsking(keys)
  const isPrivateKey = ({ kid, use, alg = '', d }: JWK) => kid && use === 'enc' && ALGORITHMS.enc.includes(alg) && d
  if (keys.length === 0 || !keys.every(isPrivateKey))
    throw new TypeError(
      `decryptionKeys must be private JWKs with kid, use "enc" and alg ${ALGORITHMS.enc.join(' or ')}`,
    )
  return keysOnAsking(async () => keys)
}

function checkNumbers(options: VerifierOptions): void {
  for (const name of ['clockSkewSeconds', 'keysMaxAgeSeconds', 'cooldownSeconds', 'fetchTimeoutSeconds'] as const)
    if (!((options[name] ?? 0) >= 0)) throw new TypeError(`${name} must be a number of seconds, at least 0`)
  const { maxCachedTokens = 0 } = options
  if (!Number.isSafeInteger(maxCachedTokens) || maxCachedTokens < 0)
    throw new TypeError('maxCachedTokens must be a whole number, at least 0')
}
