/** The one error that a verifier throws, with the contract's codes. */

/** Each code's HTTP status, and the message that a client may be shown. */
export const ERRORS = {
  AUTH_TOKEN_INVALID: { status: 401, message: 'The access token is missing or not valid' },
  AUTH_TOKEN_EXPIRED: { status: 401, message: 'The token has expired' },
  AUTH_UNAVAILABLE: { status: 503, message: 'The keys to check the token with cannot be had, try again' },
} as const

/**
 * - `AUTH_TOKEN_INVALID`: missing, malformed, forged, wrong key, wrong issuer or audience
 * - `AUTH_TOKEN_EXPIRED`: genuine, but past its time
 * - `AUTH_UNAVAILABLE`: nothing is known about the token, since the keys it names could not be fetched or read
 */
export type VerifierErrorCode = keyof typeof ERRORS

/** Neither its message nor its reason ever quotes the token, its claims or a key. */
export class VerifierError extends Error {
  override readonly name = 'VerifierError'
  readonly code: VerifierErrorCode
  /** What an HTTP server answers. */
  readonly status: 401 | 503
  /** The check that failed, for your log; telling it to the client would help whoever forges tokens. */
  readonly reason: string

  /** @param cause why the keys could not be had; AUTH_UNAVAILABLE only */
  constructor(code: VerifierErrorCode, reason: string, cause?: unknown) {
    super(ERRORS[code].message, cause === undefined ? undefined : { cause })
    this.code = code
    this.status = ERRORS[code].status
    this.reason = reason
  }
}
