/** Gets new tokens: one refresh at a time, in all tabs, and so that a lost answer loses nothing. */
import { AuthClientError, aborted, endsTheSession } from './errors.ts'
import type { Exclusively } from './exclusive.ts'
import { type Send, tokensIn } from './http.ts'
import { randomText } from './random.ts'
import { type Patience, repeatedly } from './repeat.ts'
import type { CurrentSession } from './session.ts'
import { startStopwatch } from './stopwatch.ts'
import type { Tabs } from './tabs.ts'
import type { Tokens } from './types.ts'
import type { SessionRecord, Vault } from './vault.ts'

interface Parts {
  session: CurrentSession
  tabs: Tabs
  vault: Vault
  exclusively: Exclusively
  send: Send
  patience: Patience
  hasStore: boolean
  /** Settled when the server has heard of the last logout, or never will. */
  leaving: () => Promise<void> | undefined
}

/** The rest after a 429 that names none. */
const REST_SECONDS = 30

export function createRotation({ session, tabs, vault, exclusively, send, patience, hasStore, leaving }: Parts) {
  /** How long a 429 still forbids to ask again for this session. */
  let rest = { label: '', seconds: 0, passedMs: startStopwatch() }

  /** Once for all who ask meanwhile; those of a session that was left share nothing with those of a later one. */
  function shared(work: (signal: AbortSignal) => Promise<Tokens>): () => Promise<Tokens> {
    let running: { tokens: Promise<Tokens>; signal: AbortSignal } | undefined
    return () => {
      const { signal } = session
      if (running?.signal === signal) return running.tokens
      const tokens = work(signal).finally(() => {
        if (running?.signal === signal) running = undefined
        session.tell()
      })
      running = { tokens, signal }
      return tokens
    }
  }

  /** Tokens that live longer than those at hand: another tab's, which cost no rotation, or else new ones. */
  const renew = shared(async (signal) => {
    const before = session.current?.tokens
    await recall(signal)
    await tabs.ask()
    if (signal.aborted) throw aborted()
    const latest = session.current?.tokens
    return latest && latest !== before ? latest : refresh()
  })

  const refresh = shared((signal) =>
    refreshNow(signal).catch((error) => {
      session.retryLater(error)
      throw error
    }),
  )

  async function refreshNow(signal: AbortSignal): Promise<Tokens> {
    // Until the server has heard of a logout, the cookie would bring the session back.
    if (!session.current) await leaving()
    const before = session.current?.tokens
    await recall(signal)
    // Whoever has a session gives it up if another tab has logged out by the time that the turn comes.
    const expected = session.current?.label
    return repeatedly(patience, signal, () =>
      exclusively(async () => {
        if (signal.aborted) throw aborted()
        const latest = session.current?.tokens
        return latest && latest !== before ? latest : rotate(signal, expected)
      }),
    )
  }

  /** Goes on with the session that is remembered. */
  async function recall(signal: AbortSignal): Promise<void> {
    const known = await vault.load()
    if (known && !signal.aborted) session.resume(known.label)
  }

  /**
   * Whatever gets lost on the way, the token that the next request carries is the live one or the one just replaced,
   * and for the latter the vault still holds the key that replaced it. So the key is stored before the server sees it,
   * and gives way to a new one only after the answer, and only if nobody else did that. A cookie needs turns for this:
   * the late answer to whoever went without one sets an older cookie in place of the newer.
   */
  async function rotate(signal: AbortSignal, expected: string | undefined): Promise<Tokens> {
    const known = await vault.load()
    if (expected && known === null) throw overtaken(expected)
    const record: SessionRecord = known ?? { label: expected ?? randomText(), key: randomText(), isFound: true }
    const nextKey = randomText()
    refuseWhileResting(record.label)
    const token = record.refresh_token
    if (signal.aborted) throw aborted()
    if (hasStore && !token)
      throw await over(record, signal, new AuthClientError('AUTH_REFRESH_NOT_FOUND', 'the store is empty'))
    if (!known) await vault.save(record)

    let tokens: Tokens
    try {
      const headers = { 'Idempotency-Key': record.key }
      tokens = tokensIn(await send('POST', '/auth/token/refresh', { body: { refresh_token: token }, headers, signal }))
    } catch (error) {
      const { status, retryAfterSeconds: seconds = REST_SECONDS } = error as AuthClientError
      if (status === 429) rest = { label: record.label, seconds, passedMs: startStopwatch() }
      throw endsTheSession(error) ? await over(record, signal, error) : error
    }

    const latest = await vault.load()
    if (signal.aborted) throw aborted()
    if (latest === null || (latest && latest.label !== record.label)) throw overtaken(record.label)
    if (!latest || latest.key === record.key)
      await vault.save({ ...record, key: nextKey, refresh_token: token && tokens.refresh_token })
    if (signal.aborted) throw aborted()
    session.enter(record.label, tokens)
    tabs.share('refresh', record.label, tokens)
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
    const seconds = Math.ceil(rest.seconds - rest.passedMs() / 1000)
    if (rest.label === label && seconds > 0)
      throw new AuthClientError('AUTH_RATE_LIMIT', 'the server asked to wait', {
        status: 429,
        retryAfterSeconds: seconds,
      })
  }

  return { renew, refresh }
}
