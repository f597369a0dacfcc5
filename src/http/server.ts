/**
 * The HTTP server below the framework: how long clients may take, what is answered where there is no request, how it
 * stops.
 */
import { createServer, type RequestListener, type Server, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import { unreadableAnswer } from './errors.ts'

/** Longer than the minute for which proxies keep their connections to us. */
const IDLE_MS = 72_000
const OPTIONS = {
  headersTimeout: 5000, // from the first byte, or from the connection's begin while there is none
  requestTimeout: 10_000, // not less than the one above, or Node takes each for the other
  connectionsCheckingInterval: 1000,
  keepAliveTimeout: IDLE_MS,
  requireHostHeader: false, // it is required all the same, but in the contract's error shape
}
/** For which a refused client may read its answer before its connection is closed from both sides. */
const LINGER_MS = 1000
/** For which what was sent before the stop may still be on its way through the system to us. */
const ARRIVAL_MS = 100
/** For which requests that were under way may go on, once no new ones are accepted. */
export const STOP_TIMEOUT_MS = 10_000

export function createHttpServer() {
  /** Of each connection what is not answered yet, the oldest first; what was, until the next request comes. */
  const underWay = new Map<Socket, ServerResponse[]>()
  let isStopping = false

  function open(answer: RequestListener): Server {
    const onRequest: RequestListener = (request, response) => {
      const earlier = underWay.get(request.socket)?.filter(({ writableFinished }) => !writableFinished) ?? []
      underWay.set(request.socket, [...earlier, response])
      if (isStopping) response.setHeader('connection', 'close')
      answer(request, response)
    }
    const server = createServer(OPTIONS, onRequest)
    server.on('connection', (socket) => socket.once('close', () => underWay.delete(socket)))
    server.timeout = IDLE_MS // for those who do not take their answers
    server.on('checkExpectation', onRequest) // otherwise Node answers 417 by itself
    server.on('connect', (_request, socket: Socket) => {
      socket.on('error', () => {}) // Node has let go of it
      socket.resume()
      refuse(socket)
    })
    return server
  }

  /** For a connection that brings no request, or not in time: answers if it has said anything, and closes it. */
  function refuse(socket: Socket): void {
    if (socket.bytesRead === 0) socket.destroy()
    if (!socket.writable) return
    const whole = underWay.get(socket)?.findLast(({ req, headersSent }) => req.complete && !headersSent)
    if (whole) {
      whole.setHeader('connection', 'close') // what came before it is answered
      return
    }
    socket.end(unreadableAnswer())
    setTimeout(() => socket.destroy(), LINGER_MS).unref()
  }

  /** Has each answer close its connection; of several on one connection the last. */
  function announceStop(): void {
    isStopping = true
    for (const responses of underWay.values()) {
      const newest = responses.at(-1)
      if (newest && !newest.headersSent) newest.setHeader('connection', 'close')
    }
  }

  return {
    open,
    refuse,
    /**
     * Has `app.close()` wait for what is under way, and not for longer than STOP_TIMEOUT_MS after it has closed the
     * port.
     * @param delaySeconds for which the port stays open, because others do not know yet
     */
    registerStop(app: FastifyInstance, delaySeconds: number): void {
      app.addHook('preClose', async () => {
        announceStop()
        await pause(Math.max(delaySeconds * 1000, ARRIVAL_MS))
        setTimeout(() => app.server.closeAllConnections(), STOP_TIMEOUT_MS).unref()
      })
    },
  }
}
