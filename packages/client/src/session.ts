/** Who is logged in on this page, the timer of the next refresh, and the listeners that are told. */
import type { AuthClientError, AuthErrorCode } from './errors.ts'
import { startCountdown } from './stopwatch.ts'
import type { AuthState, Tokens } from './types.ts'

export interface Session {
  label: string
  /** Absent after a reload, until the first refresh. */
  tokens?: Tokens
  /** Of the access token. */
  remainingMs: () => number
}

export type CurrentSession = ReturnType<typeof createCurrentSession>

/** Refresh so long before the token expires, but not before this part of its lifetime is over. */
const REFRESH_AHEAD_SECONDS = 60
const REFRESH_AFTER_PART = 0.8
/** The pause after a refresh that failed for now. */
const PAUSE_SECONDS = 30
const LONGEST_TIMER_MS = 2 ** 31 - 1

/** @param onDue refreshes; called before the access token expires, and again when that failed */
export function createCurrentSession(onDue: () => Promise<unknown>) {
  const listeners = new Set<(state: AuthState) => void>()
  let current: Session | undefined
  let stay = new AbortController()
  let isDisposed = false
  let timer: ReturnType<typeof setTimeout> | undefined
  /** Why the server ended the last session. */
  let endedBy: AuthErrorCode | undefined
  let toldLabel: string | undefined

  /** Goes on with a session whose tokens are not known here yet. */
  function resume(label: string): void {
    current ??= { label, remainingMs: () => 0 }
  }

  function enter(label: string, tokens: Tokens): void {
    const lifetimeSeconds = tokens.expires_in
    current = { label, tokens, remainingMs: startCountdown(lifetimeSeconds) }
    endedBy = undefined
    // Varied, so that one tab is the first and the others get its result.
    const latestSeconds = Math.max(lifetimeSeconds - REFRESH_AHEAD_SECONDS, lifetimeSeconds * REFRESH_AFTER_PART)
    planRefresh(latestSeconds * (1 - Math.random() / 10))
  }

  function leave(reason?: AuthErrorCode): void {
    stay.abort()
    if (!isDisposed) stay = new AbortController()
    current = undefined
    endedBy = reason
    clearTimeout(timer)
  }

  function leaveIfStill(label: string, reason?: AuthErrorCode): void {
    if (!current || current.label === label) leave(reason)
  }

  function planRefresh(seconds: number): void {
    clearTimeout(timer)
    timer = setTimeout(
      () =>
        onDue().catch((error: AuthClientError) => {
          if (current) planRefresh(Math.max(PAUSE_SECONDS, error.retryAfterSeconds ?? 0))
        }),
      Math.min(seconds * 1000, LONGEST_TIMER_MS),
    )
    // Node would not end for it.
    if (typeof timer === 'object') (timer as { unref(): void }).unref()
  }

  /** Calls the listeners, unless they know already. */
  function tell(): void {
    const loggedIn = current?.tokens && current.label
    if (loggedIn === toldLabel) return
    toldLabel = loggedIn
    const state: AuthState = loggedIn
      ? { isLoggedIn: true }
      : { isLoggedIn: false, ...(endedBy && { reason: endedBy }) }
    for (const listener of listeners) queueMicrotask(() => listeners.has(listener) && listener(state))
  }

  /**
   * Calls the listener whenever somebody logs in or out, here or in another tab.
   * @returns a function that ends that
   */
  function onAuthChange(listener: (state: AuthState) => void): () => void {
    listeners.add(listener)
    return () => listeners.delete(listener)
  }

  /** Leaves for good, and tells nobody. */
  function dispose(): void {
    isDisposed = true
    listeners.clear()
    leave()
  }

  return {
    /** Undefined when nobody is logged in, as far as this page knows. */
    get current() {
      return current
    },
    /** Aborted when this session is left; then there is another signal. */
    get signal() {
      return stay.signal
    },
    resume,
    enter,
    leave,
    leaveIfStill,
    tell,
    onAuthChange,
    dispose,
  }
}
