/** Logs in, and stays logged in: refreshes in time, one at a time, and so that a lost answer loses nothing. */
import { createEncryptor, type Encrypted } from './encrypt.ts'
import { AuthClientError, type AuthErrorCode, aborted, endsTheSession } from './errors.ts'
import { createExclusively } from './exclusive.ts'
import { type Answer, createSend } from './http.ts'
import type { Page } from './page.ts'
import { randomText } from './random.ts'
import { repeatedly } from './repeat.ts'
import { startCountdown } from './stopwatch.ts'
import type { AuthClientOptions, AuthState, Credentials, Tokens, User } from './types.ts'
import { openVault, type SessionRecord } from './vault.ts'

export type AuthClient = ReturnType<typeof createClient>

/** What the tabs tell each other. No refresh token is ever among it. */
type Message =
  | { kind: 'login' | 'refresh'; label: string; tokens: Tokens }
  | { kind: 'logout'; label: string | undefined; reason?: AuthErrorCode }

interface Session {
  label: string
  tokens?: Tokens
  /** Of the access token. */
  remainingMs: () => number
}

/** Refresh so long before the token expires, but not before this part of its lifetime is over. */
const REFRESH_AHEAD_SECONDS = 60
const REFRESH_AFTER_PART = 0.8
/** A token this close to its end is not handed out any more. */
const LEEWAY_SECONDS = 5
/** The pause after a refresh that failed for now, and after a 429 that names none. */
const PAUSE_SECONDS = 30
const LONGEST_TIMER_MS = 2 ** 31 - 1

