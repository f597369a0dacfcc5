/** What the load generator is told to send, and what it tells of it. */

import type { PeerSession, Settings } from '../peers/running.ts'

export interface Load {
  url: string
  /** Exactly so many connections, each kept alive, one request at a time on each. */
  connections: number
  operation: OperationOptions
  warmUpSeconds: number
  /** Ends after so long, or after `count` answers, whichever comes first. */
  seconds: number
  count?: number
  /** Open loop: requests leave at this rate whatever becomes of them. Without it: as soon as a connection is free. */
  ratePerSecond?: number
  /** Open loop: how long to wait for answers after the last request; what is missing then is unanswered. */
  drainSeconds?: number
}

export type OperationOptions =
  /**
   * Rotates sessions `first` to `first + count - 1`, in turns or at random; access tokens go to the store. With
   * `isKeyed` each request has an Idempotency-Key, and one that was not answered is repeated with the same.
   */
  | {
      name: 'refresh'
      sessions: string
      first: number
      count: number
      order: 'turns' | 'random'
      store?: string
      isKeyed?: boolean
    }
  /** Shows access tokens of the store: the first one again and again, or each one once. */
  | { name: 'me'; store: string; shown: 'again' | 'once' }
  /** From one address, as a trusted proxy tells it, or from `anywhere`: each from another; unset: from this one. */
  | { name: 'login'; users: number; from?: string }
  | { name: 'jwks'; etag?: string }
  | { name: 'signIn'; users: number; store?: string }
  | { name: 'getSession'; store: string }
  /** A request to a system that the reader has running; `logins` are its sessions to begin with. */
  | {
      name: 'peer'
      key: string
      what: 'refresh' | 'look' | 'keys'
      settings: Settings
      basePath: string
      logins: PeerSession[]
    }
  | Echo
  /** These bytes on a connection of their own, which the server is to answer with this status and to close. */
  | { name: 'bytes'; bytes: string; status: number }

/** Any fixed request, whose answer must be this one. */
export interface Echo {
  name: 'echo'
  method: 'GET' | 'POST'
  path: string
  headers: Record<string, string>
  body?: string
  status: number
  answer: string
}

export interface LoadResult {
  /** Answered within the load's seconds. */
  done: number
  /** Answered 503 by a queue that is full, or 429 by a limit. */
  refused: number
  /** Wrong answers and broken connections. */
  errors: number
  errorSamples: string[]
  unanswered: number
  elapsedSeconds: number
  /** Of those that were answered while they were waited for, so also after the last was sent. */
  latencyMs: Latency
  refusalMs: Latency
  /** One entry for each second, by the time at which requests were to be sent. */
  timeline: { p50: number; p99: number; done: number }[]
}

export interface Latency {
  p50: number
  p99: number
  most: number
}
