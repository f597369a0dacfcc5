/** Adapter for Fastify 5. */
import type { FastifyPluginAsync, preHandlerAsyncHookHandler } from 'fastify'
import { authenticate } from './bearer.ts'
import type { AccessClaims } from './claims.ts'
import type { Verifier } from './verifier.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The preHandler of routes that want an access token. */
    requireToken: preHandlerAsyncHookHandler
  }
  interface FastifyRequest {
    /** Null until `requireToken` let the request pass. */
    claims: AccessClaims | null
  }
}

/** Decorates the instance with `requireToken` and its requests with `claims`. */
export const verifierPlugin: FastifyPluginAsync<{ verifier: Verifier }> = async (app, { verifier }) => {
  app.decorateRequest('claims', null)
  app.decorate('requireToken', async (request, reply) => {
    const result = await authenticate(verifier, request.headers.authorization)
    if ('refusal' in result)
      return reply.code(result.refusal.status).headers(result.refusal.headers).send(result.refusal.body)
    request.claims = result.claims
  })
}

// Fastify would otherwise keep the decorators from the routes beside the plugin.
Object.assign(verifierPlugin, { [Symbol.for('skip-override')]: true })
