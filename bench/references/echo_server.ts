/**
 * A bare Fastify server whose routes take the module's requests and give its answers, header by header, and do nothing
 * else.
 * ECHO_ROUTES is a JSON array of `EchoRoute`.
 */
import Fastify from 'fastify'

export interface EchoRoute {
  method: 'GET' | 'POST'
  path: string
  status: number
  /** Those that the module sends and bare Fastify does not. */
  headers: Record<string, string>
  /** JSON; it is parsed once, and written out at each request. */
  answer: string
  /** It is sent as it stands. */
  isText?: boolean
}

const app = Fastify()
for (const route of JSON.parse(process.env.ECHO_ROUTES ?? '[]') as EchoRoute[]) {
  const { method, path, status, headers, answer, isText } = route
  const payload = isText ? answer : JSON.parse(answer)
  app.route({
    method,
    url: path,
    handler: async (_request, reply) => {
      reply.code(status).headers(headers)
      return isText ? reply.type('application/json; charset=utf-8').send(payload) : payload
    },
  })
}
console.log(`The echo server listens on ${await app.listen({ host: '127.0.0.1', port: 0 })}`)
