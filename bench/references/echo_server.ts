/**
 * A bare Fastify server whose routes take and give as many bytes as the module's, headers included, and do nothing
 * else, but for
 * the parts of the module's operation where a route names them.
 * ECHO_ROUTES is a JSON array of `EchoRoute`.
 */
import Fastify from 'fastify'
import type { Part } from './parts.ts'

export interface EchoRoute {
  method: 'GET' | 'POST'
  path: string
  /** JSON; it is parsed and written out again at each request. */
  answer: string
  /** Written as it is, like text, when false. */
  isObject: boolean
  /** Of one header that makes up for those that the module sends and bare Fastify does not. */
  paddingBytes: number
  /** Done at each request before it is answered, so that a route is all parts of an operation and nothing else. */
  parts?: Part[]
}

const app = Fastify()
for (const { parts: partNames = [], method, path, answer, isObject, paddingBytes } of JSON.parse(
  process.env.ECHO_ROUTES ?? '[]',
) as EchoRoute[]) {
  const padding = 'x'.repeat(paddingBytes)
  const payload = isObject ? JSON.parse(answer) : answer
  // Loaded only where it is needed: an empty server must stay empty.
  const works = await Promise.all(partNames.map(async (name) => (await import('./parts.ts')).parts[name]()))
  app.route({
    method,
    url: path,
    handler: async (_request, reply) => {
      for (const work of works) await work()
      if (padding) reply.header('x-padding', padding)
      return isObject ? payload : reply.type('application/json; charset=utf-8').send(payload)
    },
  })
}
console.log(`The echo server listens on ${await app.listen({ host: '127.0.0.1', port: 0 })}`)
