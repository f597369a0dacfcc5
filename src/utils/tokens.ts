/** Opaque refresh tokens: family, generation, secret and MAC (contract, `refresh_token`), rotated by derivation. */
import { createHmac, hash, randomBytes, timingSafeEqual } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { RefreshToken } from '../models/refresh_token.ts'
import { AuthError } from '../models/types.ts'

/** The part that stays the same for the whole session. */
const FAMILY_BYTES = 16
const SECRET_BYTES = 16
/** Family, generation in four bytes, and secret; the rest is a MAC over them. */
const SIGNED_BYTES = 36
const MAC_BYTES = 12
/** 48 bytes in base64url without padding (RFC 4648, section 5). */
const TOKEN_FORM = /^[A-Za-z0-9_-]{64}$/
/** So that the next one still is an integer to PostgreSQL. */
const GENERATION_MAX = 2 ** 31 - 2
const ROTATION_SALT_BYTES = 32

/** The first token of a new session, at random. */
export function createRefreshToken([macKey]: MacKeys): RefreshToken {
  const family = randomBytes(FAMILY_BYTES)
  return assemble(family, sessionIdOf(family), 0, randomBytes(SECRET_BYTES), macKey)
}

/**
 * @param macKeys those that tokens may have been made with
 * @throws {AuthError} AUTH_REFRESH_NOT_FOUND for nothing, or a text that cannot be a refresh token
 */
export function readRefreshToken(text: string | undefined, macKeys: MacKeys): RefreshToken {
  if (text === undefined || !TOKEN_FORM.test(text)) throw new AuthError('AUTH_REFRESH_NOT_FOUND')
  const bytes = Buffer.from(text, 'base64url')
  const generation = bytes.readUInt32BE(FAMILY_BYTES)
  if (generation > GENERATION_MAX) throw new AuthError('AUTH_REFRESH_NOT_FOUND')
  const [signed, mac] = [bytes.subarray(0, SIGNED_BYTES), bytes.subarray(SIGNED_BYTES)]
  const isOurs = macKeys.some((macKey) => timingSafeEqual(mac, macOf(signed, macKey)))
  return { bytes, sessionId: sessionIdOf(bytes.subarray(0, FAMILY_BYTES)), hash: sha256(bytes), generation, isOurs }
}

/**
 * What the successor is derived with, 32 bytes: random, or with an idempotency key always the same for the same
 * request, on every node and even after the database was set back.
 */
export function rotationSalt(token: RefreshToken, [macKey]: MacKeys, idempotencyKey?: string): Buffer {
  if (idempotencyKey === undefined) return randomBytes(ROTATION_SALT_BYTES)
  return createHmac('sha256', macKey).update(token.bytes).update(idempotencyKey).digest()
}

/** The same token and salt always give the same successor, and nobody derives it without the token. */
export function deriveSuccessor(token: RefreshToken, salt: Buffer, [macKey]: MacKeys): RefreshToken {
  const { bytes, sessionId, generation } = token
  const secret = createHmac('sha256', bytes).update(salt).digest().subarray(0, SECRET_BYTES)
  return assemble(bytes.subarray(0, FAMILY_BYTES), sessionId, generation + 1, secret, macKey)
}

/**
 * Derives the live token once more, which may have been made under an older MAC key than the one in use by now.
 * @param liveHash SHA-256 of the live token
 * @returns undefined when that MAC key is gone
 */
export function deriveAgain(token: RefreshToken, salt: Buffer, liveHash: Buffer, macKeys: MacKeys) {
  const candidates = macKeys.map((macKey) => deriveSuccessor(token, salt, [macKey]))
  return candidates.find(({ hash }) => hash.equals(liveHash))
}

/** Successors that nobody got, as their rotation was answered 503; by the SHA-256 of each, for a minute. */
export function createUnanswered() {
  const hashes = new LRUCache<string, true>({ max: 10_000, ttl: 60_000 })
  return {
    add: (hash: Buffer) => void hashes.set(hash.toString('base64url'), true),
    has: (hash: Buffer) => hashes.has(hash.toString('base64url')),
  }
}

export type Unanswered = ReturnType<typeof createUnanswered>

export function sha256(content: Buffer | string): Buffer {
  return hash('sha256', content, 'buffer')
}

/** 32 bytes each: first the one to make tokens with, then those that older tokens were made with. */
export type MacKeys = [Buffer, ...Buffer[]]

function assemble(family: Buffer, sessionId: string, generation: number, secret: Buffer, macKey: Buffer): RefreshToken {
  const counter = Buffer.alloc(4)
  counter.writeUInt32BE(generation)
  const signed = Buffer.concat([family, counter, secret])
  const bytes = Buffer.concat([signed, macOf(signed, macKey)])
  return { bytes, sessionId, hash: sha256(bytes), generation, isOurs: true }
}

function macOf(signed: Buffer, macKey: Buffer): Buffer {
  return createHmac('sha256', macKey).update(signed).digest().subarray(0, MAC_BYTES)
}

/** The first 16 bytes of the family's SHA-256 as a UUID of version 8 (RFC 9562, section 5.8). */
export function sessionIdOf(family: Buffer): string {
  const bytes = sha256(family)
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x80, 6)
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8)
  const hex = bytes.toString('hex', 0, 16)
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-')
}
