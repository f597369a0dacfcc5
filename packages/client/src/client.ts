/** Logs in and out, and puts the parts together that keep somebody logged in. */
import { createAuthorized } from './authorized.ts'
import { createEncryptor, type Encrypted } from './encrypt.ts'
import { AuthClientError, aborted, endsTheSession } from './errors.ts'
import { createExclusively } from './exclusive.ts'
import { createSend, tokensIn } from './http.ts'
import type { Page } from './page.ts'
import { randomText } from './random.ts'
import { repeatedly } from './repeat.ts'
import { createRefresh } from './rotation.ts'
import { createCurrentSession } from './session.ts'
import { openTabs } from './tabs.ts'
import type { AuthClientOptions, Credentials, Tokens, User } from './types.ts'
import { openVault } from './vault.ts'

export type AuthClient = ReturnType<typeof createClient>

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
  const session = createCurrentSession(() => refresh())
  const tabs = openTabs(page.channel, session, vault, store)
  const refresh = createRefresh({
    session,
    tabs,
    vault,
    store,
    exclusively,
    send,
    patience,
    leaving: () => leaving,
  })
  const { getAccessToken, me, fetchWithToken } = createAuthorized({ session, vault, refresh, send, fetch })

  let logins = new AbortController()
  let leaving: Promise<void> | undefined

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
      session.enter(record.label, tokens)
      tabs.share('login', record, tokens)
      return tokens
    })
    session.tell()
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
    const label = session.current?.label
    session.leave()
    // Both at once, so that nobody finds the record in between.
    const [record] = await Promise.all([vault.load(), vault.clear()])
    tabs.shareEnd(label ?? record?.label)
    session.tell()
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
        tabs.shareEnd(later.label)
      }),
    )
  }

  /** Ends timers, requests and listening. The session stays; another client may go on with it. */
  function dispose(): void {
    disposal.abort()
    session.dispose()
    logins.abort()
    tabs.close()
  }

  function sendCredentials(path: string, { encrypt = encryptsByDefault, ...data }: Credentials, signal?: AbortSignal) {
    const { email, password } = data
    const sendBody = (body: object) => send('POST', path, { body, signal })
    return encrypt ? encryptor.sendEncrypted({ email, password }, sendBody) : sendBody({ email, password })
  }

  return {
    register,
    login,
    logout,
    refresh,
    me,
    getAccessToken,
    fetch: fetchWithToken,
    onAuthChange: session.onAuthChange,
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
