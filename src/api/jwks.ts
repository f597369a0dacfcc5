/** The published keys (RFC 7517), for those who check our tokens or encrypt to us. */
import type { FastifyInstance } from 'fastify'
import Type from 'typebox'
import { REFUSALS } from '../http/errors.ts'
import { PUBLISHED_USES, type PublishedUse } from '../models/key.ts'
import type { AuthContext } from '../service/auth.ts'

const JwksQuery = Type.Object({ use: Type.Optional(Type.Enum(PUBLISHED_USES)) })
const JwksAnswer = Type.Object({ keys: Type.Array(Type.Record(Type.String(), Type.String())) })

export function registerJwksRoute(server: FastifyInstance, { config, keys }: AuthContext): void {
  const cacheControl = `public, max-age=${config.jwksCacheTtlSeconds}`

  server.get<{ Querystring: { use?: PublishedUse } }>(
    '/.well-known/jwks.json',
    { schema: { querystring: JwksQuery, response: { 200: JwksAnswer, 304: Type.Null(), ...REFUSALS } } },
    async (request, reply) => {
      const { body, etag } = keys.published(request.query.use)
      reply.headers({ 'cache-control': cacheControl, etag })
      const known = (request.headers['if-none-match'] ?? '').split(',').map((tag) => tag.trim().replace(/^W\//, ''))
      if (known.includes(etag) || known.includes('*')) return reply.code(304).send()
      return reply.type('application/json; charset=utf-8').send(body)
    },
  )
}
