/** Tokens that nobody signed (RFC 8725, section 3.1). */

import { unsigned } from '../support/forgery.ts'
import { refuseTokens, type Target } from '../support/hostile.ts'

export default function attack(target: Target): void {
  refuseTokens(target, {
    'an unsigned JWT alone': (it) => unsigned(it, 'none'),
    'an inner token with alg none': (it) => it.token({ content: unsigned(it, 'none') }),
    'an inner token with alg NONE': (it) => it.token({ content: unsigned(it, 'NONE') }),
    'an inner token with an empty alg': (it) => it.token({ content: unsigned(it, '') }),
    'an inner token whose signature was taken away': (it) =>
      it.token({ content: it.jws({ signatureKey: it.stranger }).replace(/[^.]+$/, '') }),
  })
}
