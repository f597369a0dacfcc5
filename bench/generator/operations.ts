/** The requests that are sent, and how each answer is checked. */
import { randomUUID } from 'node:crypto'
import { ADAPTERS } from '../peers/adapters.ts'
import { sessionIn } from '../peers/oauth.ts'
import type { PeerRequest, PeerSession, RunningPeer } from '../peers/running.ts'
import type { Load, OperationOptions } from './load.ts'
import { firstToken } from './sessions.ts'

export const PASSWORD = 'measured7times'
const ACCESS_TOKEN_FORM = /^[\w-]+(\.[\w-]+){4}$/
const REFRESH_TOKEN_FORM = /^[\w-]{64}$/
const JSON_HEADERS = { 'content-type': 'application/json' }

export interface Exchange {
  /** Sent as they are, instead of a request. */
  bytes?: string
  method: 'GET' | 'POST'
  path: string
  headers: Record<string, string>
  body?: string
  /** @returns `refused` when a queue was full, any other text when the answer is wrong */
  check(status: number, text: string, headers: Record<string, string | string[] | undefined>): string | undefined
  /** Called whatever became of it. */
  finish?(): void
}

/** @returns undefined when there is nothing to send now */
export type NextExchange = () => Exchange | undefined

/** Live refresh tokens of sessions that are no longer at their first, by the name of their database. */
const liveTokens = new Map<string, Map<number, string>>()
/** Idempotency-Keys of refreshes that were not answered yet, by database and session. */
const openKeys = new Map<string, string>()
/** Access tokens or session cookies, kept from one load to the next. */
const stores = new Map<string, string[]>()

function storeOf(name: string): string[] {
  const store = stores.get(name) ?? []
  stores.set(name, store)
  return store
}

export function emailOf(user: number): string {
  return `user${user}@example.com`
}

export function createOperation(options: OperationOptions): NextExchange {
  switch (options.name) {
    case 'refresh':
      return refresh(options)
    case 'me':
      return me(storeOf(options.store), options.shown)
    case 'login':
      return login(options.users, options.from)
    case 'jwks':
      return jwks(options.etag)
    case 'signIn':
      return signIn(options.users, options.store)
    case 'getSession':
      return getSession(storeOf(options.store))
    case 'peer':
      return peer(options)
    case 'echo':
      return () => ({
        ...options,
        check: (status, text) =>
          status === options.status && text === options.answer ? undefined : wrong(status, text),
      })
    case 'bytes':
      return () => ({
        ...{ bytes: options.bytes, method: 'GET', path: '', headers: {} },
        check: (status, text) => (status === options.status ? undefined : wrong(status, text)),
      })
  }
}

type OptionsOf<Name> = Extract<Load['operation'], { name: Name }>

function refresh({ sessions, first, count, order, store, isKeyed }: OptionsOf<'refresh'>): NextExchange {
  const tokens = liveTokens.get(sessions) ?? new Map<number, string>()
  liveTokens.set(sessions, tokens)
  const kept = store === undefined ? undefined : storeOf(store)
  if (kept) kept.length = 0
  const free = order === 'turns' ? Array.from({ length: count }, (_, index) => first + index) : []
  const busy = new Set<number>()

  /** Never one that is under way: a token shown twice would end its session. */
  function choose(): number | undefined {
    if (order === 'turns') return free.shift()
    if (busy.size > count / 2) return undefined
    let number: number
    do number = first + Math.floor(Math.random() * count)
    while (busy.has(number))
    return number
  }

  return () => {
    const number = choose()
    if (number === undefined) return undefined
    busy.add(number)
    const presented = tokens.get(number) ?? firstToken(number)
    const place = `${sessions} ${number}`
    const key = openKeys.get(place) ?? randomUUID()
    if (isKeyed) openKeys.set(place, key)
    return {
      method: 'POST',
      path: '/auth/token/refresh',
      headers: isKeyed ? { ...JSON_HEADERS, 'idempotency-key': key } : JSON_HEADERS,
      body: JSON.stringify({ refresh_token: presented }),
      check(status, text) {
        if (status !== 200) return wrong(status, text)
        const { access_token, refresh_token, token_type, expires_in } = JSON.parse(text)
        const isRight =
          ACCESS_TOKEN_FORM.test(access_token) &&
          REFRESH_TOKEN_FORM.test(refresh_token) &&
          refresh_token !== presented &&
          refresh_token.slice(0, 21) === presented.slice(0, 21) &&
          token_type === 'Bearer' &&
          expires_in > 0
        if (!isRight) return wrong(status, text)
        tokens.set(number, refresh_token)
        openKeys.delete(place)
        kept?.push(access_token)
        return undefined
      },
      finish() {
        busy.delete(number)
        if (order === 'turns') free.push(number)
      },
    }
  }
}

