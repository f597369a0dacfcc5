/** What an access token says (the contract's `access_token.claims`). */
/** Frozen, since one object answers every request that shows the same token. */
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
