/**
 * Holds connections to a server that say nothing, or half a request, and opens each anew as soon as the server closes
 * it, until it is stopped. A process of its own, like the load generator.
 */
import { connect } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { serveTasks } from '../support/children.ts'

export interface Crowd {
  url: string
  silent: number
  halfSent: number
  /** For so long, from the moment at which all are open. */
  seconds: number
}

export interface CrowdResult {
  /** Connections that were open at the emptiest moment. */
  leastOpen: number
  /** Connections that the server had closed and that were opened again. */
  openedAnew: number
}

const HALF_REQUEST = 'POST /auth/token/refresh HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n'
/** One address has too few ports for all that are opened in a minute; each of these is the machine's own. */
const ADDRESSES = 64
/** In which all are opened: a little less than the module suffers them, so that they do not come in waves. */
const OPENED_WITHIN_MS = 4000
const TICK_MS = 10
/** On a machine that is too slow for all of them, the measurement begins with those that are there. */
const PATIENCE_MS = 30_000

serveTasks<Crowd>(async ({ url, silent, halfSent, seconds }, begin) => {
  const { hostname, port } = new URL(url)
  const missing = [...Array<string>(silent).fill(''), ...Array<string>(halfSent).fill(HALF_REQUEST)]
  const openedATick = (missing.length * TICK_MS) / OPENED_WITHIN_MS
  let open = 0
  let opened = 0

  function openOne(text: string): void {
    const localAddress = `127.0.1.${1 + (opened++ % ADDRESSES)}`
    const socket = connect({ host: hostname, port: Number(port), localAddress })
    let isOpen = false
    socket.once('connect', () => {
      isOpen = true
      open++
      socket.write(text)
    })
    socket.once('close', () => {
      if (isOpen) open--
      missing.push(text)
    })
    socket.on('error', () => {}) // 'close' follows
    socket.resume()
  }

  setInterval(() => missing.splice(0, openedATick).forEach(openOne), TICK_MS)
  const patienceEndsAtMs = performance.now() + PATIENCE_MS
  while (open < (silent + halfSent) * 0.95 && performance.now() < patienceEndsAtMs) await pause(TICK_MS)
  begin()
  const openedAtBegin = opened
  let leastOpen = open
  for (const endsAtMs = performance.now() + seconds * 1000; performance.now() < endsAtMs; ) {
    leastOpen = Math.min(leastOpen, open)
    await pause(TICK_MS)
  }
  return { leastOpen, openedAnew: opened - openedAtBegin } satisfies CrowdResult
})
