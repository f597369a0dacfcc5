/** Tokens under our own signature whose claims are missing, are of another form, or differ from their copies. */
import { randomUUID } from 'node:crypto'
import { COPIED, now } from '../support/forgery.ts'
import { refuseTokens, type Target } from '../support/hostile.ts'

export const needs = ['module']

export default function attack(target: Target): void {
  refuseTokens(target, {
    'a subject that is no UUID': (it) => it.token({ claims: { sub: 'admin' } }),
    'a subject that is a number': (it) => it.token({ claims: { sub: 1 } }),
    'a subject that is SQL': (it) => it.token({ claims: { sub: "' or 1=1 --" } }),
    'a session id that is no UUID': (it) => it.token({ claims: { sid: 'x' } }),
    'a jti that is no UUID': (it) => it.token({ claims: { jti: 'x' } }),
  })
  for (const claim of ['sub', 'sid', ...COPIED])
    refuseTokens(target, { [`no ${claim}`]: (it) => it.token({ claims: { [claim]: undefined } }) })
  for (const claim of COPIED)
    refuseTokens(target, {
      [`no copy of ${claim}`]: (it) => it.token({ outer: { [claim]: undefined } }),
      [`a copy of ${claim} that differs`]: (it) => it.token({ outer: { [claim]: different(claim) } }),
    })
}

function different(claim: string) {
  if (claim === 'jti') return randomUUID()
  return claim === 'iat' || claim === 'exp' ? now() + 901 : 'other'
}
