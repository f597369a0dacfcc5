/** @cerrojo/client: an authentication client for browsers, native apps and Node. */
import { createClient } from './client.ts'
import { openPage } from './page.ts'
import type { AuthClient, AuthClientOptions } from './types.ts'

export { AuthClientError, type AuthErrorCode, type ClientErrorCode, type ServerErrorCode } from './errors.ts'
export type {
  AuthChange,
  AuthClient,
  AuthClientOptions,
  AuthState,
  Credentials,
  Encrypted,
  Fetch,
  Signal,
  TokenStore,
  Tokens,
  User,
  Waiting,
} from './types.ts'

/**
 * A client for one server, and for one user: a server that renders or asks for many must not share one among them.
 * Touches nothing of the page before it is called, so it can be imported anywhere.
 */
export function createAuthClient(options: AuthClientOptions): AuthClient {
  return createClient(options, openPage)
}
