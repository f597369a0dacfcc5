/**
 * Writes compact JWS (RFC 7515) and JWE (RFC 7516) with node:crypto, on the calling thread: for the elliptic curves
 * that takes a fraction of the time of WebCrypto's way through the thread pool (to sign by RS256 takes the thread some
 * milliseconds). It takes nothing from strangers; what does, is jose's to read.
 */
import {
  createCipheriv,
  diffieHellman,
  generateKeyPairSync,
  hash,
  KeyObject,
  publicEncrypt,
  randomBytes,
  sign,
} from 'node:crypto'
import type { CryptoKey } from 'jose'

const KEY_BYTES = 32
const IV_BYTES = 12
/** RFC 3394, section 2.2.3.1. */
const KEY_WRAP_IV = Buffer.alloc(8, 0xa6)
const OTHER_INFO = otherInfo('ECDH-ES+A256KW', KEY_BYTES)

/** By ES256 or RS256, whichever the key is for (RFC 7518, sections 3.3 and 3.4). */
export function signCompact(header: object, claims: object, privateKey: CryptoKey): string {
  const signingInput = `${encodeJson(header)}.${encodeJson(claims)}`
  const key = { key: KeyObject.from(privateKey), dsaEncoding: 'ieee-p1363' } as const
  return `${signingInput}.${sign('sha256', Buffer.from(signingInput), key).toString('base64url')}`
}

/** By A256GCM (RFC 7518, section 5.3), the content key under ECDH-ES+A256KW or RSA-OAEP-256 as the header says. */
export function encryptCompact(header: { alg: string }, plaintext: string, publicKey: CryptoKey): string {
  const random = randomBytes(KEY_BYTES + IV_BYTES) // at once, as asking the system costs more than the bytes
  const [contentKey, iv] = [random.subarray(0, KEY_BYTES), random.subarray(KEY_BYTES)]
  const { encryptedKey, ...parameters } =
    header.alg === 'RSA-OAEP-256'
      ? { encryptedKey: publicEncrypt({ key: KeyObject.from(publicKey), oaepHash: 'sha256' }, contentKey) }
      : agreeAndWrap(contentKey, KeyObject.from(publicKey))
  const protectedHeader = encodeJson({ ...header, ...parameters })
  const cipher = createCipheriv('aes-256-gcm', contentKey, iv).setAAD(Buffer.from(protectedHeader))
  const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()])
  const parts = [encryptedKey, iv, ciphertext, cipher.getAuthTag()]
  return [protectedHeader, ...parts.map((part) => part.toString('base64url'))].join('.')
}

/** ECDH-ES+A256KW with an ephemeral key of its own for each message (RFC 7518, section 4.6). */
function agreeAndWrap(contentKey: Buffer, publicKey: KeyObject): { encryptedKey: Buffer; epk: object } {
  const ephemeral = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const secret = diffieHellman({ privateKey: ephemeral.privateKey, publicKey })
  const wrappingKey = concatKdf(secret, OTHER_INFO)
  return { encryptedKey: wrapKey(wrappingKey, contentKey), epk: ephemeral.publicKey.export({ format: 'jwk' }) }
}

/** RFC 7518, section 4.6.2: its one round of SHA-256 that gives 32 bytes. */
export function concatKdf(secret: Buffer, info: Buffer): Buffer {
  return hash('sha256', Buffer.concat([uint32(1), secret, info]), 'buffer')
}

/** The OtherInfo of RFC 7518, section 4.6.2: what the derived key is for, who the parties are, and its length. */
export function otherInfo(algorithm: string, keyBytes: number, apu = '', apv = ''): Buffer {
  const texts = [algorithm, apu, apv].flatMap((text) => [uint32(text.length), Buffer.from(text)])
  return Buffer.concat([...texts, uint32(keyBytes * 8)])
}

/** RFC 3394, section 2.2.1. */
export function wrapKey(wrappingKey: Buffer, key: Buffer): Buffer {
  const cipher = createCipheriv('id-aes256-wrap', wrappingKey, KEY_WRAP_IV)
  return Buffer.concat([cipher.update(key), cipher.final()])
}

function uint32(number: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(number)
  return bytes
}

function encodeJson(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}
