/** Tokens that bring the key to verify them with, or say where to fetch it (RFC 8725, section 3.10). */

import { refuseTokens, type Target } from '../support/hostile.ts'
import { encode, publicHalf } from '../support/jose_by_hand.ts'

export default function attack(target: Target): void {
  refuseTokens(target, {
    'an inner jwk of the stranger who signed': (it) =>
      it.token({ signatureKey: it.stranger, inner: { jwk: publicHalf(it.stranger) } }),
    'an inner jwk alone, without a kid': (it) =>
      it.token({ signatureKey: it.stranger, inner: { kid: undefined, jwk: publicHalf(it.stranger) } }),
    'an inner jku of the stranger who signed': (it) =>
      it.token({ signatureKey: it.stranger, inner: { jku: 'https://evil.invalid/jwks.json' } }),
    'an inner jku with our own host in front': (it) =>
      it.token({ signatureKey: it.stranger, inner: { jku: `${target.url}@evil.invalid/jwks.json` } }),
    'an inner x5u of the stranger who signed': (it) =>
      it.token({ signatureKey: it.stranger, inner: { x5u: 'https://evil.invalid/cert.pem' } }),
    'an inner x5c': (it) => it.token({ signatureKey: it.stranger, inner: { x5c: [encode('no certificate')] } }),
  })
}
