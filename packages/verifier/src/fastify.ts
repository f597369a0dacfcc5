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
  /** Answers in our place; `throw refusal` leaves it to your error handler. */
  onRefusal?: (refusal: VerifierError, request: FastifyRequest, reply: FastifyReply) => unknown
}

/** The onRequest hook of routes that want an access token: before it is known who sends a body, none is read. */
export function requireToken(
  verifier: Pick<Verifier, 'verify'>,
  { name = 'auth', onRefusal = answer, ...options }: FastifyOptions = {},
): onRequestAsyncHookHandler {
  return async (request, reply) => {
    const { auth, refusal } = await authenticate(verifier, request.headers.authorization, options)
    if (refusal) return onRefusal(refusal, request, reply)
    if (auth) {
      setAuth(request, auth)
      Object.assign(request, { [name]: auth })
    }
  }
}

function answer({ status, headers, body }: VerifierError, _request: FastifyRequest, reply: FastifyReply): FastifyReply {
  return reply.code(status).headers(headers).send(body)
}
