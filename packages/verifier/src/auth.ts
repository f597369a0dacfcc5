/** What a good token tells, and who tells it. */

/** Who sends a request. Frozen, since one object answers every request that shows the same token. */
export interface Auth {
  /** A UUID. */
  readonly userId: string
  /** Epoch seconds. */
  readonly expiresAt: number
  /** Of the access token, a UUID. */
  readonly tokenId: string
  /** A UUID; from `createVerifier` only. */
  readonly sessionId?: string
  /** From `createRemoteVerifier` only. */
  readonly email?: string
  /** From `createRemoteVerifier` only. */
  readonly emailVerified?: boolean
  /** From `createVerifier` only. */
  readonly claims?: AccessClaims
}

/** What an access token says (the contract's `access_token.claims`). */
export interface AccessClaims {
  /** User id, a UUID. */
  readonly sub: string
  /** Session id, a UUID. */
  readonly sid: string
  readonly iss: string
  readonly aud: string
  /** Epoch seconds. */
  readonly iat: number
  /** Epoch seconds. */
  readonly exp: number
  /** Token id, a UUID. */
  readonly jti: string
  /** What the issuer may add. */
  readonly [claim: string]: unknown
}

/** One serves a whole process. */
export interface Verifier {
  /**
   * @param token compact JWE (RFC 7516), without "Bearer"
   * @throws {VerifierError} AUTH_UNAVAILABLE when nothing can be known about it, AUTH_TOKEN_EXPIRED past its time,
   *   AUTH_TOKEN_REVOKED after a logout (`createRemoteVerifier` only), AUTH_TOKEN_INVALID for everything else
   */
  verify(token: string): Promise<Auth>
  /**
   * Resolves once tokens can be verified, for a start or a health check. Without it the first token finds out.
   * @throws {VerifierError} AUTH_UNAVAILABLE, whose `cause` says why
   */
  ready(): Promise<void>
}
