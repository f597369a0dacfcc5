/** Adapter for Express 4 and 5, and for what stands on it. */
import type { Request, RequestHandler, Response } from 'express'
import type { Auth, Verifier } from './auth.ts'
import { authenticate, setAuth, type TokenOptions } from './bearer.ts'
import type { VerifierError } from './errors.ts'

export { authOf } from './bearer.ts'

declare global {
  namespace Express {
    interface Request {
      /** Undefined until `requireToken` let the request pass, and for one without a token. */
      auth?: Auth
    }
  }
}

export interface ExpressOptions extends TokenOptions {
  /** What the request's member is called. Default "auth". */
  name?: string
  /** Told of each refusal. It may answer, or throw it to your error handler; otherwise it is answered after it. */
  onRefusal?: (refusal: VerifierError, request: Request, response: Response) => unknown
}

/** The middleware of routes that want an access token. */
export function requireToken(
  verifier: Pick<Verifier, 'verify'>,
  { name = 'auth', onRefusal, ...options }: ExpressOptions = {},
): RequestHandler {
  return async (request, response, next) => {
    try {
      const { auth, refusal } = await authenticate(verifier, request.headers.authorization, options)
      if (refusal) {
        await onRefusal?.(refusal, request, response)
        if (!response.headersSent) response.status(refusal.status).set(refusal.headers).json(refusal.body)
        return
      }
      if (auth) {
        setAuth(request, auth)
        Object.assign(request, { [name]: auth })
      }
    } catch (error) {
      return next(error)
    }
    next()
  }
}
