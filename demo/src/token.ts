/** What anybody can see of an access token: the compact form of a JWE (RFC 7516, section 7.1). */

const PARTS = ['Header', 'Encrypted key', 'IV', 'Ciphertext', 'Tag']

export interface Anatomy {
  /** The protected header, which is encoded but not encrypted. */
  header: Record<string, unknown> & { iat: number; exp: number }
  /** The five parts, each with its length in characters. */
  parts: { name: string; length: number }[]
}

export function anatomyOf(token: string): Anatomy {
  const parts = token.split('.')
  const binary = atob((parts[0] ?? '').replaceAll('-', '+').replaceAll('_', '/'))
  const bytes = Uint8Array.from(binary, (character) => character.charCodeAt(0))
  return {
    header: JSON.parse(new TextDecoder().decode(bytes)),
    parts: PARTS.map((name, index) => ({ name, length: parts[index]?.length ?? 0 })),
  }
}
