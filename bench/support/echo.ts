/**
 * The reference for what HTTP alone costs: a bare Fastify server with requests and answers as large as the module's.
 */
import type { OperationOptions } from '../generator/load.ts'
import type { EchoRoute } from '../references/echo_server.ts'
import { type ServerProcess, startServer } from './children.ts'

/** Headers that bare Fastify and Node send as well. */
const COMMON_HEADERS = ['content-type', 'content-length', 'date', 'connection', 'keep-alive']
/** Of `x-padding: ` and the line's end. */
const PADDING_OVERHEAD_BYTES = 13

export type EchoServer = Awaited<ReturnType<typeof startEchoServer>>

/**
 * Asks the module once for each answer, the refresh with this token, and has a bare server give answers of equal
 * size.
 */
export async function startEchoServer(
  module: ServerProcess,
  refreshToken: string,
  partsEnvironment: Record<string, string>,
) {
  const probe = async (path: string, options: RequestInit) => {
    const answer = await fetch(module.url + path, options)
    if (!answer.ok) throw new Error(`${path} answered ${answer.status}`)
    const extra = [...answer.headers].filter(([name]) => !COMMON_HEADERS.includes(name))
    const bytes = extra.reduce((sum, [name, value]) => sum + name.length + value.length + 4, 0)
    return {
      text: await answer.text(),
      headers: answer.headers,
      paddingBytes: Math.max(0, bytes - PADDING_OVERHEAD_BYTES),
    }
  }
  const json = { 'content-type': 'application/json' }
  const body = JSON.stringify({ refresh_token: refreshToken })
  const refreshed = await probe('/auth/token/refresh', { method: 'POST', headers: json, body })
  const accessToken: string = JSON.parse(refreshed.text).access_token
  const authorization = { authorization: `Bearer ${accessToken}` }
  const me = await probe('/auth/me', { headers: authorization })
  const jwks = await probe('/.well-known/jwks.json', {})
  const { paddingBytes } = refreshed
  const routes: EchoRoute[] = [
    { method: 'POST', path: '/refresh', answer: refreshed.text, isObject: true, paddingBytes },
    { method: 'GET', path: '/me', answer: me.text, isObject: true, paddingBytes: me.paddingBytes },
    { method: 'GET', path: '/jwks', answer: jwks.text, isObject: false, paddingBytes: jwks.paddingBytes },
  ]
  const [refreshRoute, meRoute] = routes as [EchoRoute, EchoRoute]
  const partsRoutes: EchoRoute[] = [
    { ...refreshRoute, parts: ['rotate', 'issue'] },
    { ...meRoute, parts: ['select'] },
  ]
  const start = (routes: EchoRoute[], env: Record<string, string>) =>
    startServer(process.execPath, ['references/echo_server.ts'], { ...env, ECHO_ROUTES: JSON.stringify(routes) })
  const server = await start(routes, {})
  const partsServer = await start(partsRoutes, partsEnvironment)
  const echo = (path: string, answer: string, headers: Record<string, string>, sent?: string): OperationOptions => ({
    ...{ name: 'echo', method: sent === undefined ? 'GET' : 'POST', path, headers, answer },
    ...(sent !== undefined && { body: sent }),
  })
  return {
    server,
    /** The same routes, but each does all parts of the operation. */
    partsServer,
    accessToken,
    etag: jwks.headers.get('etag') as string,
    refresh: echo('/refresh', refreshed.text, json, body),
    me: echo('/me', me.text, authorization),
    jwks: echo('/jwks', jwks.text, {}),
  }
}
