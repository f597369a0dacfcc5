/**
 * The reference for what HTTP alone costs: a bare Fastify server that takes the module's requests and gives its
 * answers.
 */
import type { Echo } from '../generator/load.ts'
import type { EchoRoute } from '../references/echo_server.ts'
import { type ServerProcess, startServer } from './children.ts'

/** Headers that bare Fastify and Node send as well. */
const COMMON_HEADERS = ['content-type', 'content-length', 'date', 'connection', 'keep-alive']
const JSON_HEADERS = { 'content-type': 'application/json' }

export type EchoServer = Awaited<ReturnType<typeof startEchoServer>>

export type Sample = Pick<Echo, 'method' | 'path' | 'headers' | 'body'>

/**
 * Sends the module a request once.
 * @returns the route of a bare server that answers the same, and the request as a load for either
 */
export async function sampleAnswer(module: ServerProcess, sample: Sample) {
  const { method, path, headers, body } = sample
  const answered = await fetch(module.url + path, { method, headers, body: body ?? null })
  const [status, answer] = [answered.status, await answered.text()]
  const own = [...answered.headers].filter(([name]) => !COMMON_HEADERS.includes(name))
  const route: EchoRoute = { method, path, status, headers: Object.fromEntries(own), answer }
  const operation: Echo = { ...sample, name: 'echo', status, answer }
  return { route, operation, etag: answered.headers.get('etag') }
}

export function startEchoRoutes(routes: EchoRoute[]): Promise<ServerProcess> {
  return startServer(process.execPath, ['references/echo_server.ts'], { ECHO_ROUTES: JSON.stringify(routes) })
}

/** The routes of what the module answers when all is well; it refreshes this token for that. */
export async function startEchoServer(module: ServerProcess, refreshToken: string) {
  const body = JSON.stringify({ refresh_token: refreshToken })
  const refresh = await sampleAnswer(module, {
    ...{ method: 'POST', path: '/auth/token/refresh', headers: JSON_HEADERS, body },
  })
  const accessToken: string = JSON.parse(refresh.operation.answer).access_token
  const headers = { authorization: `Bearer ${accessToken}` }
  const me = await sampleAnswer(module, { method: 'GET', path: '/auth/me', headers })
  const jwks = await sampleAnswer(module, { method: 'GET', path: '/.well-known/jwks.json', headers: {} })
  jwks.route.isText = true // the module has it written out
  const answers = [refresh, me, jwks]
  const wrong = answers.find(({ route }) => route.status !== 200)
  if (wrong) throw new Error(`${wrong.route.path} answered ${wrong.route.status}: ${wrong.route.answer}`)
  return {
    server: await startEchoRoutes(answers.map(({ route }) => route)),
    accessToken,
    etag: jwks.etag as string,
    refresh: refresh.operation,
    me: me.operation,
    jwks: jwks.operation,
  }
}
