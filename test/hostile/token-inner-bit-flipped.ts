/** A genuine inner token with one bit changed, encrypted anew. */
import { copiesOf, flip } from '../support/forgery.ts'
import { refuseTokens, type Target } from '../support/hostile.ts'

export const needs = ['module']

export default function attack(target: Target): void {
  refuseTokens(target, {
    'an inner signature with one bit flipped': (it) => it.token({ content: flip(it.jws(), 2) }),
    'inner claims with one bit flipped': (it) => {
      const jws = it.jws()
      return it.token({ content: Buffer.from(flip(jws, 1)), outer: copiesOf(jws) })
    },
    'an inner signature that is cut short': (it) => it.token({ content: it.jws().slice(0, -4) }),
    'an inner token without its signature': (it) => it.token({ content: it.jws().replace(/[^.]+$/, '') }),
  })
}
