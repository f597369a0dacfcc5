/** What is done with an access token, and again with another one when the first was refused. */
import { AuthClientError, endsTheSession } from './errors.ts'
import type { Send } from './http.ts'
import type { CurrentSession } from './session.ts'
import type { Fetch, Tokens, User } from './types.ts'
import type { Vault } from './vault.ts'

interface Parts {
  session: CurrentSession
  vault: Vault
  refresh: () => Promise<Tokens>
  send: Send
  fetch: Fetch
}

/** A token this close to its end is not handed out any more. */
const LEEWAY_SECONDS = 5

export function createAuthorized({ session, vault, refresh, send, fetch }: Parts) {
  /**
   * A token that is still valid, refreshed if need be; null when nobody is logged in.
   * @throws {AuthClientError} when there is a session, but no valid token can be had for now
   */
  async function getAccessToken(): Promise<string | null> {
    const { current } = session
    const leewayMs = Math.min(LEEWAY_SECONDS, (current?.tokens?.expires_in ?? 0) / 10) * 1000
    if (current?.tokens && current.remainingMs() > leewayMs) return current.tokens.access_token
    if (!current && !(await vault.load())) return null
    try {
      return (await refresh()).access_token
    } catch (error) {
      // Perhaps that of another login, which came first.
      const latest = session.current
      if (latest?.tokens && latest.remainingMs() > 0) return latest.tokens.access_token
      if (isOver(error)) return null
      throw error
    }
  }

  /** Another token than the one that was just refused; null when the session is over. */
  async function replaceAccessToken(refused: string): Promise<string | null> {
    const known = session.current?.tokens?.access_token
    if (known && known !== refused) return known
    try {
      return (await refresh()).access_token
    } catch (error) {
      if (isOver(error)) return session.current?.tokens?.access_token ?? null
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

  return { getAccessToken, me, fetchWithToken }
}

function isOver(error: unknown): boolean {
  return endsTheSession(error) || (error instanceof AuthClientError && error.code === 'CLIENT_ABORTED')
}

function withToken(request: Request, token: string | null): Request {
  if (token) request.headers.set('Authorization', `Bearer ${token}`)
  return request
}
