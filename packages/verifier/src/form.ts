/** What anybody can see of a token without a key: its form, and the header of its outer layer (RFC 7516). */
import { VerifierError } from './errors.ts'

/** The contract's algorithms: of the inner signature, and of the outer key management. */
export const ALGORITHMS = { sig: ['ES256', 'RS256'], enc: ['ECDH-ES+A256KW', 'RSA-OAEP-256'] }

/** Header parameters that would have us decompress, obey an extension or take a key from a stranger. */
const REFUSED_HEADERS = ['zip', 'crit', 'jwk', 'jku', 'x5c', 'x5u']
const UUID_FORM = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
/**
 * Base64url without spaces and padding (RFC 7515, section 2), which decoders overlook: they would pass one token off as
 * any number. Unused bits at the end of a part still give it a few spellings; each is verified, and remembered, for
 * itself.
 */
const COMPACT_FORM = /^[\w-]+(\.[\w-]+){4}$/

/** Its values are anybody's until the token has been opened, or the issuer has vouched for it. */
export type JoseHeader = Record<string, unknown>

/** @throws {VerifierError} AUTH_TOKEN_INVALID for what no key could make a good token */
export function outerHeaderOf(token: string): JoseHeader {
  if (typeof token !== 'string') throw invalid('not a string')
  if (!COMPACT_FORM.test(token)) throw invalid('encoding')
  const header = parse(Buffer.from(token.slice(0, token.indexOf('.')), 'base64url').toString())
  refuseStrange(header)
  if (!ALGORITHMS.enc.includes(header.alg as string)) throw invalid('alg')
  if (header.enc !== 'A256GCM') throw invalid('enc')
  if (header.cty !== 'JWT') throw invalid('cty')
  return header
}

/** @throws {VerifierError} for a header that asks for more than a key of ours and its algorithm */
export function refuseStrange(header: JoseHeader): void {
  if (REFUSED_HEADERS.some((name) => name in header)) throw invalid('header')
}

export function isUuid(value: unknown): value is string {
  return typeof value === 'string' && UUID_FORM.test(value)
}

export function invalid(reason: string): VerifierError {
  return new VerifierError('AUTH_TOKEN_INVALID', reason)
}

function parse(text: string): JoseHeader {
  try {
    const value = JSON.parse(text)
    if (typeof value === 'object' && value !== null) return value
  } catch {} // what a parser says quotes what it read
  throw invalid('malformed')
}
