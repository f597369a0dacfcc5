/** The contract's events of requests; those of keys and of the database are told by their rooms. */

export interface EventKind {
  level: 'debug' | 'info' | 'warn'
  /** Whether strangers can make many of it: then it takes at most one line a minute, with a count. */
  isCounted?: boolean
}
export type EventName = keyof typeof EVENTS

export const EVENTS = {
  'auth.register': { level: 'info' },
  'auth.login.success': { level: 'info' },
  'auth.login.failure': { level: 'info' },
  'auth.limited': { level: 'warn', isCounted: true },
  'auth.origin_refused': { level: 'warn', isCounted: true },
  'auth.logout': { level: 'info' },
  'token.refresh.success': { level: 'debug' },
  'token.refresh.repeated': { level: 'info' },
  'token.refresh.ahead': { level: 'warn', isCounted: true },
  'token.refresh.reuse_detected': { level: 'warn' },
} satisfies Record<string, EventKind>

/** What a line of the log may tell of an event: these alone, so that no email or secret gets into it unawares. */
export interface EventDetails {
  user_id?: string | undefined
  session_id?: string | undefined
  reason?: string
  limit?: string | undefined
  network?: string
  origin_seen?: string
  origin_expected?: string
}
