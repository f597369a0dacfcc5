/** Verified tokens, by the digest of the token: the token itself is not kept. */
import { hash } from 'node:crypto'
import type { Auth } from './auth.ts'

/** A token, by what it is remembered. */
export function digestOf(token: string): string {
  return hash('sha256', token, 'base64')
}

/**
 * @param maxTokens the oldest makes room for the next; 0 keeps none
 * @param isCurrent tells whether what was known about a token still counts; if not, it is forgotten
 */
export function createTokenCache<Entry extends { auth: Auth }>(
  maxTokens: number,
  isCurrent: (entry: Entry) => boolean,
) {
  const entries = new Map<string, Entry>()
  const hasEnded = ({ auth }: Entry) => Date.now() >= auth.expiresAt * 1000

  return {
    /** Never answers a token past its `exp`, not even within the clock skew: that is left to the full verification. */
    find(digest: string): Auth | undefined {
      const entry = entries.get(digest)
      if (!entry) return undefined
      if (!hasEnded(entry) && isCurrent(entry)) return entry.auth
      entries.delete(digest)
      return undefined
    },

    add(digest: string, entry: Entry): void {
      if (maxTokens === 0 || hasEnded(entry)) return
      const [oldest] = entries.keys()
      const isFull = entries.size >= maxTokens && !entries.has(digest)
      if (oldest !== undefined && isFull) entries.delete(oldest)
      entries.set(digest, entry)
    },
  }
}
