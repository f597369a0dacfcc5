/** The one error of this package. */

/** What the server answers; the contract says which endpoint answers which. */
export type ServerErrorCode =
  | 'AUTH_BAD_REQUEST'
  | 'AUTH_INVALID_CREDENTIALS'
  | 'AUTH_TOKEN_INVALID'
  | 'AUTH_TOKEN_EXPIRED'
  | 'AUTH_TOKEN_REVOKED'
  | 'AUTH_REFRESH_NOT_FOUND'
  | 'AUTH_EMAIL_NOT_VERIFIED'
  | 'AUTH_FORBIDDEN'
  | 'AUTH_EMAIL_TAKEN'
  | 'AUTH_RATE_LIMIT'
  | 'AUTH_INTERNAL'
  | 'AUTH_UNAVAILABLE'

/** What went wrong on this side of the wire. */
export type ClientErrorCode =
  /** No answer, or one that was cut off: offline, DNS, CORS, a closed connection. Or a redirect: none is followed. */
  | 'CLIENT_NETWORK'
  /** No whole answer within `requestTimeoutSeconds`. */
  | 'CLIENT_TIMEOUT'
  /** An answer that is not the contract's, such as a proxy's error page. */
  | 'CLIENT_BAD_ANSWER'
  /** A logout, another login or `dispose` came first. */
  | 'CLIENT_ABORTED'
  /** Encryption was asked for, but there is no WebCrypto (a page that is not served by HTTPS), or no published key. */
  | 'CLIENT_CANNOT_ENCRYPT'

export type AuthErrorCode = ServerErrorCode | ClientErrorCode

export class AuthClientError extends Error {
  override readonly name = 'AuthClientError'
  readonly code: AuthErrorCode
  /** The HTTP status, or 0 when there was no answer. */
  readonly status: number
  /** How long the server asks to wait, in seconds; undefined when it does not. */
  readonly retryAfterSeconds: number | undefined

  constructor(
    code: AuthErrorCode,
    message: string,
    {
      status = 0,
      retryAfterSeconds,
      cause,
    }: { status?: number; retryAfterSeconds?: number | undefined; cause?: unknown } = {},
  ) {
    super(message, { cause })
    this.code = code
    this.status = status
    this.retryAfterSeconds = retryAfterSeconds
  }
}

export function aborted(): AuthClientError {
  return new AuthClientError('CLIENT_ABORTED', 'a logout, another login or dispose came first')
}

/** The three answers that end a session; nothing else does. */
const ENDINGS: readonly AuthErrorCode[] = ['AUTH_TOKEN_REVOKED', 'AUTH_TOKEN_EXPIRED', 'AUTH_REFRESH_NOT_FOUND']

export function endsTheSession(error: unknown): error is AuthClientError {
  return error instanceof AuthClientError && ENDINGS.includes(error.code)
}

/** Whether the answer may come when the same request is made again: it was lost, or the server was unwell. */
export function isTemporary(error: unknown): error is AuthClientError {
  if (!(error instanceof AuthClientError)) return false
  const gotNoAnswer = error.code === 'CLIENT_NETWORK' || error.code === 'CLIENT_TIMEOUT'
  const gotGarbage = error.code === 'CLIENT_BAD_ANSWER' && error.status < 400
  return gotNoAnswer || gotGarbage || error.status >= 500
}
