/** What users are told of themselves. */
export interface PublicUser {
  id: string
  /** ASCII, in lower case. */
  email: string
  email_verified: boolean
}

/** A row of `users`, as far as it is read. */
export interface User extends PublicUser {
  password_hash: string
  is_disabled: boolean
}
