/** Types that every layer shares, and the one error that the service throws. */
import type { EventDetails, EventName } from './event.ts'

/** The contract's error codes: what each answers, and the message where none is more exact. */
export const ERRORS = {
  AUTH_BAD_REQUEST: { status: 400, message: 'The request cannot be read' },
  AUTH_INVALID_CREDENTIALS: { status: 401, message: 'The email or the password is wrong' },
  AUTH_TOKEN_INVALID: { status: 401, message: 'The access token is missing or not valid' },
  AUTH_TOKEN_EXPIRED: { status: 401, message: 'The token has expired' },
  AUTH_TOKEN_REVOKED: { status: 401, message: 'The session has been revoked' },
  AUTH_REFRESH_NOT_FOUND: { status: 401, message: 'There is no such refresh token' },
  AUTH_EMAIL_NOT_VERIFIED: { status: 403, message: 'The email is not verified' },
  AUTH_FORBIDDEN: {
    status: 403,
    message: 'The request comes from a foreign origin, neither our own nor in AUTH_CORS_ORIGINS',
  },
  AUTH_EMAIL_TAKEN: { status: 409, message: 'The email is already registered' },
  AUTH_RATE_LIMIT: { status: 429, message: 'Too many attempts, try again later' },
  AUTH_INTERNAL: { status: 500, message: 'Something went wrong on our side' },
  AUTH_UNAVAILABLE: { status: 503, message: 'The service is overloaded or without its database, try again' },
}
export type AuthErrorCode = keyof typeof ERRORS

/** A refusal that the client is told. Its message, where one is given, names a field or a rule and holds no secret. */
export class AuthError extends Error {
  readonly code: AuthErrorCode
  /** Answered as Retry-After. */
  readonly retryAfterSeconds: number | undefined
  /** Of AUTH_RATE_LIMIT: which limit, for the log. */
  readonly limit: string | undefined

  constructor(code: AuthErrorCode, options: AuthErrorOptions = {}) {
    super(options.message ?? ERRORS[code].message, { cause: options.cause })
    this.code = code
    this.retryAfterSeconds = options.retryAfterSeconds
    this.limit = options.limit
  }
}

interface AuthErrorOptions {
  message?: string
  retryAfterSeconds?: number
  limit?: string
  cause?: unknown
}

/** Who sent a request. */
export interface Client {
  /** The IP address in its shortest form. */
  ip: string
  /** What rate limits count by: the IPv4 address, or the /64 of an IPv6 address. */
  network: string
  /** What one customer of a provider may have: the IPv4 address, or the /48 of an IPv6 address. */
  wideNetwork: string
  /** At most 512 characters. */
  userAgent: string | undefined
  /** Whether the connection is closed, so that nobody reads an answer any more. */
  isGone(): boolean
  /** Writes the event to the log, with the request's id and who sent it. */
  tell(event: EventName, details?: EventDetails): void
}

export interface Credentials {
  email: string
  password: string
  /** Of an encrypted body: its token id, to be used once. */
  jti?: string | undefined
}

export interface Tokens {
  accessToken: string
  accessExpiresInSeconds: number
  /** 64 characters of base64url. */
  refreshToken: string
  refreshExpiresInSeconds: number
}

/** Where lines for the operator go; what a line is about stands in its fields. */
export type Log = Record<'error' | 'warn' | 'info', (fields: object | string, message?: string) => void>
