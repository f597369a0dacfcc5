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
  /** A logout, another login, `dispose` or the caller's own signal came first. */
  | 'CLIENT_ABORTED'
  /** The store's own function threw; `cause` is what. */
  | 'CLIENT_STORE'
  /** No `crypto.getRandomValues` here: React Native needs a polyfill. Nothing has been sent. */
  | 'CLIENT_UNSUPPORTED'
  /** Encryption was asked for, but there is no WebCrypto (a page that is not served by HTTPS), or no published key. */
  | 'CLIENT_CANNOT_ENCRYPT'

export type AuthErrorCode = ServerErrorCode | ClientErrorCode

export class AuthClientError extends Error {
  override readonly name = 'AuthClientError'
  declare readonly code: AuthErrorCode
  /** The HTTP status, or 0 when there was no answer. */
  declare readonly status: number
  /** How long the server asks to wait, in seconds; undefined when it does not. */
  declare readonly retryAfterSeconds: number | undefined

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
    Object.assign(this, { code, status, retryAfterSeconds })
  }
}

/** @param cause the reason of the caller's own signal */
export function aborted(cause?: unknown): AuthClientError {
  return new AuthClientError('CLIENT_ABORTED', 'a logout, login, dispose or signal came first', { cause })
}

/** The three answers that end a session; nothing else does. */
const ENDINGS: readonly AuthErrorCode[] = ['AUTH_TOKEN_REVOKED', 'AUTH_TOKEN_EXPIRED', 'AUTH_REFRESH_NOT_FOUND']

export function endsTheSession(error: unknown): error is AuthClientError {
  return ENDINGS.includes(codeOf(error) as AuthErrorCode)
}

/** Whether the answer may come when the same request is made again: it was lost, or the server was unwell. */
export function isTemporary(error: unknown): error is AuthClientError {
  const { code, status } = error as AuthClientError
  if (code === 'CLIENT_NETWORK' || code === 'CLIENT_TIMEOUT' || status >= 500) return true
  return code === 'CLIENT_BAD_ANSWER' && status < 400
}

/** @returns undefined for another's error */
export function codeOf(error: unknown): AuthErrorCode | undefined {
  return error instanceof AuthClientError ? error.code : undefined
}
