/** Who is logged in on this page, the timer of the next refresh, and those who are told. */
import type { AuthClientError, AuthErrorCode } from './errors.ts'
import { createListeners } from './listeners.ts'
import { startStopwatch, startTimer } from './stopwatch.ts'
import type { AuthChange, Tokens } from './types.ts'

export interface Session {
  label: string
  /** Absent after a reload, until they are known again. */
  tokens?: Tokens
  /** How long ago they were issued. */
  ageMs: () => number
  /** The ages at which they have to be renewed, and at which the access token expires. */
  dueMs: number
  endMs: number
}

export type CurrentSession = ReturnType<typeof createCurrentSession>

/** Refresh so long before the token expires, but not before this part of its lifetime is over. */
const REFRESH_AHEAD_MS = 60_000
const REFRESH_AFTER_PART = 0.8
/** The pause after a refresh that failed for now. */
const PAUSE_SECONDS = 30

/** @param onDue gets other tokens; called before the access token expires, and again when that failed */
export function createCurrentSession(onDue: () => Promise<unknown>) {
  const { listeners, tell: tellAll, add } = createListeners<AuthChange>()
  let current: Session | undefined
  let stay = new AbortController()
  let timer: ReturnType<typeof setTimeout> | undefined
  /** Why the server ended the last session. */
  let endedBy: AuthErrorCode | undefined
  let told: Session | undefined

  /** Goes on with a session whose tokens are not known here yet. */
  function resume(label: string): void {
    current ??= { label, ageMs: startStopwatch(), dueMs: 0, endMs: 0 }
  }

  /** @param ageMs how long ago the tokens were issued */
  function enter(label: string, tokens: Tokens, ageMs = 0): void {
    const endMs = tokens.expires_in * 1000
    // Varied, so that one tab is the first and the others get its result.
    const dueMs = Math.max(endMs - REFRESH_AHEAD_MS, endMs * REFRESH_AFTER_PART) * (1 - Math.random() / 10)
    current = { label, tokens, ageMs: startStopwatch(ageMs), dueMs, endMs }
    endedBy = undefined
    planRefresh(dueMs - ageMs)
  }

  function leave(reason?: AuthErrorCode): void {
    stay.abort()
    stay = new AbortController()
    current = undefined
    endedBy = reason
    clearTimeout(timer)
  }

  function leaveIfStill(label: string, reason?: AuthErrorCode): void {
    if (!current || current.label === label) leave(reason)
  }

  function planRefresh(ms: number): void {
    clearTimeout(timer)
    timer = startTimer(ms, refreshIfDue)
  }

  /** For the timer, and for a page that wakes: timers stand still while a machine sleeps. */
  function refreshIfDue(): void {
    if (!current) return
    const restMs = current.dueMs - current.ageMs()
    if (restMs > 0) planRefresh(restMs)
    else onDue().catch(retryLater)
  }

  function retryLater(error: AuthClientError): void {
    if (current && current.dueMs <= current.ageMs())
      planRefresh(Math.max(PAUSE_SECONDS, error.retryAfterSeconds ?? 0) * 1000)
  }

  /** Calls the listeners, unless they know already. */
  function tell(): void {
    const known = current?.tokens ? current : undefined
    if (known?.tokens === told?.tokens) return
    const change: AuthChange = known?.tokens
      ? { kind: known.label === told?.label ? 'refreshed' : 'loggedIn', tokens: known.tokens }
      : { kind: 'ended', ...(endedBy && { reason: endedBy }) }
    told = known
    tellAll(change)
  }

  /** Leaves for good, and tells nobody. */
  function dispose(): void {
    listeners.clear()
    leave()
  }

  return {
    /** Undefined when nobody is logged in, as far as this page knows. */
    get current() {
      return current
    },
    /** How long ago the tokens were issued. */
    get ageMs() {
      return current?.ageMs() ?? 0
    },
    /** For so long the access token is valid; 0 without one. */
    get remainingMs() {
      return current ? Math.max(0, current.endMs - current.ageMs()) : 0
    },
    /** Aborted when this session is left; then there is another signal. */
    get signal() {
      return stay.signal
    },
    get endedBy() {
      return endedBy
    },
    resume,
    enter,
    leave,
    leaveIfStill,
    refreshIfDue,
    retryLater,
    tell,
    onAuthChange: add,
    dispose,
  }
}
