/**
 * Nested tokens and sealed keys with node:crypto alone, written out from RFC 7515 (JWS), 7516 (JWE), 7517 (JWK), 7518
 * (algorithms), 7638 (thumbprints), 5869 (HKDF) and 3394 (key wrap), so that the tests do not trust the library that
 * the
 * module uses. Every header and every step is the caller's to choose, also the wrong ones.
 */
import {
  constants,
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  privateDecrypt,
  publicEncrypt,
  randomBytes,
  sign,
  timingSafeEqual,
  verify,
} from 'node:crypto'

// biome-ignore lint/suspicious/noExplicitAny: headers and claims of every shape, also wrong ones
export type Json = Record<string, any>
export type Jwk = Json & { kty: string }

export interface Parts {
  header: Json
  plaintext: Buffer
}

const WRAP_IV = Buffer.alloc(8, 0xa6)

export function encode(content: Buffer | string | Json): string {
  const isBytes = Buffer.isBuffer(content) || typeof content === 'string'
  return Buffer.from(isBytes ? content : JSON.stringify(content)).toString('base64url')
}

export function decodeJson(part: string | undefined): Json {
  return JSON.parse(Buffer.from(part ?? '', 'base64url').toString())
}

/** RFC 7515, section 5.1, for ES256 and RS256. */
export function signJws(header: Json, payload: Json | string, key: Jwk): string {
  const input = `${encode(header)}.${encode(payload)}`
  const privateKey = createPrivateKey({ key, format: 'jwk' })
  return `${input}.${encode(sign('sha256', Buffer.from(input), { key: privateKey, dsaEncoding: 'ieee-p1363' }))}`
}

/** RFC 7515, section 5.2. */
export function verifyJws(jws: string, key: Jwk): Parts {
  const [header, payload, signature, ...rest] = jws.split('.') as [string, string, string]
  if (rest.length > 0) throw new Error('not three parts')
  const publicKey = createPublicKey({ key: publicHalf(key), format: 'jwk' })
  const input = Buffer.from(`${header}.${payload}`)
  const verifier = { key: publicKey, dsaEncoding: 'ieee-p1363' } as const
  if (!verify('sha256', input, verifier, Buffer.from(signature, 'base64url'))) throw new Error('signature')
  return { header: decodeJson(header), plaintext: Buffer.from(payload, 'base64url') }
}

/** RFC 7516, section 5.1. The header's `alg` and `enc` are obeyed; `named` puts other names into the header. */
export function encryptJwe(header: Json, content: string | Buffer, key: Jwk, named: Json = {}): string {
  const contentKeyBytes = header.enc === 'A128GCM' ? 16 : 32
  let contentKey: Buffer = randomBytes(contentKeyBytes)
  let encryptedKey: Buffer = Buffer.alloc(0)
  let complete: Json = { ...header, ...named }
  if (header.alg === 'ECDH-ES+A256KW') {
    const ephemeral = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const { kty, crv, x, y } = ephemeral.publicKey.export({ format: 'jwk' })
    complete = { epk: { kty, crv, x, y }, ...complete }
    const shared = diffieHellman({
      privateKey: ephemeral.privateKey,
      publicKey: createPublicKey({ key: publicHalf(key), format: 'jwk' }),
    })
    encryptedKey = wrapKey(concatKdf(shared, 256, header.alg, header.apu, header.apv), contentKey)
  } else if (header.alg === 'dir') {
    contentKey = Buffer.from(key.k, 'base64url')
  } else {
    const oaepHash = header.alg === 'RSA-OAEP' ? 'sha1' : 'sha256'
    const publicKey = createPublicKey({ key: publicHalf(key), format: 'jwk' })
    encryptedKey = publicEncrypt({ key: publicKey, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash }, contentKey)
  }
  const iv = randomBytes(12)
  const protectedHeader = encode(complete)
  const cipher = createCipheriv(contentKeyBytes === 16 ? 'aes-128-gcm' : 'aes-256-gcm', contentKey, iv)
  cipher.setAAD(Buffer.from(protectedHeader, 'ascii'))
  const ciphertext = Buffer.concat([cipher.update(content), cipher.final()])
  return [protectedHeader, ...[encryptedKey, iv, ciphertext, cipher.getAuthTag()].map(encode)].join('.')
}

/** RFC 7516, section 5.2, for ECDH-ES+A256KW, RSA-OAEP-256 and dir with A256GCM. */
export function decryptJwe(jwe: string, key: Jwk): Parts {
  const parts = jwe.split('.')
  if (parts.length !== 5) throw new Error('not five parts')
  const [, encryptedKey, iv, ciphertext, tag] = parts.map((part) => Buffer.from(part, 'base64url')) as Buffer[]
  const header = decodeJson(parts[0])
  if (header.enc !== 'A256GCM') throw new Error(`enc ${header.enc}`)
  const contentKey = unwrapContentKey(header, encryptedKey as Buffer, key)
  const decipher = createDecipheriv('aes-256-gcm', contentKey, iv as Buffer, { authTagLength: 16 })
  decipher.setAAD(Buffer.from(parts[0] as string, 'ascii')).setAuthTag(tag as Buffer)
  return { header, plaintext: Buffer.concat([decipher.update(ciphertext as Buffer), decipher.final()]) }
}

