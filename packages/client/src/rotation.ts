/** Gets new tokens: one refresh at a time, in all tabs, and so that a lost answer loses nothing. */
import { AuthClientError, aborted, endsTheSession } from './errors.ts'
import type { Exclusively } from './exclusive.ts'
import { type Send, tokensIn } from './http.ts'
import { randomText } from './random.ts'
import { type Patience, repeatedly } from './repeat.ts'
import type { CurrentSession } from './session.ts'
import { startCountdown } from './stopwatch.ts'
import type { Tabs } from './tabs.ts'
import type { Tokens } from './types.ts'
import type { SessionRecord, TokenStore, Vault } from './vault.ts'

interface Parts {
  session: CurrentSession
  tabs: Tabs
  vault: Vault
  store: TokenStore | undefined
  exclusively: Exclusively
  send: Send
  patience: Patience
  /** Settled when the server has heard of the last logout, or never will. */
  leaving: () => Promise<void> | undefined
}

/** The rest after a 429 that names none. */
const REST_SECONDS = 30

export function createRefresh({ session, tabs, vault, store, exclusively, send, patience, leaving }: Parts) {
  let running: { tokens: Promise<Tokens>; signal: AbortSignal } | undefined
  /** How long a 429 still forbids to ask again for this session. */
  let rest = { label: '', remainingMs: () => 0 }

  /**
   * Gets a new access token now; whoever else asks meanwhile, in any tab, gets the same one.
   * @throws {AuthClientError} AUTH_TOKEN_REVOKED, AUTH_TOKEN_EXPIRED or AUTH_REFRESH_NOT_FOUND when the session is
   *   over,
   *   CLIENT_ABORTED when another has taken its place or a logout came first; any other code leaves it as it is
   */
  return function refresh(): Promise<Tokens> {
    const { signal } = session
    if (running?.signal === signal) return running.tokens
    const tokens = refreshNow(signal).finally(() => {
      if (running?.signal === signal) running = undefined
      session.tell()
    })
    running = { tokens, signal }
    return tokens
  }

  async function refreshNow(signal: AbortSignal): Promise<Tokens> {
    // Until the server has heard of a logout, the cookie would bring the session back.
    if (!session.current) await leaving()
    const before = session.current?.tokens
    const known = await vault.load()
    if (known && !signal.aborted) session.resume(known.label)
    // Whoever has a session must still find one remembered when the turn comes, or else another tab has logged out.
    const expected = session.current?.label
    return repeatedly(patience, signal, () =>
      exclusively(async () => {
        if (signal.aborted) throw aborted()
        const latest = session.current?.tokens
        return latest && latest !== before ? latest : rotate(signal, expected)
      }),
    )
  }

  /**
   * Whatever gets lost on the way, the token that the next request carries is the live one or the one just replaced,
   * and
   * for the latter the vault still holds the key that replaced it. So the key is stored before the server sees it, and
   * gives way to a new one only after the answer, and only if nobody else did that. A cookie needs turns for this: the
   * late answer to whoever went without one sets an older cookie in place of the newer.
   */
  async function rotate(signal: AbortSignal, expected: string | undefined): Promise<Tokens> {
    const known = await vault.load()
    if (expected && !known) throw overtaken(expected)
    const record: SessionRecord = known ?? { label: randomText(), key: randomText(), isFound: true }
    refuseWhileResting(record.label)
    const token = record.refresh_token
    if (signal.aborted) throw aborted()
    if (store && !token)
      throw await over(record, signal, new AuthClientError('AUTH_REFRESH_NOT_FOUND', 'no refresh token in the store'))
    if (!known) await vault.save(record)

    let tokens: Tokens
    try {
      const headers = { 'Idempotency-Key': record.key }
      tokens = tokensIn(await send('POST', '/auth/token/refresh', { body: { refresh_token: token }, headers, signal }))
    } catch (error) {
      if (error instanceof AuthClientError && error.status === 429)
        rest = { label: record.label, remainingMs: startCountdown(error.retryAfterSeconds ?? REST_SECONDS) }
      throw endsTheSession(error) ? await over(record, signal, error) : error
    }

    const latest = await vault.load()
    if (signal.aborted) throw aborted()
    if (latest?.label !== record.label) throw overtaken(record.label)
    if (latest.key === record.key)
      await vault.save({ ...record, key: randomText(), refresh_token: token && tokens.refresh_token })
    if (signal.aborted) throw aborted()
    session.enter(record.label, tokens)
    tabs.share('refresh', record, tokens)
    return tokens
  }

  /** Another tab has logged out or in: gives the session up, and answers the error to throw. */
  function overtaken(label: string): AuthClientError {
    session.leaveIfStill(label)
    return aborted()
  }

  /** The server has ended the session: forgets it, unless another has begun, and answers the error to throw. */
  async function over(record: SessionRecord, signal: AbortSignal, error: AuthClientError): Promise<AuthClientError> {
    const latest = await vault.load()
    if (signal.aborted) return aborted()
    if (latest && latest.label !== record.label) return overtaken(record.label)
    await vault.clear()
    session.leaveIfStill(record.label, error.code)
    tabs.shareEnd(record.label, error.code)
    return error
  }

  function refuseWhileResting(label: string): void {
    const seconds = Math.ceil(rest.remainingMs() / 1000)
    if (rest.label === label && seconds > 0)
      throw new AuthClientError('AUTH_RATE_LIMIT', 'the server has asked to wait', {
        status: 429,
        retryAfterSeconds: seconds,
      })
  }
}
