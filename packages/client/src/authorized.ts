/** What is done with an access token, and again with another one when the first was refused. */
import { AuthClientError, codeOf, endsTheSession } from './errors.ts'
import type { Send } from './http.ts'
import { unlessAborted } from './repeat.ts'
import type { CurrentSession } from './session.ts'
import type { Fetch, Tokens, User } from './types.ts'
import type { Vault } from './vault.ts'

/** A token this close to its end is not handed out any more. */
const LEEWAY_SECONDS = 5
/** Whoever refuses a token that was renewed so lately would refuse another one too. */
const FRESH_MS = 30_000

export function createAuthorized(
  session: CurrentSession,
  vault: Vault,
  renew: () => Promise<Tokens>,
  send: Send,
  fetch: Fetch,
) {
  /** Endpoints that refused a fresh token, and have taken none since: they have reasons of their own. */
  const unmoved = new Set<string>()
  /** The access token that was got last because somebody needed another one. */
  let renewed: string | undefined

  /** @param refused a token that will not do, though it is valid by its time */
  async function getAccessToken(refused?: string): Promise<string | null> {
    const before = session.current
    const leewaySeconds = Math.min(LEEWAY_SECONDS, (before?.tokens?.expires_in ?? 0) / 10)
    const atHand = tokenAtHand(leewaySeconds, refused)
    if (atHand) return atHand
    if (!before && (await isNobody())) return null
    try {
      renewed = (await renew()).access_token
      return renewed
    } catch (error) {
      // Perhaps that of another login, which came first.
      const latest = tokenAtHand(0, refused)
      if (!latest && !isOver(error)) throw error
      return latest
    }
  }

  function tokenAtHand(leewaySeconds: number, refused: string | undefined): string | null {
    const token = session.current?.tokens?.access_token
    return token && token !== refused && session.remainingMs > leewaySeconds * 1000 ? token : null
  }

  /** As far as can be known here: a browser that remembers nothing may have a cookie all the same. */
  async function isNobody(): Promise<boolean> {
    const known = await vault.load()
    return known === null || (!known && vault.remembers())
  }

  /** Asks with the token, and if it is refused and another may fare better, once more with that. */
  async function askTwice<Answer extends { status: number }>(
    endpoint: string,
    ask: (token: string | null) => Promise<Answer>,
    signal?: AbortSignal,
  ): Promise<Answer> {
    const askOnce = async (token: string | null) => {
      const isFresh = token === renewed && session.ageMs < FRESH_MS
      const answer = await ask(token)
      if (answer.status !== 401) unmoved.delete(endpoint)
      else if (isFresh) unmoved.add(endpoint)
      return answer
    }
    const token = await unlessAborted(signal, () => getAccessToken())
    const first = await askOnce(token)
    if (!token || first.status !== 401 || unmoved.has(endpoint)) return first
    const next = await unlessAborted(signal, () => getAccessToken(token)).catch(() => null)
    return next ? askOnce(next) : first
  }

  async function me(): Promise<User> {
    const answer = await askTwice('/auth/me', async (token) => {
      if (!token) throw new AuthClientError('AUTH_TOKEN_INVALID', 'nobody is logged in')
      const headers = { Authorization: `Bearer ${token}` }
      return send('GET', '/auth/me', { headers }).catch((error: AuthClientError) => error)
    })
    if (!(answer instanceof AuthClientError)) return answer.body as User
    // The session is over, as a refresh finds out.
    if (answer.code === 'AUTH_TOKEN_REVOKED' && session.current) await renew().catch(() => undefined)
    throw answer
  }

  async function fetchWithToken(...parameters: Parameters<Fetch>): Promise<Response> {
    const request = new Request(...parameters)
    const { signal, url } = request
    const tries = [request, request.clone()]
    let response: Response | undefined
    const ask = async (token: string | null) => {
      await response?.body?.cancel()
      const next = tries.shift() as Request
      if (token) next.headers.set('Authorization', `Bearer ${token}`)
      response = await fetch(next)
      return response
    }
    try {
      const answer = await askTwice(url.replace(/[?#].*/, ''), ask, signal)
      if (!signal.aborted) return answer
    } catch (error) {
      if (!signal.aborted) throw error
    }
    throw signal.reason
  }

  return { getAccessToken, me, fetchWithToken }
}

function isOver(error: unknown): boolean {
  return endsTheSession(error) || codeOf(error) === 'CLIENT_ABORTED'
}
