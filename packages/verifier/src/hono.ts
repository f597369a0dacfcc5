/** Adapter for Hono 4. */
import type { MiddlewareHandler } from 'hono'
import { authenticate } from './bearer.ts'
import type { AccessClaims } from './claims.ts'
import type { Verifier } from './verifier.ts'

/** The middleware of routes that want an access token; sets the variable `claims`. */
export function requireToken(verifier: Verifier): MiddlewareHandler<{ Variables: { claims: AccessClaims } }> {
  return async (context, next) => {
    const result = await authenticate(verifier, context.req.header('authorization'))
    if ('refusal' in result) return context.json(result.refusal.body, result.refusal.status, result.refusal.headers)
    context.set('claims', result.claims)
    await next()
  }
}
