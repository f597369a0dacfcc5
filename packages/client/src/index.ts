/** @cerrojo/client: an authentication client for browsers, native apps and Node. */
import { type AuthClient, createClient } from './client.ts'
import { openPage } from './page.ts'
import type { AuthClientOptions } from './types.ts'

export type { AuthClient } from './client.ts'
export type { Encrypted } from './encrypt.ts'
export { AuthClientError, type AuthErrorCode, type ClientErrorCode, type ServerErrorCode } from './errors.ts'
export type { AuthClientOptions, AuthState, Credentials, Fetch, Tokens, User } from './types.ts'
export type { TokenStore } from './vault.ts'

/** A client for one server. Touches nothing of the page before it is called, so it can be imported anywhere. */
export function createAuthClient(options: AuthClientOptions): AuthClient {
  return createClient(options, openPage)
}
