/** What goes in and out of a client. */
import type { AuthErrorCode } from './errors.ts'
import type { TokenStore } from './vault.ts'

export type Fetch = (input: string | URL | Request, init?: RequestInit) => Promise<Response>

export interface AuthClientOptions {
  /** Where the endpoints are, without `/auth`: an origin, an origin and a path, or '' for the page's own origin. */
  baseUrl: string
  /** Encrypts the credentials of `register` and `login` before they leave. Default: false. */
  encrypt?: boolean
  /**
   * Where the refresh token is kept by those without a cookie jar: native apps, Node. Default: none; the token then
   * travels in the cookie, or, if the server hands it out in the body, stays in memory.
   */
  store?: TokenStore
  /** Sends the requests. Must obey `signal`, and not call the client. Default: the global `fetch`. */
  fetch?: Fetch
  /** How long an answer may take, in seconds. Default: 10. */
  requestTimeoutSeconds?: number
  /** How often a refresh or logout is tried before it fails, while answers are lost or 5xx. Default: 4. */
  attempts?: number
  /** The pause after the first try, in seconds, doubled after each other, and varied by half. Default: 0.5. */
  retryDelaySeconds?: number
}

export interface Credentials {
  email: string
  password: string
  /** Overrules the client's own `encrypt`. */
  encrypt?: boolean
}

export interface User {
  /** UUID. */
  id: string
  email: string
  email_verified: boolean
}

export interface Tokens {
  access_token: string
  /** Only from a server that hands it out in the body. The client keeps it already. */
  refresh_token?: string
  token_type: 'Bearer'
  /** Seconds that the access token is valid, from when it was issued. */
  expires_in: number
}

export interface AuthState {
  isLoggedIn: boolean
  /** Why the server ended the session; absent after a login or logout. */
  reason?: AuthErrorCode
}
