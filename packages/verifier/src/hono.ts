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
  /** Answers in our place; `throw refusal` leaves it to `app.onError`. */
  onRefusal?: (refusal: VerifierError, context: Context) => Response | Promise<Response>
}

/** The middleware of routes that want an access token. */
export function requireToken(
  verifier: Pick<Verifier, 'verify'>,
  { name = 'auth', onRefusal = answer, ...options }: HonoOptions = {},
): MiddlewareHandler {
  return async (context, next) => {
    const { auth, refusal } = await authenticate(verifier, context.req.header('authorization'), options)
    if (refusal) return onRefusal(refusal, context)
    if (auth) {
      setAuth(context, auth)
      context.set(name, auth)
    }
    await next()
  }
}

function answer({ status, headers, body }: VerifierError, context: Context): Response {
  return context.json(body, status, headers)
}
