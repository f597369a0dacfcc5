/** Adapter for Hono 4. */
import type { Context, MiddlewareHandler } from 'hono'
import type { Auth, Verifier } from './auth.ts'
import { authenticate, setAuth, type TokenOptions } from './bearer.ts'
import type { VerifierError } from './errors.ts'

export { authOf } from './bearer.ts'

declare module 'hono' {
  interface ContextVariableMap {
    /** Undefined until `requireToken` let the request pass, and for one without a token. */
    auth: Auth | undefined
  }
}

export interface HonoOptions extends TokenOptions {
  /** What the context's variable is called. Default "auth". */
  name?: string
  /** Told of each refusal. It may return an answer, or throw it to `app.onError`; otherwise it is answered after it. */
  onRefusal?: (refusal: VerifierError, context: Context) => unknown
}

/** The middleware of routes that want an access token. */
export function requireToken(
  verifier: Pick<Verifier, 'verify'>,
  { name = 'auth', onRefusal, ...options }: HonoOptions = {},
): MiddlewareHandler {
  return async (context, next) => {
    const { auth, refusal } = await authenticate(verifier, context.req.header('authorization'), options)
    if (refusal) {
      const answer = await onRefusal?.(refusal, context)
      return answer instanceof Response ? answer : context.json(refusal.body, refusal.status, refusal.headers)
    }
    if (auth) {
      setAuth(context, auth)
      context.set(name, auth)
    }
    await next()
  }
}
