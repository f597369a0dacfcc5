/** Access tokens verified a short while ago, so that one shown again costs no cryptography. */
import { LRUCache } from 'lru-cache'
import type { Config } from '../config.ts'
import { type VerifiedToken, verifyAccessToken } from '../utils/crypto.ts'
import type { KeyStore } from '../utils/jwks.ts'
import { sha256 } from '../utils/tokens.ts'

export type VerifiedTokens = ReturnType<typeof createVerifiedTokens>

/** @param maxTokens beyond so many the one shown longest ago is forgotten */
export function createVerifiedTokens(keys: KeyStore, config: Config, maxTokens = 10_000) {
  const verified = new LRUCache<string, VerifiedToken>({ max: maxTokens })

  /** What may have changed since: the time, and the keys. Whether its session is revoked, only the database knows. */
  async function isStillGood({ exp, signingKid, encryptionKid }: VerifiedToken): Promise<boolean> {
    if (exp + config.clockSkewSeconds <= Math.floor(Date.now() / 1000)) return false
    return Boolean((await keys.find('sig', signingKid)) && (await keys.find('enc', encryptionKid)))
  }

  return {
    /** Verifies a token, by its SHA-256 if it was verified before.
     * @throws {AuthError} as `verifyAccessToken` does */
    async verify(token = ''): Promise<VerifiedToken> {
      const digest = sha256(token).toString('base64url')
      const known = verified.get(digest)
      if (known && (await isStillGood(known))) return known

      const fresh = await verifyAccessToken(keys, config, token)
      verified.set(digest, fresh)
      return fresh
    },
  }
}
