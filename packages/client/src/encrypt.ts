/** Encrypts credentials to the server's published enc_front key: the contract's `front_enc`, in its object form. */
import { AuthClientError } from './errors.ts'
import type { Send } from './http.ts'
import { randomBytes, randomText } from './random.ts'
import type { Encrypted } from './types.ts'

const RSA_OAEP_256 = 'RSA-OAEP-256'
const RSA = { name: 'RSA-OAEP', hash: 'SHA-256' }

/**
 * To the key as it is published now: a browser's cache may hold one that is gone, with the Date of a time that is gone.
 * @throws {AuthClientError} CLIENT_CANNOT_ENCRYPT, or what fetching the keys met
 */
export async function encryptTo(send: Send, data: object): Promise<Encrypted> {
  if (!globalThis.crypto?.subtle || !globalThis.btoa)
    throw new AuthClientError('CLIENT_CANNOT_ENCRYPT', 'no WebCrypto here: a page needs HTTPS')
  const { headers, body } = await send('GET', '/.well-known/jwks.json', { cache: 'no-cache' })
  const keys = (body as { keys?: (JsonWebKey & { kid: string })[] }).keys ?? []
  const jwk = keys.find(({ use, alg }) => use === 'enc_front' && alg === RSA_OAEP_256)
  if (!jwk) throw new AuthClientError('CLIENT_CANNOT_ENCRYPT', 'no enc_front key is published')
  const { kid, kty, n, e } = jwk as Record<'kid' | 'kty' | 'n' | 'e', string>
  const key = await crypto.subtle.importKey('jwk', { kty, n, e }, RSA, false, ['encrypt'])

  const iat = Math.floor(serverTimeMs(headers) / 1000)
  const plaintext = new TextEncoder().encode(JSON.stringify({ ...data, iat, jti: randomText() }))
  const contentKey = randomBytes(32)
  const iv = randomBytes(12)
  const aesKey = await crypto.subtle.importKey('raw', contentKey, 'AES-GCM', false, ['encrypt'])
  const ct = await crypto.subtle.encrypt({ name: 'AES-GCM', iv }, aesKey, plaintext)
  const cek = await crypto.subtle.encrypt(RSA, key, contentKey)
  return {
    __front_enc__: {
      kid,
      alg: RSA_OAEP_256,
      enc: 'A256GCM',
      cek: toBase64url(cek),
      iv: toBase64url(iv),
      ct: toBase64url(ct),
    },
  }
}

/** Date, and the Age that a cache on the way adds (RFC 9110, section 6.6.1); foreign origins may not read either. */
function serverTimeMs(headers: Headers): number {
  const dateMs = Date.parse(headers.get('Date') ?? '')
  return dateMs > 0 ? dateMs + Number(headers.get('Age') ?? 0) * 1000 : Date.now()
}

/** RFC 4648, section 5, without padding. */
function toBase64url(bytes: ArrayBuffer | Uint8Array): string {
  const binary = String.fromCharCode(...new Uint8Array(bytes))
  return btoa(binary).replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '')
}
