/** Encrypts credentials to the server's published enc_front key: the contract's `front_enc`, in its object form. */
import { AuthClientError } from './errors.ts'
import type { Answer, Send } from './http.ts'
import { randomBytes, randomText, toBase64url } from './random.ts'
import { startCountdown, startStopwatch } from './stopwatch.ts'

export interface Encrypted {
  __front_enc__: {
    kid: string
    alg: 'RSA-OAEP-256'
    enc: 'A256GCM'
    /** The AES key, encrypted to the published key; base64url. */
    cek: string
    /** 12 bytes, base64url. */
    iv: string
    /** Ciphertext and 16-byte tag, base64url. */
    ct: string
  }
}

interface PublishedKey {
  kid: string
  key: CryptoKey
  remainingMs: () => number
  /** Epoch milliseconds, as the server counts them where that can be known. */
  nowMs: () => number
}

const DEFAULT_LIFETIME_SECONDS = 600
const RSA_OAEP_256 = 'RSA-OAEP-256'
const RSA = { name: 'RSA-OAEP', hash: 'SHA-256' }

export function createEncryptor(send: Send) {
  let published: Promise<PublishedKey> | undefined

  async function fetchKey(cache: RequestCache): Promise<PublishedKey> {
    if (!globalThis.crypto?.subtle)
      throw new AuthClientError('CLIENT_CANNOT_ENCRYPT', 'there is no WebCrypto here; a page needs HTTPS for it')
    const { headers, body } = await send('GET', '/.well-known/jwks.json', { cache })
    const keys = (body as { keys?: (JsonWebKey & { kid: string })[] }).keys ?? []
    const jwk = keys.find(({ use, alg }) => use === 'enc_front' && alg === RSA_OAEP_256)
    if (!jwk) throw new AuthClientError('CLIENT_CANNOT_ENCRYPT', 'the server publishes no enc_front key')
    const { kty, n, e } = jwk as { kty: string; n: string; e: string }
    const key = await crypto.subtle.importKey('jwk', { kty, n, e }, RSA, false, ['encrypt'])
    const lifetimeSeconds = /max-age=(\d+)/.exec(headers.get('Cache-Control') ?? '')?.[1] ?? DEFAULT_LIFETIME_SECONDS
    const answeredMs = serverTimeMs(headers)
    const passedMs = startStopwatch()
    return {
      kid: jwk.kid,
      key,
      remainingMs: startCountdown(Number(lifetimeSeconds)),
      nowMs: () => answeredMs + passedMs(),
    }
  }

  /** Revalidates rather than trusts the browser's cache: the Date of a cached answer would be an old one. */
  async function publishedKey(): Promise<PublishedKey> {
    const asked = published
    const known = await asked?.catch(() => undefined)
    if (known && known.remainingMs() > 0) return known
    // Whoever found out first fetches for all.
    if (published === asked) published = fetchKey('no-cache')
    return published as Promise<PublishedKey>
  }

  /** @throws {AuthClientError} CLIENT_CANNOT_ENCRYPT, or what fetching the keys met */
  async function encrypt(data: object): Promise<Encrypted> {
    const { kid, key, nowMs } = await publishedKey()
    const iat = Math.floor(nowMs() / 1000)
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
        cek: toBase64url(new Uint8Array(cek)),
        iv: toBase64url(iv),
        ct: toBase64url(new Uint8Array(ct)),
      },
    }
  }

  /**
   * Sends the data encrypted. The server tells nobody what was wrong with a payload; an unknown kid is what new keys
   * can
   * heal. So after a refusal the keys are fetched past every cache, and if they name another one, it is sent once more.
   */
  async function sendEncrypted(data: object, sendBody: (body: Encrypted) => Promise<Answer>): Promise<Answer> {
    const encrypted = await encrypt(data)
    try {
      return await sendBody(encrypted)
    } catch (error) {
      if (!(error instanceof AuthClientError && error.code === 'AUTH_BAD_REQUEST')) throw error
      published = fetchKey('reload')
      const latest = await published.catch(() => undefined)
      if (!latest || latest.kid === encrypted.__front_enc__.kid) throw error
      return sendBody(await encrypt(data))
    }
  }

  return { encrypt, sendEncrypted }
}

/** Date, and the Age that a cache on the way adds (RFC 9110, section 6.6.1); foreign origins may not read either. */
function serverTimeMs(headers: Headers): number {
  const dateMs = Date.parse(headers.get('Date') ?? '')
  return dateMs > 0 ? dateMs + Number(headers.get('Age') ?? 0) * 1000 : Date.now()
}