function unwrapContentKey(header: Json, encryptedKey: Buffer, key: Jwk): Buffer {
  if (header.alg === 'dir') return Buffer.from(key.k, 'base64url')
  const privateKey = createPrivateKey({ key, format: 'jwk' })
  if (header.alg === 'RSA-OAEP-256')
    return privateDecrypt(
      { key: privateKey, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' },
      encryptedKey,
    )
  if (header.alg !== 'ECDH-ES+A256KW') throw new Error(`alg ${header.alg}`)
  const shared = diffieHellman({ privateKey, publicKey: createPublicKey({ key: header.epk, format: 'jwk' }) })
  return unwrapKey(concatKdf(shared, 256, header.alg, header.apu, header.apv), encryptedKey)
}

/** RFC 7518, section 4.6.2: one round of SHA-256 is enough for up to 256 bits. */
export function concatKdf(shared: Buffer, bits: number, algorithmId: string, apu = '', apv = ''): Buffer {
  const withLength = (data: Buffer) => Buffer.concat([uint32(data.length), data])
  const otherInfo = [
    withLength(Buffer.from(algorithmId, 'ascii')),
    withLength(Buffer.from(apu, 'base64url')),
    withLength(Buffer.from(apv, 'base64url')),
    uint32(bits),
  ]
  const digest = createHash('sha256')
    .update(Buffer.concat([uint32(1), shared, ...otherInfo]))
    .digest()
  return digest.subarray(0, bits / 8)
}

/** RFC 5869 with SHA-256 and no salt: 32 bytes, which are one round. */
export function hkdf(secret: Buffer, info: string): Buffer {
  const pseudorandomKey = createHmac('sha256', Buffer.alloc(32)).update(secret).digest()
  return createHmac('sha256', pseudorandomKey)
    .update(info)
    .update(Buffer.from([1]))
    .digest()
}

/** RFC 7638 with SHA-256. */
export function thumbprint({ kty, crv, x, y, n, e, k }: Jwk): string {
  const members = { EC: { crv, kty, x, y }, RSA: { e, kty, n }, oct: { k, kty } }[kty]
  return createHash('sha256').update(JSON.stringify(members)).digest('base64url')
}

/** RFC 3394, section 2.2.1, with AES-256. */
export function wrapKey(wrappingKey: Buffer, key: Buffer): Buffer {
  const blocks = inEights(key)
  let a: Buffer = WRAP_IV
  for (let t = 1; t <= 6 * blocks.length; t++) {
    const i = (t - 1) % blocks.length
    const b = aesBlock(createCipheriv('aes-256-ecb', wrappingKey, null), a, blocks[i] as Buffer)
    a = xorCounter(b.subarray(0, 8), t)
    blocks[i] = b.subarray(8)
  }
  return Buffer.concat([a, ...blocks])
}

/** RFC 3394, section 2.2.2. */
export function unwrapKey(wrappingKey: Buffer, wrapped: Buffer): Buffer {
  const [first, ...blocks] = inEights(wrapped) as [Buffer, ...Buffer[]]
  let a = first
  for (let t = 6 * blocks.length; t >= 1; t--) {
    const i = (t - 1) % blocks.length
    const b = aesBlock(createDecipheriv('aes-256-ecb', wrappingKey, null), xorCounter(a, t), blocks[i] as Buffer)
    a = b.subarray(0, 8)
    blocks[i] = b.subarray(8)
  }
  if (!timingSafeEqual(a, WRAP_IV)) throw new Error('key wrap')
  return Buffer.concat(blocks)
}

export function publicHalf({ kty, crv, x, y, n, e }: Jwk): Jwk {
  return kty === 'EC' ? { kty, crv, x, y } : { kty, n, e }
}

function aesBlock(cipher: ReturnType<typeof createCipheriv>, left: Buffer, right: Buffer): Buffer {
  return cipher.setAutoPadding(false).update(Buffer.concat([left, right]))
}

function xorCounter(block: Buffer, counter: number): Buffer {
  const out = Buffer.from(block)
  out.writeUInt32BE((out.readUInt32BE(4) ^ counter) >>> 0, 4)
  return out
}

function inEights(data: Buffer): Buffer[] {
  return Array.from({ length: data.length / 8 }, (_, index) => data.subarray(index * 8, index * 8 + 8))
}

function uint32(value: number): Buffer {
  const out = Buffer.alloc(4)
  out.writeUInt32BE(value)
  return out
}
