/** Adapter for plain `node:http` and `node:https`. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Auth, Verifier } from './auth.ts'
import { authenticate, type TokenOptions } from './bearer.ts'
import type { VerifierError } from './errors.ts'

export interface NodeOptions extends Pick<TokenOptions, 'check'> {
  /** Answers in our place. */
  onRefusal?: (refusal: VerifierError, request: IncomingMessage, response: ServerResponse) => unknown
}

/** @returns who sends the request, or undefined when it was refused and has been answered */
export async function requireToken(
  verifier: Pick<Verifier, 'verify'>,
  request: IncomingMessage,
  response: ServerResponse,
  { onRefusal = answer, ...options }: NodeOptions = {},
): Promise<Auth | undefined> {
  const { auth, refusal } = await authenticate(verifier, request.headers.authorization, options)
  if (refusal) await onRefusal(refusal, request, response)
  return auth
}

function answer({ status, headers, body }: VerifierError, _request: IncomingMessage, response: ServerResponse): void {
  response.writeHead(status, { ...headers, 'content-type': 'application/json; charset=utf-8' })
  response.end(JSON.stringify(body))
}
