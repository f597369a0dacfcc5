/** Random bytes, and text. */
import { AuthClientError } from './errors.ts'

/** @throws {AuthClientError} CLIENT_UNSUPPORTED */
export function randomBytes(count: number): Uint8Array<ArrayBuffer> {
  if (!globalThis.crypto?.getRandomValues)
    throw new AuthClientError('CLIENT_UNSUPPORTED', 'no crypto.getRandomValues here')
  return crypto.getRandomValues(new Uint8Array(count))
}

/** 144 random bits as 36 visible ASCII characters. */
export function randomText(): string {
  return Array.from(randomBytes(18), (byte) => (byte + 256).toString(16).slice(1)).join('')
}
