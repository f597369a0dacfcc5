/** What stands in front of the module: it serves pages, and forwards the rest as the proxies do that people use. */
import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { createServer, request as forward, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { after } from 'node:test'
import { isThere, makeAuthority } from '../../../../test/support/certificates.ts'

type Headers = Record<string, string | undefined>

/** The headers that they send instead of those that came, to the module at that host. */
export const WAYS = {
  /** As in deploy/. */
  proxy: ({ headers, socket }: IncomingMessage): Headers => ({
    'x-forwarded-for': socket.remoteAddress,
    'x-forwarded-host': headers.host,
    'x-forwarded-proto': 'encrypted' in socket ? 'https' : 'http',
  }),
  /** Vite 8.3.8, `'/auth': 'http://127.0.0.1:3000'`: its proxy makes that changeOrigin: true, and adds nothing. */
  'Vite, string': (_: IncomingMessage, host: string): Headers => ({ host }),
  /** Vite 8.3.8, `{ target, changeOrigin: false }`, which is the default of the object form. */
  'Vite, object': (): Headers => ({}),
  /** Next 16.4.6, router-utils/proxy-request: changeOrigin: true, and X-Forwarded-Host. */
  Next: ({ headers }: IncomingMessage, host: string): Headers => ({ host, 'x-forwarded-host': headers.host }),
}
export type Way = keyof typeof WAYS

export interface Front {
  port: number
  /** The module's URL. */
  target: string
  /** Each request, as method and path, waits for what it returns. */
  hold: (request: string) => Promise<void>
}

const tls = isThere('openssl') ? makeTls() : {}

/**
 * Listens on a port of its own until the test file ends.
 * @param prefix of the module's paths, taken away
 */
export async function startFront(scheme: string, way: Way, prefix = ''): Promise<Front> {
  const front: Front = { port: 0, target: '', hold: async () => {} }

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = request.url as string
    if (path.startsWith('/?')) return sendFile(response, 'text/html', 'test/support/where.html')
    if (/^\/dist\/[a-z]+\.js$/.test(path)) return sendFile(response, 'text/javascript', path)
    await front.hold(`${request.method} ${path}`)
    const { hostname, port, host } = new URL(front.target)
    const headers = { ...request.headers, ...WAYS[way](request, host) }
    const asked = { hostname, port, path: path.slice(prefix.length), method: request.method as string, headers }
    const passed = forward(asked, (answer) => {
      response.writeHead(answer.statusCode as number, answer.headers)
      answer.pipe(response)
    })
    passed.on('error', () => response.destroy())
    request.pipe(passed)
  }

  const listener = (request: IncomingMessage, response: ServerResponse) => {
    serve(request, response).catch((error) => response.destroy(error))
  }
  const server = scheme === 'https:' ? createTlsServer(tls, listener) : createServer(listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  after(() => {
    server.close()
    server.closeAllConnections()
  })
  front.port = (server.address() as AddressInfo).port
  return front
}

function makeTls() {
  const { certificate, key } = makeAuthority().issue('example.com')
  return { cert: readFileSync(certificate), key: readFileSync(key) }
}

async function sendFile(response: ServerResponse, type: string, path: string): Promise<void> {
  response.writeHead(200, { 'content-type': type, 'access-control-allow-origin': '*' })
  response.end(await readFile(join(import.meta.dirname, '../..', path)))
}
