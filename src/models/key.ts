/** The uses of keys, and their rows. */

export const PUBLISHED_USES = ['sig', 'enc', 'enc_front'] as const
/** The `mac` key is what refresh tokens are told by. */
export const KEY_USES = [...PUBLISHED_USES, 'mac'] as const
export type PublishedUse = (typeof PUBLISHED_USES)[number]
export type KeyUse = (typeof KEY_USES)[number]

/** A row of `keys`; times are in epoch seconds. */
export interface KeyRow {
  use: KeyUse
  /** Counts the keys of one use. */
  number: number
  /** RFC 7638 thumbprint. */
  kid: string
  alg: string
  /** When it comes into use; it is published and accepted before. */
  first_use: number
  /** Null while it ends with its grace after its successor's first use. */
  ends_at: number | null
  /** A compact JWE (RFC 7516) of the private JWK (RFC 7517). */
  private_jwe: string
}
