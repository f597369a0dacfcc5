/** Access tokens made by hand: as good as the module's own, but for what the caller changes. */
import { createHmac, createPublicKey, generateKeyPairSync, randomUUID } from 'node:crypto'
import { decodeJson, encode, encryptJwe, type Json, type Jwk, publicHalf, signJws } from './jose_by_hand.ts'

/** The claims that the JWE's header repeats. */
export const COPIED = ['iss', 'aud', 'iat', 'exp', 'jti']

/** What is known of a module: its keys, public or private, and what a genuine token of it says. */
export interface Known {
  /** Private, to sign with it; public, only to name it. */
  signatureKey: Jwk
  encryptionKey: Jwk
  genuine: string
  claims: Json
}

export interface Change {
  /** Undefined leaves the claim out. */
  claims?: Json
  inner?: Json
  /** Over what the claims say. */
  outer?: Json
  /** What the outer header says, whatever is done. */
  named?: Json
  signatureKey?: Jwk
  encryptionKey?: Jwk
  /** What stands inside, instead of a JWS. */
  content?: string | Buffer
}
export type Forgery = ReturnType<typeof forge>

export const now = () => Math.floor(Date.now() / 1000)

/** Makes tokens for somebody who is logged in. */
export function forge({ signatureKey, encryptionKey, genuine, claims: known }: Known) {
  const { sub, sid, iss, aud } = known
  const jws = ({ claims = {}, inner = {}, signatureKey: key = signatureKey }: Change = {}) => {
    const header = { alg: key.alg, typ: 'at+jwt', kid: key.kid, ...inner }
    return signJws(header, { sub, sid, ...standardClaims({ iss, aud }), ...claims }, key)
  }
  const token = (change: Change = {}) => {
    const content = change.content ?? jws(change)
    const { alg, kid } = change.encryptionKey ?? encryptionKey
    const header = { alg, enc: 'A256GCM', cty: 'JWT', kid, ...copiesOf(content), ...change.outer }
    return encryptJwe(header, content, change.encryptionKey ?? encryptionKey, change.named)
  }
  /** For whom no key of ours is private: signed by himself under the name of our key. */
  const stranger = { ...strangersKey('ES256'), kid: signatureKey.kid }
  const jwsHeader = { alg: signatureKey.alg, typ: 'at+jwt', kid: signatureKey.kid }
  return { genuine, signatureKey, encryptionKey, stranger, jwsHeader, jws, token }
}

/** The claims to copy from a JWS; from anything else none. */
export function copiesOf(content: string | Buffer): Json {
  const parts = typeof content === 'string' ? content.split('.') : []
  const claims = parts.length === 3 ? (decodeJson(parts[1]) ?? {}) : {}
  return Object.fromEntries(COPIED.map((name) => [name, claims[name]]))
}

let issued = 0
function standardClaims(more: Json): Json {
  const iat = now() - 10 - (issued++ % 10)
  return { ...more, iat, exp: iat + 900, jti: randomUUID() }
}

export function strangersKey(alg: 'ES256' | 'RS256' | 'ECDH-ES+A256KW'): Jwk {
  const { privateKey } =
    alg === 'RS256'
      ? generateKeyPairSync('rsa', { modulusLength: 2048 })
      : generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return { ...privateKey.export({ format: 'jwk' }), alg } as Jwk
}

/** A JWS of the stranger's with its header changed and its signature away, as nobody checks it under `none`. */
export function unsigned({ jws, stranger }: Forgery, alg: string): string {
  const [header, payload] = jws({ signatureKey: stranger }).split('.')
  return `${encode({ ...decodeJson(header), alg })}.${payload}.`
}

/** The classic: a public key, in one of its forms, taken for the secret of an HMAC. */
export function signedWithPublicKey({ jws, stranger, signatureKey }: Forgery, form: 'spki' | 'jwk'): string {
  const [header, payload] = jws({ signatureKey: stranger, inner: { alg: 'HS256' } }).split('.')
  const half = publicHalf(signatureKey)
  const secret =
    form === 'jwk'
      ? JSON.stringify(half)
      : createPublicKey({ key: half, format: 'jwk' }).export({ type: 'spki', format: 'pem' })
  return `${header}.${payload}.${createHmac('sha256', secret).update(`${header}.${payload}`).digest('base64url')}`
}

/** One bit changed, in the middle of a part of a token. */
export function flip(token: string, part: number): string {
  const parts = token.split('.')
  const bytes = Buffer.from(parts[part] as string, 'base64url')
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] as number) ^ 1
  parts[part] = bytes.toString('base64url')
  return parts.join('.')
}