export function createClient(
  {
    baseUrl,
    encrypt: encryptsByDefault = false,
    store,
    fetch = (...parameters) => globalThis.fetch(...parameters),
    requestTimeoutSeconds = 10,
    attempts = 4,
    retryDelaySeconds = 0.5,
  }: AuthClientOptions,
  openPage: (name: string) => Page,
) {
  const root = baseUrl.replace(/\/+$/, '')
  const name = `cerrojo:${absolute(root)}`
  const page = openPage(name)
  const vault = openVault(name, page, store)
  const exclusively = createExclusively(page, name, 2 * requestTimeoutSeconds * 1000)
  const disposal = new AbortController()
  const send = createSend({
    baseUrl: root,
    fetch,
    credentials: store ? 'omit' : 'include',
    requestTimeoutSeconds,
    disposal: disposal.signal,
  })
  const encryptor = createEncryptor(send)
  const patience = { attempts, retryDelaySeconds }
  const listeners = new Set<(state: AuthState) => void>()

  let session: Session | undefined
  let refreshing: Promise<Tokens> | undefined
  let leaving: Promise<void> | undefined
  let refreshes = new AbortController()
  let logins = new AbortController()
  let timer: ReturnType<typeof setTimeout> | undefined
  /** How long a 429 still forbids to ask again. */
  let restMs = () => 0
  /** Why the server ended the last session. */
  let endedBy: AuthErrorCode | undefined
  let toldLabel: string | undefined

  /**
   * Creates an account, and logs nobody in.
   * @throws {AuthClientError} AUTH_BAD_REQUEST naming the rule that is broken, AUTH_EMAIL_TAKEN, AUTH_RATE_LIMIT,
   *   AUTH_UNAVAILABLE, or a client code
   */
  async function register(credentials: Credentials): Promise<User> {
    return (await sendCredentials('/auth/register', credentials)).body as User
  }

  /**
   * Logs in, in place of whoever was logged in before.
   * @throws {AuthClientError} AUTH_INVALID_CREDENTIALS, AUTH_EMAIL_NOT_VERIFIED, AUTH_BAD_REQUEST, AUTH_RATE_LIMIT,
   *   AUTH_UNAVAILABLE, or a client code
   */
  async function login(credentials: Credentials): Promise<Tokens> {
    const { signal } = logins
    const tokens = await exclusively(async () => {
      if (signal.aborted) throw aborted()
      const tokens = tokensIn(await sendCredentials('/auth/login', credentials, signal))
      if (store && !tokens.refresh_token)
        throw new AuthClientError('CLIENT_BAD_ANSWER', 'the token came in a cookie, so the store stays empty', {
          status: 200,
        })
      const record = { label: randomText(), key: randomText(), refresh_token: tokens.refresh_token }
      if (signal.aborted) throw aborted()
      await vault.save(record)
      if (signal.aborted) throw aborted()
      enter(record.label, tokens)
      share('login', record, tokens)
      return tokens
    })
    tell()
    return tokens
  }

  /**
   * Logs out here and in the other tabs at once, then at the server, trying again as `refresh` does.
   * @throws {AuthClientError} AUTH_UNAVAILABLE, AUTH_RATE_LIMIT, AUTH_FORBIDDEN or a client code when the server could
   *   not be told: here nobody is logged in any more, but the session may live on there
   */
  function logout(): Promise<void> {
    const done = logoutNow()
    leaving = done.catch(() => undefined)
    return done
  }

  async function logoutNow(): Promise<void> {
    logins.abort()
    if (!disposal.signal.aborted) logins = new AbortController()
    const label = session?.label
    leave()
    // Both at once, so that nobody finds the record in between.
    const [record] = await Promise.all([vault.load(), vault.clear()])
    post({ kind: 'logout', label: label ?? record?.label })
    tell()
    const token = record?.refresh_token
    if (store && !token) return
    await repeatedly(patience, disposal.signal, () =>
      exclusively(async () => {
        const later = await vault.load()
        // By its cookie a later login would be logged out. A refresh can only have found the session that is to end.
        if (!token && later && !later.isFound) return
        await send('POST', '/auth/logout', { body: { refresh_token: token }, keepalive: true }).catch((error) => {
          if (!endsTheSession(error)) throw error
        })
        if (!later?.isFound) return
        await vault.clear()
        post({ kind: 'logout', label: later.label })
      }),
    )
  }

  /**
   * Gets a new access token now; whoever else asks meanwhile, in any tab, gets the same one.
   * @throws {AuthClientError} AUTH_TOKEN_REVOKED, AUTH_TOKEN_EXPIRED or AUTH_REFRESH_NOT_FOUND when the session is over,
   *   CLIENT_ABORTED when another has taken its place or a logout came first; any other code leaves it as it is
   */
  function refresh(): Promise<Tokens> {
    if (refreshing) return refreshing
    const running = refreshNow(refreshes.signal).finally(() => {
      if (refreshing === running) refreshing = undefined
      tell()
    })
    refreshing = running
    return running
  }

  async function refreshNow(signal: AbortSignal): Promise<Tokens> {
    // Until the server has heard of a logout, the cookie would bring the session back.
    if (!session) await leaving
    const before = session?.tokens
    const known = await vault.load()
    if (known && !signal.aborted) session ??= { label: known.label, remainingMs: () => 0 }
    // Whoever has a session must still find one remembered when the turn comes, or else another tab has logged out.
    const expected = session?.label
    return repeatedly(patience, signal, () =>
      exclusively(async () => {
        if (signal.aborted) throw aborted()
        const quicker = session?.tokens !== before && session?.tokens
        return quicker || rotate(signal, expected)
      }),
    )
  }

  /**
   * Whatever gets lost on the way, the token that the next request carries is the live one or the one just replaced, and
   * for the latter the vault still holds the key that replaced it. So the key is stored before the server sees it, and
   * gives way to a new one only after the answer, and only if nobody else did that. A cookie needs turns for this: the
   * late answer to whoever went without one sets an older cookie in place of the newer.
   */
  async function rotate(signal: AbortSignal, expected: string | undefined): Promise<Tokens> {
    refuseWhileResting()
    const known = await vault.load()
    if (expected && !known) throw overtaken(expected)
    const record: SessionRecord = known ?? { label: randomText(), key: randomText(), isFound: true }
    const token = record.refresh_token
    if (signal.aborted) throw aborted()
    if (store && !token)
      throw await over(record, signal, new AuthClientError('AUTH_REFRESH_NOT_FOUND', 'no refresh token in the store'))
    if (!known) await vault.save(record)

    let tokens: Tokens
    try {
      const headers = { 'Idempotency-Key': record.key }
      tokens = tokensIn(await send('POST', '/auth/token/refresh', { body: { refresh_token: token }, headers, signal }))
    } catch (error) {
      if (error instanceof AuthClientError && error.status === 429)
        restMs = startCountdown(error.retryAfterSeconds ?? PAUSE_SECONDS)
      throw endsTheSession(error) ? await over(record, signal, error) : error
    }

    const latest = await vault.load()
    if (signal.aborted) throw aborted()
    if (latest?.label !== record.label) throw overtaken(record.label)
    if (latest.key === record.key)
      await vault.save({ ...record, key: randomText(), refresh_token: token && tokens.refresh_token })
    if (signal.aborted) throw aborted()
    enter(record.label, tokens)
    share('refresh', record, tokens)
    return tokens
  }

  /** Another tab has logged out or in: gives the session up, and answers the error to throw. */
  function overtaken(label: string): AuthClientError {
    leaveIfStill(label)
    return aborted()
  }

  /** The server has ended the session: forgets it, unless another has begun, and answers the error to throw. */
  async function over(record: SessionRecord, signal: AbortSignal, error: AuthClientError): Promise<AuthClientError> {
    const latest = await vault.load()
    if (signal.aborted) return aborted()
    if (latest && latest.label !== record.label) return overtaken(record.label)
    await vault.clear()
    leaveIfStill(record.label, error.code)
    post({ kind: 'logout', label: record.label, reason: error.code })
    return error
  }

  /**
   * A token that is still valid, refreshed if need be; null when nobody is logged in.
   * @throws {AuthClientError} when there is a session, but no valid token can be had for now
   */
  async function getAccessToken(): Promise<string | null> {
    const leewayMs = Math.min(LEEWAY_SECONDS, (session?.tokens?.expires_in ?? 0) / 10) * 1000
    if (session?.tokens && session.remainingMs() > leewayMs) return session.tokens.access_token
    if (!session && !(await vault.load())) return null
    try {
      return (await refresh()).access_token
    } catch (error) {
      // Perhaps that of another login, which came first.
      if (session?.tokens && session.remainingMs() > 0) return session.tokens.access_token
      if (isOver(error)) return null
      throw error
    }
  }

  /** Another token than the one that was just refused; null when the session is over. */
  async function replaceAccessToken(refused: string): Promise<string | null> {
    if (session?.tokens && session.tokens.access_token !== refused) return session.tokens.access_token
    try {
      return (await refresh()).access_token
    } catch (error) {
      if (isOver(error)) return session?.tokens?.access_token ?? null
      throw error
    }
  }

  /**
   * The user that is logged in.
   * @throws {AuthClientError} AUTH_TOKEN_INVALID, _EXPIRED or _REVOKED when nobody is, AUTH_UNAVAILABLE, a client code
   */
  async function me(): Promise<User> {
    const ask = async (token: string | null) => {
      const headers: Record<string, string> = token ? { Authorization: `Bearer ${token}` } : {}
      return (await send('GET', '/auth/me', { headers })).body as User
    }
    const token = await getAccessToken()
    try {
      return await ask(token)
    } catch (error) {
      const isRefused = error instanceof AuthClientError && error.status === 401
      const next = token && isRefused ? await replaceAccessToken(token) : null
      if (!next) throw error
      return ask(next)
    }
  }

  /**
   * The standard `fetch`, with the access token added; after a 401, once more with a new one. For servers that may see
   * the token, and no others.
   * @throws {AuthClientError} when there is a session, but no valid token can be had for now
   * @throws {TypeError} when `fetch` itself does
   */
  async function fetchWithToken(input: string | URL | Request, init?: RequestInit): Promise<Response> {
    const request = new Request(input, init)
    const spare = request.clone()
    const token = await getAccessToken()
    const response = await fetch(withToken(request, token))
    const next = token && response.status === 401 ? await replaceAccessToken(token).catch(() => null) : null
    if (!next) return response
    await response.body?.cancel()
    return fetch(withToken(spare, next))
  }

  /**
   * Calls the listener whenever somebody logs in or out, here or in another tab.
   * @returns a function that ends that
   */
  function onAuthChange(listener: (state: AuthState) => void): () => void {
    listeners.add(listener)
    return () => listeners.delete(listener)
  }

  /** Ends timers, requests and listening. The session stays; another client may go on with it. */
  function dispose(): void {
    disposal.abort()
    listeners.clear()
    leave()
    logins.abort()
    page.channel?.close()
  }

  function sendCredentials(path: string, { encrypt = encryptsByDefault, ...data }: Credentials, signal?: AbortSignal) {
    const { email, password } = data
    const sendBody = (body: object) => send('POST', path, { body, signal })
    return encrypt ? encryptor.sendEncrypted({ email, password }, sendBody) : sendBody({ email, password })
  }

  function refuseWhileResting(): void {
    const seconds = Math.ceil(restMs() / 1000)
    if (seconds > 0)
      throw new AuthClientError('AUTH_RATE_LIMIT', 'the server has asked to wait', {
        status: 429,
        retryAfterSeconds: seconds,
      })
  }

  function enter(label: string, tokens: Tokens): void {
    const lifetimeSeconds = tokens.expires_in
    session = { label, tokens, remainingMs: startCountdown(lifetimeSeconds) }
    restMs = () => 0
    endedBy = undefined
    // Varied, so that one tab is the first and the others get its result.
    const latestSeconds = Math.max(lifetimeSeconds - REFRESH_AHEAD_SECONDS, lifetimeSeconds * REFRESH_AFTER_PART)
    planRefresh(latestSeconds * (1 - Math.random() / 10))
  }

  function leave(reason?: AuthErrorCode): void {
    refreshes.abort()
    if (!disposal.signal.aborted) refreshes = new AbortController()
    refreshing = undefined
    session = undefined
    endedBy = reason
    clearTimeout(timer)
  }

  function leaveIfStill(label: string, reason?: AuthErrorCode): void {
    if (!session || session.label === label) leave(reason)
  }

  function planRefresh(seconds: number): void {
    clearTimeout(timer)
    timer = setTimeout(
      () =>
        refresh().catch((error: AuthClientError) => {
          if (session) planRefresh(Math.max(PAUSE_SECONDS, error.retryAfterSeconds ?? 0))
        }),
      Math.min(seconds * 1000, LONGEST_TIMER_MS),
    )
    // Node would not end for it.
    if (typeof timer === 'object') (timer as { unref(): void }).unref()
  }

  function tell(): void {
    const loggedIn = session?.tokens && session.label
    if (loggedIn === toldLabel) return
    toldLabel = loggedIn
    const state: AuthState = loggedIn
      ? { isLoggedIn: true }
      : { isLoggedIn: false, ...(endedBy && { reason: endedBy }) }
    for (const listener of listeners) queueMicrotask(() => listeners.has(listener) && listener(state))
  }

  /** A token that stays in this page's memory alone is no business of the other tabs. */
  function share(kind: 'login' | 'refresh', record: SessionRecord, { refresh_token, ...tokens }: Tokens): void {
    if (store || !refresh_token) post({ kind, label: record.label, tokens })
  }

  function post(message: Message): void {
    if (!disposal.signal.aborted) page.channel?.postMessage(message)
  }

  async function receive(message: Message): Promise<void> {
    const { signal } = refreshes
    if (message.kind === 'logout') {
      if (session?.label === message.label) leave(message.reason)
    } else {
      const isOurs = message.kind === 'refresh' ? session?.label === message.label : await concernsUs(message.label)
      // A logout here may have come first.
      if (isOurs && !signal.aborted) enter(message.label, message.tokens)
    }
    tell()
  }

  /** All tabs have the same cookies, but not every client the same store. */
  async function concernsUs(label: string): Promise<boolean> {
    return !store || (await vault.load())?.label === label
  }

  // A store that cannot be read is reported to whoever calls next.
  if (page.channel) page.channel.onmessage = ({ data }) => void receive(data).catch(() => undefined)

  return {
    register,
    login,
    logout,
    refresh,
    me,
    getAccessToken,
    fetch: fetchWithToken,
    onAuthChange,
    dispose,
    /**
     * The data as the server's `__front_enc__` wants it, with `iat` and `jti` inside, for those who send it themselves.
     * @throws {AuthClientError} CLIENT_CANNOT_ENCRYPT, or what fetching the published keys met
     */
    encrypt: (data: object): Promise<Encrypted> => encryptor.encrypt(data),
  }
}

/** However a page writes the address, its tabs must meet under one name. */
function absolute(root: string): string {
  return typeof document === 'undefined' ? root : new URL(root || '/', document.baseURI).href
}

/** @throws {AuthClientError} CLIENT_BAD_ANSWER for a 200 that some gateway made up */
function tokensIn({ body }: Answer): Tokens {
  const tokens = body as Tokens
  if (typeof tokens.access_token !== 'string' || !(tokens.expires_in > 0))
    throw new AuthClientError('CLIENT_BAD_ANSWER', 'a 200 without a token', { status: 200 })
  return tokens
}

function isOver(error: unknown): boolean {
  return endsTheSession(error) || (error instanceof AuthClientError && error.code === 'CLIENT_ABORTED')
}

function withToken(request: Request, token: string | null): Request {
  if (token) request.headers.set('Authorization', `Bearer ${token}`)
  return request
}
