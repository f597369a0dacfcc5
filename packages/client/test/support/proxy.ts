/** Stands between a client and the module, and does to requests and answers what networks do. */
import { createServer, request as forward, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after } from 'node:test'

export type Fault =
  /** The request never arrives. */
  | { kind: 'lose request' }
  /** The module does what it is asked, but its answer gets lost. */
  | { kind: 'lose answer' }
  /** The head of the answer comes through, cookie and all, and half of the body. */
  | { kind: 'cut answer' }
  /** Somebody on the way answers instead. */
  | { kind: 'answer'; status: number; headers?: Record<string, string>; body?: string }
  /** The request is held back until the promise resolves. */
  | { kind: 'hold request'; until: Promise<unknown> }
  | { kind: 'hold answer'; until: Promise<unknown> }
  /** The head of the answer comes through at once, cookie and all. */
  | { kind: 'hold body'; until: Promise<unknown> }

export interface Seen {
  method: string
  path: string
  headers: IncomingMessage['headers']
  /** The parsed JSON, if there is any. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into requests of many shapes
  body: any
  /** What the module answered; undefined until it has, or if it was never asked. */
  status?: number
  code?: string
}

export interface FaultyProxy {
  url: string
  port: number
  /** Every request so far, oldest first. */
  seen: Seen[]
  /** Decides about each request; undefined lets it pass. */
  decide: (seen: Seen) => Fault | undefined
  /** Those of one path. */
  of(path: string): Seen[]
}

export type Pages = (path: string) => Promise<{ type: string; content: string | Buffer } | undefined>

/** Listens on a port of its own until the test file ends. Paths that `pages` knows are not forwarded. */
export async function startProxy(target: string, pages: Pages = async () => undefined): Promise<FaultyProxy> {
  const proxy: FaultyProxy = {
    url: '',
    port: 0,
    seen: [],
    decide: () => undefined,
    of: (path) => proxy.seen.filter((seen) => seen.path === path),
  }

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const text = await textOf(request)
    const page = await pages(request.url as string)
    if (page) return void response.writeHead(200, { 'content-type': page.type }).end(page.content)

    const { method, url, headers } = request
    const seen: Seen = { method: method as string, path: url as string, headers, body: text && JSON.parse(text) }
    proxy.seen.push(seen)
    const fault = proxy.decide(seen)
    if (fault?.kind === 'lose request') return void response.destroy()
    if (fault?.kind === 'answer')
      return void response.writeHead(fault.status, fault.headers ?? {}).end(fault.body ?? 'gateway')
    if (fault?.kind === 'hold request') await fault.until

    const answer = await ask(target, request, text)
    const body = await textOf(answer)
    seen.status = answer.statusCode as number
    seen.code = body && JSON.parse(body).error?.code
    if (fault?.kind === 'hold answer') await fault.until
    if (fault?.kind === 'lose answer') return void response.destroy()
    const { 'transfer-encoding': _, ...answerHeaders } = answer.headers
    response.writeHead(seen.status, answerHeaders)
    response.flushHeaders()
    if (fault?.kind === 'hold body') await fault.until
    if (fault?.kind !== 'cut answer') return void response.end(body)
    response.write(body.slice(0, body.length / 2), () => setImmediate(() => response.destroy()))
  }

  const server = createServer((request, response) => {
    serve(request, response).catch((error) => response.destroy(error))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  after(() => {
    server.close()
    server.closeAllConnections()
  })
  proxy.port = (server.address() as AddressInfo).port
  proxy.url = `http://127.0.0.1:${proxy.port}`
  return proxy
}

function ask(target: string, { method, url, headers }: IncomingMessage, text: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    // The Host stays as it came, so the module sees the page's own origin.
    const { hostname, port } = new URL(target)
    const options = { hostname, port, path: url as string, method: method as string, headers }
    forward(options, resolve).on('error', reject).end(text)
  })
}

async function textOf(message: IncomingMessage): Promise<string> {
  let text = ''
  for await (const chunk of message.setEncoding('utf8')) text += chunk
  return text
}
