/** Bearer tokens in HTTP requests, and what to answer when one is refused (RFC 6750). */

import type { AccessClaims } from './claims.ts'
import { VerifierError } from './errors.ts'
import type { Verifier } from './verifier.ts'

/** An HTTP answer, to be sent as JSON. */
export interface Refusal {
  status: 401 | 503
  headers: Record<string, string>
  body: { error: { code: string; message: string } }
}

/**
 * For frameworks without an adapter of their own.
 * @param authorization the request's Authorization header, if it has one
 * @returns the token's claims, or the answer for a request without a valid one
 */
export async function authenticate(
  verifier: Verifier,
  authorization: string | undefined,
): Promise<{ claims: AccessClaims } | { refusal: Refusal }> {
  // RFC 6750, section 2.1.
  const token = authorization?.match(/^Bearer +([^ ]+)$/i)?.[1]
  try {
    if (token === undefined) throw new VerifierError('AUTH_TOKEN_INVALID', 'no token')
    return { claims: await verifier.verify(token) }
  } catch (error) {
    if (!(error instanceof VerifierError)) throw error
    return { refusal: refusalFor(error, token !== undefined) }
  }
}

function refusalFor({ status, code, message }: VerifierError, wasTokenSent: boolean): Refusal {
  const body = { error: { code, message } }
  if (status === 503) return { status, headers: { 'retry-after': '1' }, body }
  // RFC 6750, section 3: what was wrong with the token, or, when there was none, only that one is wanted.
  const reason = wasTokenSent ? `, error="invalid_token", error_description="${message}"` : ''
  return { status, headers: { 'www-authenticate': `Bearer realm="auth"${reason}` }, body }
}
