/** Adapter for Express 4 and 5. */
import type { RequestHandler } from 'express'
import { authenticate } from './bearer.ts'
import type { AccessClaims } from './claims.ts'
import type { Verifier } from './verifier.ts'

declare global {
  namespace Express {
    interface Request {
      /** Undefined until `requireToken` let the request pass. */
      claims?: AccessClaims
    }
  }
}

/** The middleware of routes that want an access token; sets `request.claims`. */
export function requireToken(verifier: Verifier): RequestHandler {
  return (request, response, next) => {
    authenticate(verifier, request.headers.authorization).then((result) => {
      if ('refusal' in result) {
        response.status(result.refusal.status).set(result.refusal.headers).json(result.refusal.body)
        return
      }
      request.claims = result.claims
      next()
    }, next)
  }
}
