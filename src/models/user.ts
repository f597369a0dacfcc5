/** What users are told of themselves. */
export interface PublicUser {
  id: string
  /** As registered; compared without regard to case. */
  email: string
  email_verified: boolean
}

/** A row of `users`, as far as it is read. */
export interface User extends PublicUser {
  password_hash: string
}
