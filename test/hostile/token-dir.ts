/** An outer layer whose key anybody has (RFC 7518, section 4.5). */
import type { Forgery } from '../support/forgery.ts'
import { refuseTokens, type Target } from '../support/hostile.ts'
import { encode, publicHalf } from '../support/jose_by_hand.ts'

export default function attack(target: Target): void {
  refuseTokens(target, {
    'an outer alg of dir with a key of zeros': (it) => withKey(it, Buffer.alloc(32)),
    'an outer alg of dir with a key out of our public one': (it) =>
      withKey(it, Buffer.from(JSON.stringify(publicHalf(it.encryptionKey))).subarray(0, 32)),
    'an outer alg of none': (it) => it.token({ signatureKey: it.stranger, named: { alg: 'none' } }),
  })

  function withKey(it: Forgery, bytes: Buffer): string {
    const key = { kty: 'oct', alg: 'dir', kid: it.encryptionKey.kid, k: encode(bytes) }
    return it.token({ signatureKey: it.stranger, encryptionKey: key })
  }
}
