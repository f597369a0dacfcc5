/** Bearer tokens in HTTP requests (RFC 6750): what every adapter does. */

import type { Auth, Verifier } from './auth.ts'
import { NO_TOKEN, VerifierError } from './errors.ts'

export interface TokenOptions {
  /** Lets requests without an Authorization header pass. A token that is not good is refused all the same. */
  optional?: boolean
  /** Whether a good token is enough here; if not, the answer is a 403. What it throws is a bug, and a 500. */
  check?: (auth: Auth) => boolean | Promise<boolean>
}

export type Authenticated = { auth: Auth; refusal?: undefined } | { auth?: undefined; refusal: VerifierError }
/** Both are undefined for a request that shows no token, and need not. */
export type Anonymous = { auth?: undefined; refusal?: undefined }

/**
 * For frameworks without an adapter of their own.
 * @param authorization the request's Authorization header, if it has one
 * @returns who sends it, or the error to answer it with: its `status`, `headers` and `body`, or `getResponse()`
 */
export async function authenticate(
  verifier: Pick<Verifier, 'verify'>,
  authorization: string | null | undefined,
  options?: TokenOptions & { optional?: false },
): Promise<Authenticated>
export async function authenticate(
  verifier: Pick<Verifier, 'verify'>,
  authorization: string | null | undefined,
  options: TokenOptions,
): Promise<Authenticated | Anonymous>
export async function authenticate(
  verifier: Pick<Verifier, 'verify'>,
  authorization: string | null | undefined,
  { optional = false, check = () => true }: TokenOptions = {},
): Promise<Authenticated | Anonymous> {
  if (optional && typeof authorization !== 'string') return {}
  try {
    const token = authorization?.match(/^Bearer +([^ ]+)$/i)?.[1] // section 2.1
    if (token === undefined) throw new VerifierError('AUTH_TOKEN_INVALID', NO_TOKEN)
    const auth = await verifier.verify(token)
    if (!(await check(auth))) throw new VerifierError('AUTH_FORBIDDEN', 'check')
    return { auth }
  } catch (error) {
    if (!(error instanceof VerifierError)) throw error
    return { refusal: error }
  }
}

/** By a framework's request, or its context. */
const auths = new WeakMap<object, Auth>()

export function setAuth(request: object, auth: Auth): void {
  auths.set(request, auth)
}

/**
 * Who sends a request that `requireToken` let pass.
 * @throws {Error} when it passed without a token, or no `requireToken` stands before the route
 */
export function authOf(request: object): Auth {
  const auth = auths.get(request)
  if (!auth) throw new Error('Nobody is known here: put requireToken before this route, without "optional"')
  return auth
}
