/** What every answer must have, whichever endpoint it comes from. */
import assert from 'node:assert/strict'
import type { AuthErrorCode } from '../../src/models/types.ts'
import type { Answer } from './server.ts'

/** Written out from the contract, so that a change in the code is noticed. */
const SECURITY_HEADERS = {
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
}

/** The answer is this refusal, in exactly the contract's shape and with its headers. */
export function assertRefused(answer: Answer, status: number, code: AuthErrorCode): void {
  assert.deepEqual([answer.status, answer.body?.error?.code], [status, code], JSON.stringify(answer.body))
  assert.deepEqual(answer.body, { error: { code, message: answer.body.error.message } })
  assert.match(answer.body.error.message, /^\w.+/)
  assert.match(answer.headers.get('content-type') ?? '', /^application\/json\b/)
  assert.equal(answer.headers.get('cache-control'), 'no-store')
  assertSecurityHeaders(answer)
}

export function assertSecurityHeaders({ headers }: Answer): void {
  for (const [name, value] of Object.entries(SECURITY_HEADERS)) assert.equal(headers.get(name), value, name)
  assert.match(headers.get('x-request-id') ?? '', /^[\w.-]{1,64}$/, 'what the log calls the request')
}
