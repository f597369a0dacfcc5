/** Verified tokens, by the digest of the token: the token itself is not kept. */

import type { AccessClaims } from './claims.ts'
import type { Key } from './key_sources.ts'

export interface Verified {
  claims: AccessClaims
  /** The one that decrypted it and the one that verified it. */
  usedKeys: readonly Key[]
}

/**
 * @param maxTokens the oldest makes room for the next; 0 keeps none
 * @param isCurrent tells whether a key still counts; a token verified with one that does not is forgotten
 */
export function createTokenCache(maxTokens: number, isCurrent: (key: Key) => boolean) {
  const entries = new Map<string, Verified>()
  const hasEnded = ({ claims }: Verified) => Date.now() >= claims.exp * 1000

  return {
    /** Never answers a token past its `exp`, not even within the clock skew: that is left to the full verification. */
    find(digest: string): Verified | undefined {
      const verified = entries.get(digest)
      if (!verified) return undefined
      if (!hasEnded(verified) && verified.usedKeys.every(isCurrent)) return verified
      entries.delete(digest)
      return undefined
    },

    add(digest: string, verified: Verified): void {
      if (maxTokens === 0 || hasEnded(verified)) return
      const [oldest] = entries.keys()
      const isFull = entries.size >= maxTokens && !entries.has(digest)
      if (oldest !== undefined && isFull) entries.delete(oldest)
      entries.set(digest, verified)
    },
  }
}
