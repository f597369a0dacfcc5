/** What tests expect, and how they wait for it. */
import assert from 'node:assert/strict'
import { AuthClientError, type AuthErrorCode } from '../../src/errors.ts'

/** Checks a rejection: its code, and whichever other members are given. */
export function fails(code: AuthErrorCode, more: { status?: number; retryAfterSeconds?: number } = {}) {
  return (error: unknown) => {
    assert.ok(error instanceof AuthClientError, String(error))
    assert.equal(error.code, code, error.message)
    if (more.status !== undefined) assert.equal(error.status, more.status)
    if (more.retryAfterSeconds !== undefined) assert.equal(error.retryAfterSeconds, more.retryAfterSeconds)
    return true
  }
}

const MOST_TRIES = 6000
const PAUSE_MS = 10

/** Tries until it succeeds; a machine that pauses loses no try by it. */
export async function eventually<Result>(check: () => Result | Promise<Result>): Promise<Result> {
  for (let tries = 1; ; tries++)
    try {
      return await check()
    } catch (error) {
      if (tries === MOST_TRIES) throw error
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
    }
}
