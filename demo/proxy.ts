/**
 * Passes requests on to the servers behind the page's origin. On the way to the module it can do, for the demo only,
 * what thieves and bad networks do: it knows used refresh tokens, and loses answers. The module has none of this.
 */
import { request as ask, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import { buffer } from 'node:stream/consumers'
import { sessionIdOf } from '../src/utils/tokens.ts'

const REFRESH = '/auth/token/refresh'
/** Under /auth, since that is the path of the cookie. */
const DEMO_ONLY = '/auth/demo-only/'
const MAX_SESSIONS = 1000

interface Answer {
  status: number
  headers: IncomingHttpHeaders
  body: Buffer
}

/** `lose`: nothing of the answer counts, its cookie neither. `cut`: the cookie arrives, and half of the body. */
type Fault = 'lose' | 'cut'

/** What is done to a session, by the name of its path; false when nothing is known of the session. */
export type Deeds = Map<string, (sessionId: string) => Promise<boolean>>

export function createAuthProxy(target: string, deeds: Deeds) {
  /** By session: what goes wrong with its next refresh, and the token that its last refresh used up. */
  const faults = new Map<string, Fault>()
  const usedTokens = new Map<string, string>()

  return async (request: IncomingMessage, response: ServerResponse): Promise<unknown> => {
    const path = request.url ?? ''
    const token = refreshTokenIn(request.headers)
    const session = token && sessionOf(token)
    if (path.startsWith(DEMO_ONLY)) {
      // SameSite does not look at ports: a page of another server on this host would have the cookie sent along.
      const isOwnPage = request.method === 'POST' && request.headers.origin === `http://${request.headers.host}`
      if (!isOwnPage) return response.writeHead(403).end()
      if (!session) return response.writeHead(409).end()
      return answerDemoOnly(path.slice(DEMO_ONLY.length), session, response)
    }

    const answer = await forward(target, request)
    if (path !== REFRESH || !session || answer.status !== 200) return send(response, answer)
    keep(usedTokens, session, token)
    const fault = faults.get(session)
    faults.delete(session)
    if (fault) breakOff(response, answer, fault)
    else send(response, answer)
  }

  async function answerDemoOnly(name: string, session: string, response: ServerResponse): Promise<unknown> {
    switch (name) {
      case 'lose-next-answer':
        keep(faults, session, 'lose')
        return response.writeHead(204).end()
      case 'cut-next-answer':
        keep(faults, session, 'cut')
        return response.writeHead(204).end()
      case 'replay-used-token': {
        const usedToken = usedTokens.get(session)
        if (!usedToken) return response.writeHead(409).end()
        const headers = { cookie: `refresh_token=${usedToken}` }
        const replayed = await fetch(target + REFRESH, { method: 'POST', headers })
        const { error } = (await replayed.json()) as { error?: { code: string } }
        // Not with the status itself: what is told here is what the thief was told.
        return response
          .writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-store' })
          .end(JSON.stringify({ status: replayed.status, code: error?.code }))
      }
      default: {
        const deed = deeds.get(name)
        if (!deed) return response.writeHead(404).end()
        return response.writeHead((await deed(session)) ? 204 : 409).end()
      }
    }
  }
}

/** Anybody may name sessions, so there is an end to how many are remembered: the oldest makes room for the next. */
export function keep<Value>(values: Map<string, Value>, session: string, value: Value): void {
  values.delete(session)
  const [oldest] = values.keys()
  if (oldest !== undefined && values.size >= MAX_SESSIONS) values.delete(oldest)
  values.set(session, value)
}

export async function passOn(target: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
  send(response, await forward(target, request))
}

/** The Host stays as it came, so the module sees the page's own origin. */
function forward(target: string, request: IncomingMessage): Promise<Answer> {
  const { hostname, port } = new URL(target)
  const { method, url, headers } = request
  return new Promise((resolve, reject) => {
    const outgoing = ask({ hostname, port, method, path: url, headers } as object, (incoming) => {
      const { statusCode: status = 502, headers } = incoming
      buffer(incoming).then((body) => resolve({ status, headers: endToEnd(headers), body }), reject)
    })
    request.pipe(outgoing.on('error', reject))
    request.once('close', () => {
      if (!request.complete) outgoing.destroy(new Error('The sender left in the middle of a request'))
    })
  })
}

/** Without what concerns one connection alone (RFC 9110, section 7.6.1). */
function endToEnd({ connection, 'keep-alive': _, 'transfer-encoding': __, ...headers }: IncomingHttpHeaders) {
  return headers
}

function send(response: ServerResponse, { status, headers, body }: Answer): void {
  response.writeHead(status, headers).end(body)
}

/** The head is always sent: a browser that got nothing at all may repeat the request without telling the page. */
function breakOff(response: ServerResponse, { status, headers, body }: Answer, fault: Fault): void {
  const { 'set-cookie': cookie, ...others } = headers
  response.writeHead(status, { ...others, ...(fault === 'cut' && { 'set-cookie': cookie }) })
  response.write(body.subarray(0, body.length / 2), () => setTimeout(() => response.destroy(), 50))
}

function refreshTokenIn({ cookie }: { cookie?: string | undefined }): string | undefined {
  return /(?:^|; )refresh_token=([\w-]{64})/.exec(cookie ?? '')?.[1]
}

/** The first 16 bytes of a refresh token are the same for the whole session. */
function sessionOf(token: string): string {
  return sessionIdOf(Buffer.from(token, 'base64url').subarray(0, 16))
}
