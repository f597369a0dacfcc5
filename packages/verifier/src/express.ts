/** Adapter for Express 4 and 5, and for what stands on it. */
import type { NextFunction, Request, RequestHandler, Response } from 'express'
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
  /** Answers in our place; `next(refusal)` leaves it to your error handler. */
  onRefusal?: (refusal: VerifierError, request: Request, response: Response, next: NextFunction) => unknown
}

/** The middleware of routes that want an access token. */
export function requireToken(
  verifier: Pick<Verifier, 'verify'>,
  { name = 'auth', onRefusal = answer, ...options }: ExpressOptions = {},
): RequestHandler {
  return async (request, response, next) => {
    try {
      const { auth, refusal } = await authenticate(verifier, request.headers.authorization, options)
      if (refusal) return void (await onRefusal(refusal, request, response, next))
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

function answer({ status, headers, body }: VerifierError, _request: Request, response: Response): void {
  response.status(status).set(headers).json(body)
}
