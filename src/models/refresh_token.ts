/** How a refresh token and its idempotency key are known to the database; SHA-256 each. */
export interface TokenHashes {
  /** Of the token's first 16 bytes, which stay the same for the whole session. */
  family: Buffer
  /** Of all 48 bytes. */
  token: Buffer
  attempt: Buffer | null
}

/** One session, a row of `refresh_tokens`, as far as a login or a rotation tells of it. */
export interface Session {
  /** The sid claim. */
  id: string
  user_id: string
  expires_in_seconds: number
}

/** A session found by any of its tokens, and where the presented one stands in it. */
export interface PresentedSession extends Session {
  is_revoked: boolean
  is_expired: boolean
  is_live: boolean
  /** The token just replaced, with the idempotency key of that rotation or within the grace. */
  is_repetition: boolean
  /** 32 bytes; what the live token was derived with. */
  rotation_salt: Buffer
}
