/** Verified tokens, by the digest of the token: the token itself is not kept. */
import type { Key } from './key_sources.ts'
import type { AccessClaims } from './verifier.ts'

export interface Verified {
  claims: AccessClaims
  decryptionKey: Key
  signingKey: Key
}

/**
 * @param maxTokens the oldest makes room for the next; 0 keeps none
 * @param areKeysCurrent an entry whose keys are no longer current is forgotten
 */
export function createTokenCache(maxTokens: number, areKeysCurrent: (verified: Verified) => boolean) {
  const entries = new Map<string, Verified>()

  return {
    /** Never answers a token past its `exp`, not even within the clock skew: that is left to the full verification. */
    find(digest: string): Verified | undefined {
      const verified = entries.get(digest)
      if (!verified) return undefined
      if (Date.now() < verified.claims.exp * 1000 && areKeysCurrent(verified)) return verified
      entries.delete(digest)
      return undefined
    },

    add(digest: string, verified: Verified): void {
      if (maxTokens === 0) return
      const [oldest] = entries.keys()
      if (oldest !== undefined && entries.size >= maxTokens) entries.delete(oldest)
      entries.set(digest, verified)
    },
  }
}
