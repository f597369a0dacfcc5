/** Adapter for Fastify 5. */
import type { FastifyReply, FastifyRequest, onRequestAsyncHookHandler } from 'fastify'
import type { Auth, Verifier } from './auth.ts'
import { authenticate, setAuth, type TokenOptions } from './bearer.ts'
import type { VerifierError } from './errors.ts'

export { authOf } from './bearer.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** Undefined until `requireToken` let the request pass, and for one without a token. */
    auth?: Auth
  }
}

export interface FastifyOptions extends TokenOptions {
  /** What the request's member is called. Default "auth". */
  name?: string
  /**
   * Told of each refusal. It may answer, and return the reply, or throw it to your error handler; otherwise it is
   * answered after it.
   */
  onRefusal?: (refusal: VerifierError, request: FastifyRequest, reply: FastifyReply) => unknown
}

/** The onRequest hook of routes that want an access token: before it is known who sends a body, none is read. */
export function requireToken(
  verifier: Pick<Verifier, 'verify'>,
  { name = 'auth', onRefusal, ...options }: FastifyOptions = {},
): onRequestAsyncHookHandler {
  return async (request, reply) => {
    const { auth, refusal } = await authenticate(verifier, request.headers.authorization, options)
    if (refusal) {
      await onRefusal?.(refusal, request, reply)
      return reply.sent ? reply : reply.code(refusal.status).headers(refusal.headers).send(refusal.body)
    }
    if (auth) {
      setAuth(request, auth)
      Object.assign(request, { [name]: auth })
    }
  }
}
