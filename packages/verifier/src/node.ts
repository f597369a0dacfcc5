/** Adapter for plain `node:http` and `node:https`. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { authenticate } from './bearer.ts'
import type { AccessClaims } from './claims.ts'
import type { Verifier } from './verifier.ts'

/** @returns the claims, or undefined when the request was refused and has been answered */
export async function requireToken(
  verifier: Verifier,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<AccessClaims | undefined> {
  const result = await authenticate(verifier, request.headers.authorization)
  if ('claims' in result) return result.claims
  const { status, headers, body } = result.refusal
  response.writeHead(status, { ...headers, 'content-type': 'application/json; charset=utf-8' })
  response.end(JSON.stringify(body))
  return undefined
}
