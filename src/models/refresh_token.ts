/** How a refresh token and its idempotency key are known to the database; SHA-256 each. */
export interface TokenHashes {
  /** Of the token's first 16 bytes, which stay the same for the whole session. */
  family: Buffer
  /** Of all 48 bytes. */
  token: Buffer
  attempt: Buffer | null
}

/** What a rotation stores of the successor: its SHA-256, and the 32 bytes that it was derived with. */
export interface NextToken {
  hash: Buffer
  salt: Buffer
}

/** One session, a row of `refresh_tokens`, as far as a login or a rotation tells of it. */
export interface Session {
  /** The sid claim. */
  id: string
  user_id: string
  expires_in_seconds: number
}

/** A session found by any of its tokens. */
export interface PresentedSession extends Session {
  /** Of the session, or of the presented token in it: `repeated` is the token just replaced, shown with the
   * idempotency key of that rotation or within the grace; `reused` is every other that is not live. */
  standing: 'revoked' | 'expired' | 'live' | 'repeated' | 'reused'
  /** 32 bytes; what the live token was derived with. */
  rotation_salt: Buffer
}
