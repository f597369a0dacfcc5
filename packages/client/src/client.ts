/** Logs in and out, and puts the parts together that keep somebody logged in. */
import { createAuthorized } from './authorized.ts'
import { encryptTo } from './encrypt.ts'
import { AuthClientError, aborted, endsTheSession } from './errors.ts'
import { createExclusively } from './exclusive.ts'
import { createSend, tokensIn } from './http.ts'
import type { Page } from './page.ts'
import { randomText } from './random.ts'
import { repeatedly, unlessAborted } from './repeat.ts'
import { createRotation } from './rotation.ts'
import { createCurrentSession } from './session.ts'
import { createState } from './state.ts'
import { openTabs } from './tabs.ts'
import type { AuthClient, AuthClientOptions, Credentials, Tokens, User, Waiting } from './types.ts'
import { openVault } from './vault.ts'

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
): AuthClient {
  const root = baseUrl.replace(/\/+$/, '')
  const name = `cerrojo:${absolute(root)}`
  const page = openPage(name)
  const vault = openVault(name, page, store)
  const exclusively = createExclusively(page, name, 2 * requestTimeoutSeconds * 1000)
  const disposal = new AbortController()
  const send = createSend(root, fetch, store ? 'omit' : 'include', requestTimeoutSeconds, disposal.signal)
  const patience = { attempts, retryDelaySeconds }
  const session = createCurrentSession(() => renew())
  const tabs = openTabs(page.channel, session, vault, store)
  const { renew, refresh } = createRotation({
    session,
    tabs,
    vault,
    exclusively,
    send,
    patience,
    hasStore: Boolean(store),
    leaving: () => leaving,
  })
  const { getAccessToken, me, fetchWithToken } = createAuthorized(session, vault, renew, send, fetch)
  const state = createState(session, getAccessToken, me)
  page.onWake?.(session.refreshIfDue, disposal.signal)

  const logins = new Set<AbortController>()
  let leaving: Promise<void> | undefined

  async function register(credentials: Credentials): Promise<User> {
    return (await sendCredentials('/auth/register', credentials)).body as User
  }

  async function login(credentials: Credentials, { signal }: Waiting = {}): Promise<Tokens> {
    const attempt = new AbortController()
    logins.add(attempt)
    try {
      return await unlessAborted(signal, () =>
        unlessAborted(attempt.signal, () => loginNow(credentials, attempt.signal)),
      )
    } finally {
      attempt.abort()
      logins.delete(attempt)
      session.tell()
    }
  }

  function loginNow(credentials: Credentials, signal: AbortSignal): Promise<Tokens> {
    const label = randomText()
    const key = randomText()
    return exclusively(async () => {
      if (signal.aborted) throw aborted()
      const tokens = tokensIn(await sendCredentials('/auth/login', credentials, signal))
      if (store && !tokens.refresh_token)
        throw new AuthClientError('CLIENT_BAD_ANSWER', 'the token came in a cookie', {
          status: 200,
        })
      const record = { label, key, refresh_token: tokens.refresh_token }
      if (signal.aborted) throw aborted()
      await vault.save(record)
      if (signal.aborted) throw aborted()
      session.enter(label, tokens)
      tabs.share('login', label, tokens)
      return tokens
    })
  }

  function logout(): Promise<void> {
    const done = logoutNow()
    leaving = done.catch(() => undefined)
    return done
  }

  async function logoutNow(): Promise<void> {
    for (const login of logins) login.abort()
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

  function dispose(): void {
    disposal.abort()
    state.dispose()
    session.dispose()
    tabs.close()
  }

  async function sendCredentials(path: string, credentials: Credentials, signal?: AbortSignal) {
    const { email, password, encrypt = encryptsByDefault } = credentials
    const data = { email, password }
    return send('POST', path, { body: encrypt ? await encryptTo(send, data) : data, signal })
  }

  return {
    register,
    login,
    logout,
    refresh: ({ signal } = {}) => unlessAborted(signal, refresh),
    me: ({ signal } = {}) => unlessAborted(signal, me),
    getAccessToken: ({ signal } = {}) => unlessAborted(signal, () => getAccessToken()),
    fetch: fetchWithToken,
    get remainingSeconds() {
      return session.remainingMs / 1000
    },
    get state() {
      return state.current
    },
    subscribe: state.subscribe,
    onAuthChange: session.onAuthChange,
    encrypt: (data) => encryptTo(send, data),
    dispose,
  }
}

/** However a page writes the address, its tabs must meet under one name. */
function absolute(root: string): string {
  return typeof document === 'undefined' ? root : new URL(root || '/', document.baseURI).href
}
