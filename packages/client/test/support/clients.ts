/** Clients under test: in Node with a store, or as tabs of a browser that shares cookies, storage and messages. */
import { after } from 'node:test'
import { newCredentials } from '../../../../test/support/server.ts'
import { createClient } from '../../src/client.ts'
import { carefully, type Page } from '../../src/page.ts'
import type { AuthClient, AuthClientOptions, TokenStore } from '../../src/types.ts'

/** Quick repetitions, and patience with a slow machine. */
const QUICK = { retryDelaySeconds: 0.005, requestTimeoutSeconds: 60 }

export type Locks = 'Web Locks' | 'leases' | 'no locks'

export interface Browser {
  /** A tab that has this browser's cookies, storage and messages; disposed of when the test file ends. */
  openTab(options?: Partial<AuthClientOptions>): AuthClient
  /** What a page could read: all of localStorage. */
  storage: Map<string, string>
  /** What localStorage does. Whatever comes to a test's mind. */
  localStorage: Pick<Storage, 'getItem' | 'setItem' | 'removeItem'>
  /** The network is back, or the page is looked at again. */
  wake(): void
  /** The refresh token in the cookie jar. */
  cookie: { value: string | undefined }
}

export function memoryStore(): TokenStore & { text: string | null } {
  return {
    text: null,
    async load() {
      return this.text
    },
    async save(text) {
      this.text = text
    },
    async clear() {
      this.text = null
    },
  }
}

/** A client of Node; without further ado the refresh token stays in its memory. */
export function openClient(options: AuthClientOptions): AuthClient {
  const client = createClient({ ...QUICK, ...options }, () => ({}))
  after(() => client.dispose())
  return client
}

export function openBrowser(baseUrl: string, locks: Locks = 'Web Locks'): Browser {
  const storage = new Map<string, string>()
  const cookie: Browser['cookie'] = { value: undefined }
  const scope = crypto.randomUUID()

  const request = async (name: string, options: LockOptions, work: LockGrantedCallback<unknown>) => {
    if (locks === 'no locks') throw new Error('no lock can be had')
    return navigator.locks.request(scope + name, options, work)
  }
  const waking = new EventTarget()
  const page = (name: string): Page => ({
    storage: carefully(() => browser.localStorage),
    channel: openChannel(scope + name),
    onWake: (listener, signal) => waking.addEventListener('wake', listener, { signal }),
    ...(locks !== 'leases' && { locks: { request: request as LockManager['request'] } }),
  })

  const browser: Browser = {
    storage,
    cookie,
    localStorage: {
      getItem: (key) => storage.get(key) ?? null,
      setItem: (key, value) => void storage.set(key, value),
      removeItem: (key) => void storage.delete(key),
    },
    wake: () => void waking.dispatchEvent(new Event('wake')),
    openTab(options = {}) {
      const tab = createClient({ ...QUICK, baseUrl, fetch: withCookie(cookie), ...options }, page)
      after(() => tab.dispose())
      return tab
    },
  }
  return browser
}

export async function registerAndLogIn(client: AuthClient) {
  const credentials = newCredentials()
  await client.register(credentials)
  const tokens = await client.login(credentials)
  return { credentials, tokens }
}

/** The cookie is read when a request leaves and written when the head of its answer comes, as a browser does. */
function withCookie(cookie: Browser['cookie']) {
  return async (input: string | URL | Request, init: RequestInit = {}) => {
    const request = new Request(input, init)
    if (cookie.value) request.headers.set('cookie', `refresh_token=${cookie.value}`)
    const response = await fetch(request)
    for (const header of response.headers.getSetCookie())
      cookie.value = /^refresh_token=([^;]*)/.exec(header)?.[1] || undefined
    return response
  }
}

/** Left open by a test that failed, it must not keep the run from ending. */
function openChannel(name: string): BroadcastChannel {
  const channel = new BroadcastChannel(name)
  ;(channel as unknown as { unref(): void }).unref()
  return channel
}
