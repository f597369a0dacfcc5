/** Ways to wrap a key that leave an oracle, or are not those of our keys (RFC 8725, section 3.2). */
import { refuseTokens, type Target } from '../support/hostile.ts'

export default function attack(target: Target): void {
  for (const alg of ['RSA1_5', 'RSA-OAEP', 'RSA-OAEP-512', 'ECDH-ES', 'ECDH-ES+A128KW', 'A256KW', 'A256GCMKW'])
    refuseTokens(target, {
      [`an outer alg of ${alg}`]: (it) => it.token({ signatureKey: it.stranger, named: { alg } }),
    })
}