function me(store: string[], shown: 'again' | 'once'): NextExchange {
  return () => {
    const token = shown === 'again' ? store[0] : store.pop()
    if (token === undefined) return undefined
    return {
      method: 'GET',
      path: '/auth/me',
      headers: { authorization: `Bearer ${token}` },
      check: (status, text) =>
        status === 200 && /^user\d+@example\.com$/.test(JSON.parse(text).email) ? undefined : wrong(status, text),
    }
  }
}

function login(users: number, from?: string): NextExchange {
  return () => {
    const byte = () => Math.floor(Math.random() * 256)
    const address = from === 'anywhere' ? `10.${byte()}.${byte()}.${byte()}` : from
    const email = emailOf(Math.floor(Math.random() * users))
    return {
      method: 'POST',
      path: '/auth/login',
      headers: address === undefined ? JSON_HEADERS : { ...JSON_HEADERS, 'x-forwarded-for': address },
      body: JSON.stringify({ email, password: PASSWORD }),
      check(status, text) {
        if (status === 503 || status === 429) return 'refused'
        if (status !== 200) return wrong(status, text)
        const { access_token, refresh_token } = JSON.parse(text)
        const isRight = ACCESS_TOKEN_FORM.test(access_token) && REFRESH_TOKEN_FORM.test(refresh_token)
        return isRight ? undefined : wrong(status, text)
      },
    }
  }
}

function jwks(etag?: string): NextExchange {
  const headers: Record<string, string> = etag === undefined ? {} : { 'if-none-match': etag }
  return () => ({
    method: 'GET',
    path: '/.well-known/jwks.json',
    headers,
    check(status, text) {
      if (etag !== undefined) return status === 304 && text === '' ? undefined : wrong(status, text)
      return status === 200 && JSON.parse(text).keys.length === 3 ? undefined : wrong(status, text)
    },
  })
}

function signIn(users: number, storeName?: string): NextExchange {
  const store = storeName === undefined ? undefined : storeOf(storeName)
  return () => {
    const email = emailOf(Math.floor(Math.random() * users))
    return {
      method: 'POST',
      path: '/api/auth/sign-in/email',
      headers: JSON_HEADERS,
      body: JSON.stringify({ email, password: PASSWORD }),
      check(status, text, headers) {
        const cookie = [headers['set-cookie'] ?? []].flat()[0]?.split(';')[0]
        if (status !== 200 || JSON.parse(text).user.email !== email || !cookie) return wrong(status, text)
        store?.push(cookie)
        return undefined
      },
    }
  }
}

function getSession(store: string[]): NextExchange {
  return () => {
    const cookie = store[0]
    if (cookie === undefined) return undefined
    return {
      method: 'GET',
      path: '/api/auth/get-session',
      headers: { cookie },
      check: (status, text) =>
        status === 200 && /^user\d+@example\.com$/.test(JSON.parse(text)?.user?.email)
          ? undefined
          : wrong(status, text),
    }
  }
}

/** Sessions of systems that the reader has running, as their last refresh left them. */
const peerSessions = new Map<string, PeerSession[]>()

function peer({ key, what, settings, basePath, logins }: OptionsOf<'peer'>): NextExchange {
  const { refresh, look, keysPath } = ADAPTERS[key] as RunningPeer
  const free = peerSessions.get(key) ?? logins
  peerSessions.set(key, free)
  const build = (session: PeerSession): PeerRequest | undefined => {
    if (what === 'keys') return { method: 'GET', path: keysPath as string, headers: {} }
    return what === 'refresh' ? refresh?.(session, settings) : look(session, settings)
  }
  return () => {
    let session = free.shift()
    const request = session && build(session)
    if (!session || !request) return undefined
    return {
      ...request,
      path: basePath + request.path,
      check(status, text) {
        if (status !== 200) return wrong(status, text)
        const answer = JSON.parse(text)
        if (what === 'keys') return answer.keys.length > 0 ? undefined : wrong(status, text)
        if (what === 'look') return answer.id || answer.sub ? undefined : wrong(status, text)
        session = sessionIn(answer)
        return answer.access_token && answer.refresh_token ? undefined : wrong(status, text)
      },
      finish: () => session && free.push(session),
    }
  }
}

function wrong(status: number, text: string): string {
  return `${status} ${text.slice(0, 200)}`
}
