/** Adapter for plain `node:http` and `node:https`. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Auth, Verifier } from './auth.ts'
import { authenticate, type TokenOptions } from './bearer.ts'
import type { VerifierError } from './errors.ts'

export interface NodeOptions extends Pick<TokenOptions, 'check'> {
  /** Told of each refusal. It may answer; otherwise it is answered after it. */
  onRefusal?: (refusal: VerifierError, request: IncomingMessage, response: ServerResponse) => unknown
}

/** @returns who sends the request, or undefined when it was refused and has been answered */
export async function requireToken(
  verifier: Pick<Verifier, 'verify'>,
  request: IncomingMessage,
  response: ServerResponse,
  { onRefusal, ...options }: NodeOptions = {},
): Promise<Auth | undefined> {
  const { auth, refusal } = await authenticate(verifier, request.headers.authorization, options)
  if (!refusal) return auth
  await onRefusal?.(refusal, request, response)
  if (response.headersSent) return undefined
  response.writeHead(refusal.status, { ...refusal.headers, 'content-type': 'application/json; charset=utf-8' })
  response.end(JSON.stringify(refusal.body))
  return undefined
}
