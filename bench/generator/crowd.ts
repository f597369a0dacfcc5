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
const MOST_OPENING = 200
const LOOK_INTERVAL_MS = 100

serveTasks<Crowd>(async ({ url, silent, halfSent, seconds }, begin) => {
  const { hostname, port } = new URL(url)
  let open = 0
  let opened = 0
  let opening = 0

  /** Half requests in their share, so that the crowd keeps its mixture. */
  function openOne(text: string | undefined): void {
    if (opening >= MOST_OPENING) return void setTimeout(openOne, LOOK_INTERVAL_MS, text)
    opening++
    const localAddress = `127.0.1.${1 + (opened++ % ADDRESSES)}`
    const socket = connect({ host: hostname, port: Number(port), localAddress })
    let isOpen = false
    socket.once('connect', () => {
      isOpen = true
      opening--
      open++
      if (text) socket.write(text)
    })
    socket.once('close', () => {
      if (isOpen) open--
      else opening--
      openOne(text)
    })
    socket.on('error', () => {}) // 'close' follows
    socket.resume()
  }

  for (let index = 0; index < silent; index++) openOne(undefined)
  for (let index = 0; index < halfSent; index++) openOne(HALF_REQUEST)
  while (open < (silent + halfSent) * 0.95) await pause(LOOK_INTERVAL_MS)
  begin()
  const openedAtBegin = opened
  let leastOpen = open
  for (const endsAtMs = performance.now() + seconds * 1000; performance.now() < endsAtMs; ) {
    leastOpen = Math.min(leastOpen, open)
    await pause(LOOK_INTERVAL_MS)
  }
  return { leastOpen, openedAnew: opened - openedAtBegin } satisfies CrowdResult
})
