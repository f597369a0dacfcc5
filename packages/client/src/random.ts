/** Random bytes, and base64url (RFC 4648, section 5) without padding. */

export function randomBytes(count: number): Uint8Array<ArrayBuffer> {
  return crypto.getRandomValues(new Uint8Array(count))
}

/** 144 random bits as 24 visible ASCII characters. */
export function randomText(): string {
  return toBase64url(randomBytes(18))
}

export function toBase64url(bytes: Uint8Array): string {
  const binary = Array.from(bytes, (byte) => String.fromCharCode(byte)).join('')
  return btoa(binary).replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '')
}
