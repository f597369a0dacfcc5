/** The one error of a verifier, with the contract's codes; it knows how HTTP answers it (RFC 6750, section 3). */

/** Each code's HTTP status, and the message that a client may be shown. */
export const ERRORS = {
  AUTH_TOKEN_INVALID: { status: 401, message: 'The access token is missing or not valid' },
  AUTH_TOKEN_EXPIRED: { status: 401, message: 'The token has expired' },
  AUTH_TOKEN_REVOKED: { status: 401, message: 'The session has been revoked' },
  AUTH_FORBIDDEN: { status: 403, message: 'The token does not permit this' },
  AUTH_UNAVAILABLE: { status: 503, message: 'The token cannot be checked at the moment, try again' },
} as const

/**
 * - `AUTH_TOKEN_INVALID`: missing, malformed, forged, wrong key, wrong issuer or audience
 * - `AUTH_TOKEN_EXPIRED`: genuine, but past its time
 * - `AUTH_TOKEN_REVOKED`: its session was logged out
 * - `AUTH_FORBIDDEN`: genuine, but your `check` says no
 * - `AUTH_UNAVAILABLE`: nothing is known about the token, since keys or issuer cannot be reached
 */
export type VerifierErrorCode = keyof typeof ERRORS

/** Neither its message nor its reason ever quotes the token, its claims or a key. */
export class VerifierError extends Error {
  override readonly name = 'VerifierError'
  readonly code: VerifierErrorCode
  /** The check that failed, for your log; telling it to the client would help whoever forges tokens. */
  readonly reason: string

  readonly status: 401 | 403 | 503
  readonly headers: Record<string, string>
  /** To be sent as JSON. */
  readonly body: { error: { code: VerifierErrorCode; message: string } }

  /** @param cause why keys or issuer could not be had; AUTH_UNAVAILABLE only */
  constructor(code: VerifierErrorCode, reason: string, cause?: unknown) {
    const { status, message } = ERRORS[code]
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    this.reason = reason
    this.status = status
    this.headers = status === 503 ? { 'retry-after': '1' } : { 'www-authenticate': challenge(status, reason, message) }
    this.body = { error: { code, message } }
  }

  /** The whole answer, where such objects are used: Next, Bun, Deno, and Hono's own error handler. */
  getResponse(): Response {
    return Response.json(this.body, this)
  }
}

/** The reason of a request that shows none. */
export const NO_TOKEN = 'no token'

/** What was wrong with the token, or, when there was none, only that one is wanted. */
function challenge(status: 401 | 403, reason: string, message: string): string {
  if (reason === NO_TOKEN) return 'Bearer realm="auth"'
  const error = status === 403 ? 'insufficient_scope' : 'invalid_token'
  return `Bearer realm="auth", error="${error}", error_description="${message}"`
}
