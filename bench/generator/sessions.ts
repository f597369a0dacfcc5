/** Sessions that SQL made in bulk: their first tokens follow from their numbers, so they need not be stored. */
import { createHash } from 'node:crypto'

const FAMILY_BYTES = 16

/** The same bytes as `FIRST_TOKEN_SQL` gives for the number. */
export function firstToken(number: number): string {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  return Buffer.concat([digest(`family ${number}`).subarray(0, FAMILY_BYTES), digest(`secret ${number}`)]).toString(
    'base64url',
  )
}

export const FIRST_FAMILY_SQL = `substring(sha256(convert_to('family ' || number, 'UTF8')) for ${FAMILY_BYTES})`
export const FIRST_TOKEN_SQL = `${FIRST_FAMILY_SQL} || sha256(convert_to('secret ' || number, 'UTF8'))`
