/** Tokens of another time, beyond the 60 s by which clocks may differ. */
import { type Forgery, now } from '../support/forgery.ts'
import { refuseTokens, type Target } from '../support/hostile.ts'

export const needs = ['module']

export default function attack(target: Target): void {
  const expired = { iat: now() - 1000, exp: now() - 100 }
  const late = {
    'one that has expired': (it: Forgery) => it.token({ claims: expired }),
    'one whose copy of exp alone is later': (it: Forgery) => it.token({ claims: expired, outer: { exp: now() + 900 } }),
  }
  refuseTokens(target, late, 'AUTH_TOKEN_EXPIRED')
  refuseTokens(target, {
    'one that has expired, signed by a stranger': (it) => it.token({ claims: expired, signatureKey: it.stranger }),
    'one that is issued in the future': (it) => it.token({ claims: { iat: now() + 100, exp: now() + 1000 } }),
    'one that is not valid yet': (it) => it.token({ claims: { nbf: now() + 600 } }),
    'an exp that is a text': (it) => it.token({ claims: { exp: String(now() + 900) } }),
    'an exp that is no number': (it) => it.token({ claims: { exp: null } }),
    'an iat that is a text': (it) => it.token({ claims: { iat: String(now()) } }),
  })
}
