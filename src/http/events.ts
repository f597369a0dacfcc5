/** The contract's events: one line of the log each, by the one function here. */
import type { FastifyBaseLogger, FastifyInstance, FastifyRequest } from 'fastify'
import { EVENTS, type EventDetails, type EventKind, type EventName } from '../models/event.ts'
import type { Client } from '../models/types.ts'

const MINUTE_MS = 60_000

interface Held {
  count: number
  write(count: number): void
}
/** What has come of a kind since its last line, less than a minute ago, and how to write the next; of each app. */
const heldBy = new WeakMap<FastifyInstance, Map<string, Held>>()

/** A log whose lines name the request. Made when there is something to tell, as one for each costs a refresh 3 %. */
export function logOf({ id, log, server }: FastifyRequest): FastifyBaseLogger {
  return log === server.log ? log.child({ request_id: id }) : log
}

/** Writes the line of an event that happened in a request. */
export function tell(request: FastifyRequest, event: EventName, client: Client, details: EventDetails = {}): void {
  const { level, isCounted }: EventKind = EVENTS[event]
  if (request.log.level !== 'debug' && request.log.level !== 'trace' && level === 'debug') return
  const log = logOf(request)
  const line = { event, address: client.ip, user_agent: client.userAgent, ...details }
  if (isCounted)
    atMostOnceAMinute(heldOf(request.server), `${event} ${details.limit}`, (count) => log[level]({ ...line, count }))
  else log[level](line)
}

function heldOf(app: FastifyInstance): Map<string, Held> {
  const held = heldBy.get(app) ?? new Map<string, Held>()
  heldBy.set(app, held)
  return held
}

/**
 * Writes the first at once; those that follow within a minute are one line at its end, with the details of the last.
 */
function atMostOnceAMinute(held: Map<string, Held>, kind: string, write: Held['write'], count = 1): void {
  const earlier = held.get(kind)
  held.set(kind, { count: earlier ? earlier.count + count : 0, write })
  if (earlier) return
  write(count)
  setTimeout(() => {
    const { count = 0, write } = held.get(kind) ?? {}
    held.delete(kind)
    if (write && count > 0) atMostOnceAMinute(held, kind, write, count)
  }, MINUTE_MS).unref()
}

/** Writes at the end what is held back. */
export function tellHeld(app: FastifyInstance): void {
  for (const { count, write } of heldOf(app).values()) if (count > 0) write(count)
  heldOf(app).clear()
}
