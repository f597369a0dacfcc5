/** A refresh token, taken apart (contract, `refresh_token.form`). */
export interface RefreshToken {
  /** All 48. */
  bytes: Buffer
  /** The sid claim and the key of the session's row: a UUID of version 8, derived from the token's family. */
  sessionId: string
  /** SHA-256 of all 48 bytes; what the database knows of the token. */
  hash: Buffer
  /** How often its session had been refreshed when it was issued. */
  generation: number
  /** Whether its MAC says that we issued it. */
  isOurs: boolean
}

/** One session, a row of `refresh_tokens`, as far as a login or a rotation tells of it. */
export interface Session {
  /** The sid claim. */
  id: string
  user_id: string
  expires_in_seconds: number
  /** Until its absolute end, which no token of it outlives. */
  ends_in_seconds: number
}

export interface RotatedSession extends Session {
  /** Whether the database had lost a rotation that this token proves. */
  was_ahead: boolean
}

/** A session found by any of its tokens. */
export interface PresentedSession extends Session {
  /** Of the session, or of the presented token in it: `repeated_by_key` is the token just replaced, shown with the
   * idempotency key of that rotation, `repeated_in_grace` the same soon enough, `replaced` the same without a key;
   * `reused` is every other that is not live. */
  standing: 'revoked' | 'expired' | 'live' | 'repeated_by_key' | 'repeated_in_grace' | 'replaced' | 'reused'
  /** SHA-256 of the live token, and the 32 bytes that it was derived with. */
  token_hash: Buffer
  rotation_salt: Buffer
}
