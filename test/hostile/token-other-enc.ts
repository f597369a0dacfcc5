/** Content encrypted otherwise than by A256GCM. */
import { refuseTokens, type Target } from '../support/hostile.ts'

export default function attack(target: Target): void {
  refuseTokens(target, {
    'an outer enc of A128GCM': (it) => it.token({ signatureKey: it.stranger, outer: { enc: 'A128GCM' } }),
    'an outer enc that only pretends to be A128GCM': (it) =>
      it.token({ signatureKey: it.stranger, named: { enc: 'A128GCM' } }),
    'an outer enc of A256CBC-HS512': (it) => it.token({ signatureKey: it.stranger, named: { enc: 'A256CBC-HS512' } }),
    'an outer enc that is missing': (it) => it.token({ signatureKey: it.stranger, named: { enc: undefined } }),
  })
}
