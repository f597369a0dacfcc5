/** A fetch that tells what it sends and gets, so that the page can show it. */
import type { Fetch } from '../../packages/client/src/index.ts'

export interface Exchange {
  method: string
  path: string
  /** The Idempotency-Key of a refresh. */
  key: string | null
  /** The request's body, '' for none, with its password masked. */
  sent: string
  /** The status and code answered; null while nothing has come, or when the answer got lost. */
  answer: string | null
  outcome: 'waiting' | 'answered' | 'refused' | 'lost'
  /** Who sent it, when it was not this page. */
  by?: string
}

/** @param onChange told of every request when it leaves, and again, with the same object, when its fate is known */
export function createTellingFetch(onChange: (exchange: Exchange) => void): Fetch {
  return async (input, init) => {
    const request = new Request(input, init)
    const exchange: Exchange = {
      method: request.method,
      path: new URL(request.url).pathname,
      key: request.headers.get('Idempotency-Key'),
      sent: masked(await request.clone().text()),
      answer: null,
      outcome: 'waiting',
    }
    onChange(exchange)
    try {
      const response = await fetch(request)
      const text = await response.clone().text()
      exchange.answer = [response.status, codeIn(text)].filter(Boolean).join(' ')
      exchange.outcome = response.ok ? 'answered' : 'refused'
      return response
    } catch (error) {
      exchange.outcome = 'lost'
      throw error
    } finally {
      onChange(exchange)
    }
  }
}

/** Nobody who looks at the page, or at a picture of it, needs to read the password. */
function masked(body: string): string {
  return body.replace(/("password":)"(?:[^"\\]|\\.)*"/, '$1"••••••••"')
}

export function codeIn(text: string): string | undefined {
  try {
    return JSON.parse(text).error?.code
  } catch {
    return undefined
  }
}
