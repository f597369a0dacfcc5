/** Passwords as keys, whose rounds the sender chooses: two thousand million would take half an hour (RFC 8725, 3.2). */

import { refuseTokens, type Target } from '../support/hostile.ts'
import { encode } from '../support/jose_by_hand.ts'

export default function attack(target: Target): void {
  for (const alg of ['PBES2-HS256+A128KW', 'PBES2-HS512+A256KW'])
    refuseTokens(target, {
      [`an outer alg of ${alg} with 2^31 - 1 rounds`]: (it) =>
        it.token({ signatureKey: it.stranger, named: { alg, p2c: 2 ** 31 - 1, p2s: encode('salt') } }),
    })
}
