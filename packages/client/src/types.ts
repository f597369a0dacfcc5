/** What goes in and out of a client. */
import type { AuthErrorCode } from './errors.ts'

/** The platform's own `fetch`, whichever library declares it: the DOM's, Node's or React Native's. */
export type Fetch = typeof globalThis extends { fetch: infer Own extends (...parameters: never[]) => unknown }
  ? (...parameters: Parameters<Own>) => ReturnType<Own>
  : (input: string, init?: object) => Promise<unknown>

/** The platform's own `AbortSignal`, likewise. */
export type Signal = typeof globalThis extends { AbortSignal: { prototype: infer Own } } ? Own : object

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

/** A place for one text that outlives the app: a keychain, a file. Its functions must not call the client. */
export interface TokenStore {
  /** @returns what was saved last, or null or undefined */
  load(): string | null | undefined | Promise<string | null | undefined>
  /** Keeps the text, a secret of some 200 characters. Must have it safe before the promise resolves. */
  save(text: string): void | Promise<void>
  clear(): void | Promise<void>
}

export interface Credentials {
  email: string
  password: string
  /** Overrules the client's own `encrypt`. */
  encrypt?: boolean
}

export interface Waiting {
  /** Ends the waiting; the call then fails with CLIENT_ABORTED. Others who wait for the same thing still get it. */
  signal?: Signal | undefined
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

export interface Encrypted {
  __front_enc__: {
    kid: string
    alg: 'RSA-OAEP-256'
    enc: 'A256GCM'
    /** The AES key, encrypted to the published key; base64url. */
    cek: string
    /** 12 bytes, base64url. */
    iv: string
    /** Ciphertext and 16-byte tag, base64url. */
    ct: string
  }
}

/** What happens to a session, in whichever tab. */
export interface AuthChange {
  kind: 'loggedIn' | 'refreshed' | 'ended'
  /** The new ones, unless it has ended. */
  tokens?: Tokens
  /** Why the server ended the session; absent after a logout. */
  reason?: AuthErrorCode
}

/** Who is logged in, for user interfaces. `unknown` until the first answer, and while it cannot be had. */
export type AuthState =
  | { status: 'unknown' }
  /** `reason`: why the server ended the session; absent after a logout. */
  | { status: 'loggedOut'; reason?: AuthErrorCode }
  | { status: 'loggedIn'; user: User }

export interface AuthClient {
  /**
   * Creates an account, and logs nobody in.
   * @throws {AuthClientError} AUTH_BAD_REQUEST naming the rule that is broken, AUTH_EMAIL_TAKEN, AUTH_RATE_LIMIT,
   *   AUTH_UNAVAILABLE, or a client code
   */
  register(credentials: Credentials): Promise<User>

  /**
   * Logs in, in place of whoever was logged in before.
   * @throws {AuthClientError} AUTH_INVALID_CREDENTIALS, AUTH_EMAIL_NOT_VERIFIED, AUTH_BAD_REQUEST, AUTH_RATE_LIMIT,
   *   AUTH_UNAVAILABLE, or a client code
   */
  login(credentials: Credentials, waiting?: Waiting): Promise<Tokens>

  /**
   * Logs out here and in the other tabs at once, then at the server, trying again as `refresh` does.
   * @throws {AuthClientError} AUTH_UNAVAILABLE, AUTH_RATE_LIMIT, AUTH_FORBIDDEN or a client code when the server could
   *   not be told: here nobody is logged in any more, but the session may live on there
   */
  logout(): Promise<void>

  /**
   * Gets a new access token now; whoever else asks meanwhile, in any tab, gets the same one. Rarely needed, since a
   * refresh comes by itself before the access token expires.
   * @throws {AuthClientError} AUTH_TOKEN_REVOKED, AUTH_TOKEN_EXPIRED or AUTH_REFRESH_NOT_FOUND when the session is
   *   over, CLIENT_ABORTED when another has taken its place or a logout came first; any other code leaves it as it is
   */
  refresh(waiting?: Waiting): Promise<Tokens>

  /**
   * The user that is logged in, as the server knows it. When nobody is, the server is not asked.
   * @throws {AuthClientError} AUTH_TOKEN_INVALID, _EXPIRED or _REVOKED when nobody is, AUTH_UNAVAILABLE, a client code
   */
  me(waiting?: Waiting): Promise<User>

  /**
   * A token that is still valid, another tab's or a new one if need be; null when nobody is logged in.
   * @throws {AuthClientError} when there is a session, but no valid token can be had for now
   */
  getAccessToken(waiting?: Waiting): Promise<string | null>

  /**
   * The standard `fetch`, with the access token added; after a 401, once more with a new one, unless the token was new
   * already. For servers that may see the token, and no others. Its `signal` holds while it waits for a token.
   * @throws {AuthClientError} when there is a session, but no valid token can be had for now
   * @throws {TypeError} when `fetch` itself does, and the reason of the signal
   */
  fetch: Fetch

  /** For so many seconds the access token at hand is valid; 0 without one. */
  readonly remainingSeconds: number

  /** Who is logged in. It is found out when somebody subscribes; the same object until it changes. */
  readonly state: AuthState

  /**
   * Calls the listener when `state` has changed; fit for React's `useSyncExternalStore`.
   * @returns a function that ends that
   */
  subscribe(listener: () => void): () => void

  /**
   * Calls the listener when somebody has logged in, when there are new tokens, and when the session has ended, here or
   * in another tab.
   * @returns a function that ends that
   */
  onAuthChange(listener: (change: AuthChange) => void): () => void

  /**
   * The data as the server's `__front_enc__` wants it, with `iat` and `jti` inside, for those who send it themselves.
   * @throws {AuthClientError} CLIENT_CANNOT_ENCRYPT, or what fetching the published keys met
   */
  encrypt(data: object): Promise<Encrypted>

  /** Ends timers, requests and listening. The session stays; another client may go on with it. */
  dispose(): void
}
