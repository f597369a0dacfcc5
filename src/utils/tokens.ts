/** Opaque refresh tokens: made at random, found by a hash of their first half, rotated by derivation. */
import { createHash, createHmac, randomBytes } from 'node:crypto'
import type { TokenHashes } from '../models/refresh_token.ts'
import { AuthError } from '../models/types.ts'

/** The half that stays the same for the whole session. */
const FAMILY_BYTES = 16
const TOKEN_BYTES = 48
const ROTATION_SALT_BYTES = 32
/** 48 bytes in base64url without padding (RFC 4648, section 5). */
const TOKEN_FORM = /^[A-Za-z0-9_-]{64}$/

/** @returns 48 bytes */
export function createRefreshToken(): Buffer {
  return randomBytes(TOKEN_BYTES)
}

/**
 * @returns 48 bytes
 * @throws {AuthError} AUTH_REFRESH_NOT_FOUND for nothing, or a text that cannot be a refresh token
 */
export function decodeRefreshToken(text: string | undefined): Buffer {
  if (text === undefined || !TOKEN_FORM.test(text)) throw new AuthError('AUTH_REFRESH_NOT_FOUND')
  return Buffer.from(text, 'base64url')
}

export function hashRefreshToken(token: Buffer, idempotencyKey?: string): TokenHashes {
  const attempt = idempotencyKey === undefined ? null : sha256(idempotencyKey)
  return { family: sha256(token.subarray(0, FAMILY_BYTES)), token: sha256(token), attempt }
}

/** @returns 32 bytes */
export function createRotationSalt(): Buffer {
  return randomBytes(ROTATION_SALT_BYTES)
}

/** The same token and salt always give the same successor, and nobody derives it without the token. */
export function deriveSuccessor(token: Buffer, rotationSalt: Buffer): Buffer {
  const secret = createHmac('sha256', token).update(rotationSalt).digest()
  return Buffer.concat([token.subarray(0, FAMILY_BYTES), secret])
}

export function sha256(content: Buffer | string): Buffer {
  return createHash('sha256').update(content).digest()
}
