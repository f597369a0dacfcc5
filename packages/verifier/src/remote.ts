/** Has the issuer verify tokens, by its `/auth/me`, and remembers for a few seconds what it answered. */
import type { Auth, Verifier } from './auth.ts'
import { createTokenCache, digestOf } from './cache.ts'
import { VerifierError } from './errors.ts'
import { invalid, isUuid, outerHeaderOf } from './form.ts'
import { createTurns } from './turns.ts'

export interface RemoteVerifierOptions {
  /** Where the issuer is, without `/auth`; over HTTPS, unless it is on this machine. */
  url: string | URL
  /** Seconds for which a good token is remembered, so how long after a logout it may still be let in. Default 10. */
  maxAgeSeconds?: number
  /** Seconds by which the clocks may differ: so long after its `exp` the issuer is still asked. Default 60. */
  clockSkewSeconds?: number
  /** Seconds that an answer may take, waiting for a turn included. Default 2. */
  timeoutSeconds?: number
  /** Told each time that the issuer cannot be asked; must not throw. */
  onFailure?: (error: unknown) => void
}

/** What `/auth/me` answers. */
interface User {
  id: string
  email: string
  email_verified: boolean
}
type MeBody = Partial<User> & { error?: { code?: unknown } }

interface Remembered {
  auth: Auth
  /** When the question was put, on the monotonic clock, in milliseconds. */
  askedAt: number
}

const MAX_REMEMBERED = 10_000
const MAX_QUESTIONS = 50
const REFUSALS = ['AUTH_TOKEN_INVALID', 'AUTH_TOKEN_EXPIRED', 'AUTH_TOKEN_REVOKED'] as const

/** @throws {TypeError} naming the option that is missing or wrong */
export function createRemoteVerifier(options: RemoteVerifierOptions): Verifier {
  const { url, maxAgeSeconds = 10, clockSkewSeconds = 60, timeoutSeconds = 2, onFailure = () => {} } = options
  if (!isTrustworthy(url)) throw new TypeError('url must be like https://auth.example.com; http is for loopback only')
  for (const [name, seconds] of Object.entries({ maxAgeSeconds, clockSkewSeconds, timeoutSeconds }))
    if (!(seconds >= 0)) throw new TypeError(`${name} must be a number of seconds, at least 0`)
  const meUrl = `${String(url).replace(/\/+$/, '')}/auth/me`

  const isCurrent = ({ askedAt }: Remembered) => performance.now() - askedAt < maxAgeSeconds * 1000
  const remembered = createTokenCache(MAX_REMEMBERED, isCurrent)
  const questions = new Map<string, Promise<Auth>>()
  const inTurn = createTurns(MAX_QUESTIONS)

  async function verify(token: string): Promise<Auth> {
    if (typeof token !== 'string') throw invalid('not a string')
    const digest = digestOf(token)
    const known = remembered.find(digest) ?? questions.get(digest)
    if (known) return known

    const { exp, jti } = outerHeaderOf(token)
    if (typeof exp !== 'number' || !isUuid(jti)) throw invalid('header')
    if (Date.now() / 1000 >= exp + clockSkewSeconds) throw new VerifierError('AUTH_TOKEN_EXPIRED', 'exp')
    const question = askAbout(token, exp, jti, digest).finally(() => questions.delete(digest))
    questions.set(digest, question)
    return question
  }

  async function askAbout(token: string, expiresAt: number, tokenId: string, digest: string): Promise<Auth> {
    const askedAt = performance.now()
    const { id: userId, email, email_verified: emailVerified } = await ask({ authorization: `Bearer ${token}` })
    // The header was anybody's; now the issuer has vouched for this very token, to which its header is bound.
    const auth = Object.freeze({ userId, expiresAt, tokenId, email, emailVerified })
    remembered.add(digest, { auth, askedAt })
    return auth
  }

  /** @throws {VerifierError} as `/auth/me` refused, or AUTH_UNAVAILABLE when it answered nothing of the kind in time */
  async function ask(headers: Record<string, string>): Promise<User> {
    const signal = AbortSignal.timeout(timeoutSeconds * 1000)
    try {
      return await inTurn(async () => {
        // A redirection would carry the token to somebody else. Next keeps what fetch answers, unless told otherwise.
        const response = await fetch(meUrl, { headers, redirect: 'error', cache: 'no-store', signal })
        const body = (await response.json().catch(() => undefined)) as MeBody | undefined
        if (response.status === 200 && isUser(body)) return body
        const refusal = REFUSALS.find((code) => code === body?.error?.code)
        if (response.status === 401 && refusal) throw new VerifierError(refusal, 'refused by the issuer')
        throw new Error(`${meUrl} answered ${response.status}, which tells nothing about a token`)
      })
    } catch (error) {
      if (error instanceof VerifierError) throw error
      onFailure(error)
      throw new VerifierError('AUTH_UNAVAILABLE', 'no answer of the issuer', error)
    }
  }

  async function ready(): Promise<void> {
    await ask({}).catch((error: VerifierError) => {
      if (error.code === 'AUTH_UNAVAILABLE') throw error // any refusal is an answer
    })
  }

  return { verify, ready }
}

function isUser(body: MeBody | undefined): body is User {
  return isUuid(body?.id) && typeof body.email === 'string' && typeof body.email_verified === 'boolean'
}

function isTrustworthy(url: string | URL): boolean {
  if (!url || !URL.canParse(url)) return false
  const { protocol, hostname, username, password, search, hash } = new URL(url)
  const isLoopback = /^(localhost|127\.[\d.]+|\[::1\])$/.test(hostname)
  return (protocol === 'https:' || (protocol === 'http:' && isLoopback)) && !(username + password + search + hash)
}
