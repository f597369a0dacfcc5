/** Sessions that SQL made in bulk: their first tokens follow from their numbers, so they need not be stored. */
import { createHash } from 'node:crypto'

const FAMILY_BYTES = 16
const GENERATION = Buffer.alloc(4)
/** Secret and MAC; the live token is taken whatever its MAC is. */
const REST_BYTES = 28

/** The same bytes as `FIRST_TOKEN_SQL` gives for the number. */
export function firstToken(number: number): string {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  const family = digest(`family ${number}`).subarray(0, FAMILY_BYTES)
  return Buffer.concat([family, GENERATION, digest(`secret ${number}`).subarray(0, REST_BYTES)]).toString('base64url')
}

export const FAMILY_SQL = `substring(sha256(convert_to('family ' || number, 'UTF8')) for ${FAMILY_BYTES})`
const REST_SQL = `substring(sha256(convert_to('secret ' || number, 'UTF8')) for ${REST_BYTES})`
export const FIRST_TOKEN_SQL = `${FAMILY_SQL} || '\\x00000000'::bytea || ${REST_SQL}`

/** SHA-256 of the family, its first 16 bytes as a UUID of version 8. */
const DIGEST_SQL = `substring(sha256(${FAMILY_SQL}) for 16)`
const VERSION_SQL = `set_byte(${DIGEST_SQL}, 6, get_byte(${DIGEST_SQL}, 6) & 15 | 128)`
export const SESSION_ID_SQL = `encode(set_byte(${VERSION_SQL}, 8, get_byte(${DIGEST_SQL}, 8) & 63 | 128), 'hex')::uuid`
