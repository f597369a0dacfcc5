/** One request to the authentication server, with a time limit, and its answer or a coded error. */
import { attempt } from './attempt.ts'
import { AuthClientError, type AuthErrorCode, codeOf } from './errors.ts'
import { unlessAborted } from './repeat.ts'
import type { Fetch, Tokens } from './types.ts'

export interface Answer {
  status: number
  headers: Headers
  /** The parsed JSON, undefined for a 204. */
  body: unknown
}

export interface SendOptions extends Pick<RequestInit, 'cache' | 'keepalive'> {
  body?: object
  headers?: Record<string, string>
  /** Gives the request up; it then fails with CLIENT_ABORTED. */
  signal?: AbortSignal | undefined
}

export type Send = (method: 'GET' | 'POST', path: string, options?: SendOptions) => Promise<Answer>

/**
 * @param disposal gives all requests up
 * @throws {AuthClientError} what the server answered, or CLIENT_NETWORK, _TIMEOUT, _BAD_ANSWER or _ABORTED
 */
export function createSend(
  baseUrl: string,
  fetch: Fetch,
  credentials: RequestCredentials,
  requestTimeoutSeconds: number,
  disposal: AbortSignal,
): Send {
  return async (method, path, { body, headers, signal, ...options } = {}) => {
    const controller = new AbortController()
    const timer = setTimeout(() => controller.abort(), requestTimeoutSeconds * 1000)
    const ask = async () => {
      const response = await fetch(baseUrl + path, {
        method,
        credentials,
        // To follow one would take the password or token along.
        redirect: 'error',
        signal: controller.signal,
        headers: { ...(body && { 'Content-Type': 'application/json' }), ...headers },
        ...(body && { body: JSON.stringify(body) }),
        ...options,
      })
      return readAnswer(response, await response.text())
    }
    try {
      return await unlessAborted(disposal, () => unlessAborted(signal, ask))
    } catch (error) {
      if (codeOf(error)) throw error
      const code = controller.signal.aborted ? 'CLIENT_TIMEOUT' : 'CLIENT_NETWORK'
      throw new AuthClientError(code, `no answer (within ${requestTimeoutSeconds} s)`, { cause: error })
    } finally {
      clearTimeout(timer)
      controller.abort()
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
  const body = status === 204 ? undefined : attempt(() => JSON.parse(text))
  if (ok && (status === 204 || body)) return { status, headers, body }
  const { code, message } = body?.error ?? {}
  const retryAfter = Number.parseFloat(headers.get('Retry-After') ?? '')
  const details = { status, retryAfterSeconds: retryAfter >= 0 ? retryAfter : undefined }
  if (ok || typeof code !== 'string')
    throw new AuthClientError('CLIENT_BAD_ANSWER', `status ${status} in another form`, details)
  throw new AuthClientError(code as AuthErrorCode, String(message), details)
}
