/** One request to the authentication server, with a time limit, and its answer or a coded error. */
import { AuthClientError, type AuthErrorCode, aborted } from './errors.ts'
import type { Fetch, Tokens } from './types.ts'

export interface Answer {
  headers: Headers
  /** The parsed JSON, undefined for a 204. */
  body: unknown
}

export interface SendOptions {
  body?: object
  headers?: Record<string, string>
  cache?: RequestCache
  /** Lets the request outlive the page. */
  keepalive?: boolean
  /** Gives the request up; it then fails with CLIENT_ABORTED. Default: `disposal`. */
  signal?: AbortSignal | undefined
}

export type Send = (method: 'GET' | 'POST', path: string, options?: SendOptions) => Promise<Answer>

interface Settings {
  baseUrl: string
  fetch: Fetch
  credentials: RequestCredentials
  requestTimeoutSeconds: number
  /** Gives up the requests that have no signal of their own. */
  disposal: AbortSignal
}

/** @throws {AuthClientError} what the server answered, or CLIENT_NETWORK, _TIMEOUT, _BAD_ANSWER or _ABORTED */
export function createSend({ baseUrl, fetch, credentials, requestTimeoutSeconds, disposal }: Settings): Send {
  return async (method, path, { body, headers, cache, keepalive = false, signal = disposal } = {}) => {
    if (signal.aborted) throw aborted()
    const controller = new AbortController()
    const abort = () => controller.abort()
    const timer = setTimeout(abort, requestTimeoutSeconds * 1000)
    signal.addEventListener('abort', abort)
    try {
      const response = await fetch(baseUrl + path, {
        method,
        credentials,
        keepalive,
        // To follow one would take the password or token along.
        redirect: 'error',
        signal: controller.signal,
        headers: { ...(body && { 'Content-Type': 'application/json' }), ...headers },
        ...(body && { body: JSON.stringify(body) }),
        ...(cache && { cache }),
      })
      return readAnswer(response, await response.text())
    } catch (error) {
      if (error instanceof AuthClientError) throw error
      if (signal.aborted) throw aborted()
      if (controller.signal.aborted)
        throw new AuthClientError('CLIENT_TIMEOUT', `no answer within ${requestTimeoutSeconds} s`, { cause: error })
      throw new AuthClientError('CLIENT_NETWORK', 'no answer from the authentication server', { cause: error })
    } finally {
      clearTimeout(timer)
      signal.removeEventListener('abort', abort)
    }
  }
}

/** @throws {AuthClientError} CLIENT_BAD_ANSWER for a 200 that some gateway made up */
export function tokensIn({ body }: Answer): Tokens {
  const tokens = body as Tokens
  if (typeof tokens.access_token !== 'string' || !(tokens.expires_in > 0))
    throw new AuthClientError('CLIENT_BAD_ANSWER', 'a 200 without a token', { status: 200 })
  return tokens
}

function readAnswer({ ok, status, headers }: Response, text: string): Answer {
  const body = status === 204 ? undefined : parseJson(text)
  if (ok && (status === 204 || body)) return { headers, body }
  const { code, message } = body?.error ?? {}
  const retryAfter = Number.parseInt(headers.get('Retry-After') ?? '', 10)
  const retryAfterSeconds = retryAfter >= 0 ? retryAfter : undefined
  if (ok || typeof code !== 'string')
    throw new AuthClientError('CLIENT_BAD_ANSWER', `status ${status}, but not in the contract's form`, {
      status,
      retryAfterSeconds,
    })
  throw new AuthClientError(code as AuthErrorCode, String(message), { status, retryAfterSeconds })
}

function parseJson(text: string) {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
