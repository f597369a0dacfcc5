/** Access tokens, signed and then encrypted (nested JWT, RFC 7519), and what a browser encrypted for us. */
import { randomUUID } from 'node:crypto'
import { base64url, type CryptoKey, compactDecrypt, decodeProtectedHeader, errors, jwtVerify } from 'jose'
import type { Config } from '../config.ts'
import { encryptCompact, signCompact } from '../jose/writer.ts'
import type { PublishedUse } from '../models/key.ts'
import type { Session } from '../models/refresh_token.ts'
import { AuthError } from '../models/types.ts'
import type { KeyStore } from './jwks.ts'

const COPIED_CLAIMS = ['iss', 'aud', 'iat', 'exp', 'jti']
/** Header parameters that would have us decompress, obey an extension or take a key from a stranger. */
const REFUSED_HEADERS = ['zip', 'crit', 'jwk', 'jku', 'x5c', 'x5u']
/** Five parts in base64url, which jose would also take with padding and spaces (RFC 7515, section 2, has neither). */
const COMPACT_FORM = /^[\w-]+(\.[\w-]+){4}$/
const UUID_FORM = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
type FrontEncParts = Record<'kid' | 'alg' | 'enc' | 'cek' | 'iv' | 'ct', string> & { aad?: string }
const DECRYPTION = { contentEncryptionAlgorithms: ['A256GCM'], maxDecompressedLength: 0 }

/** User id, session id and token id are UUIDs; times are in epoch seconds. */
type AccessClaims = Record<'sub' | 'sid' | 'jti', string> & Record<'iat' | 'exp', number>
export type VerifiedToken = Pick<AccessClaims, 'sub' | 'sid' | 'exp'> & Record<'signingKid' | 'encryptionKid', string>

/** @returns a compact JWE (RFC 7516) around a compact JWS (RFC 7515) */
export function issueAccessToken(keys: KeyStore, config: Config, session: Session, ttlSeconds: number): string {
  const signing = keys.active('sig')
  const encryption = keys.active('enc')
  const iat = Math.floor(Date.now() / 1000)
  const exp = iat + ttlSeconds
  const copied = { iss: config.issuer, aud: config.audience, iat, exp, jti: randomUUID() }

  const jws = signCompact(
    { alg: signing.alg, typ: 'at+jwt', kid: signing.kid },
    { sub: session.user_id, sid: session.id, ...copied },
    signing.privateKey,
  )
  const header = { alg: encryption.alg, enc: 'A256GCM', cty: 'JWT', kid: encryption.kid, ...copied }
  return encryptCompact(header, jws, encryption.publicKey)
}

/**
 * All of the contract's verification steps.
 * @throws {AuthError} AUTH_TOKEN_EXPIRED for a genuine token past its time, AUTH_TOKEN_INVALID for everything else, or
 *   AUTH_UNAVAILABLE when a key that is not at hand cannot be looked for
 */
export async function verifyAccessToken(keys: KeyStore, config: Config, token: string): Promise<VerifiedToken> {
  try {
    if (!COMPACT_FORM.test(token)) throw new Error('form')
    const outer = await compactDecrypt(token, keyFor('enc', keys), {
      ...DECRYPTION,
      keyManagementAlgorithms: ['ECDH-ES+A256KW', 'RSA-OAEP-256'],
    })
    const { payload, protectedHeader } = await jwtVerify<AccessClaims>(outer.plaintext, keyFor('sig', keys), {
      algorithms: ['ES256', 'RS256'],
      issuer: config.issuer,
      audience: config.audience,
      typ: 'at+jwt',
      clockTolerance: config.clockSkewSeconds,
      requiredClaims: ['sub', 'sid', 'iat', 'exp', 'jti'],
    })
    const { sub, sid, jti, iat, exp } = payload
    if (outer.protectedHeader.cty !== 'JWT') throw new Error('cty')
    if (COPIED_CLAIMS.some((claim) => outer.protectedHeader[claim] !== payload[claim])) throw new Error('copies')
    if (![sub, sid, jti].every((id) => typeof id === 'string' && UUID_FORM.test(id))) throw new Error('identifiers')
    if (iat > Date.now() / 1000 + config.clockSkewSeconds) throw new Error('iat')
    return { sub, sid, exp, signingKid: String(protectedHeader.kid), encryptionKid: String(outer.protectedHeader.kid) }
  } catch (error) {
    if (error instanceof AuthError) throw error
    const code = error instanceof errors.JWTExpired ? 'AUTH_TOKEN_EXPIRED' : 'AUTH_TOKEN_INVALID'
    throw new AuthError(code, { cause: error })
  }
}

/**
 * Opens either form of `__front_enc__`: a compact JWE, or an object of its parts.
 * @returns what the JSON in it says
 * @throws {Error} of any kind; the client must not learn which
 */
export async function decryptFrontEnc(keys: KeyStore, frontEnc: unknown): Promise<unknown> {
  const plaintext =
    typeof frontEnc === 'string'
      ? await openCompactForm(keys, frontEnc)
      : await openObjectForm(keys, frontEnc as FrontEncParts)
  return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(plaintext))
}

/** Whether `__front_enc__` in either form names one of our keys, so that to open it takes a decryption. */
export async function namesOurKey(keys: KeyStore, frontEnc: unknown): Promise<boolean> {
  try {
    const { kid } = typeof frontEnc === 'string' ? decodeProtectedHeader(frontEnc) : (frontEnc as FrontEncParts)
    return Boolean(await keys.find('enc_front', kid))
  } catch {
    return false
  }
}

async function openCompactForm(keys: KeyStore, jwe: string): Promise<Uint8Array> {
  const ours = { ...DECRYPTION, keyManagementAlgorithms: ['RSA-OAEP-256'] }
  const { plaintext } = await compactDecrypt(jwe, keyFor('enc_front', keys), ours)
  return plaintext
}

/** The parts as WebCrypto makes them in a browser: RSA-OAEP around an AES-256 key, AES-GCM with the tag at the end. */
async function openObjectForm(keys: KeyStore, parts: FrontEncParts): Promise<ArrayBuffer> {
  const privateKey = await keyFor('enc_front', keys)(parts)
  const contentKey = await crypto.subtle.decrypt('RSA-OAEP', privateKey, bytesOf(parts.cek))
  const { enc, aad = '' } = parts
  const iv = bytesOf(parts.iv)
  if (contentKey.byteLength !== 32 || iv.length !== 12) throw new Error('length')
  if (enc !== 'A256GCM' || typeof aad !== 'string') throw new Error('enc or aad')
  const aesKey = await crypto.subtle.importKey('raw', contentKey, 'AES-GCM', false, ['decrypt'])
  const additionalData = Buffer.from(aad)
  return crypto.subtle.decrypt({ name: 'AES-GCM', iv, additionalData }, aesKey, bytesOf(parts.ct))
}

function bytesOf(text: string): Buffer<ArrayBuffer> {
  return Buffer.from(base64url.decode(text))
}

/** Finds the key that a JOSE header names, if the header asks for nothing but that and the key's own algorithm. */
function keyFor(use: PublishedUse, keys: KeyStore) {
  return async (header: { kid?: string; alg?: string }): Promise<CryptoKey> => {
    const key = await keys.find(use, header.kid)
    if (!key || key.alg !== header.alg || REFUSED_HEADERS.some((name) => name in header)) throw new Error('header')
    return use === 'sig' ? key.publicKey : key.privateKey
  }
}
