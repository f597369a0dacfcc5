/** Compression under our own signature is refused as well (contract, access_token). */
import { deflateRawSync } from 'node:zlib'
import { copiesOf } from '../support/forgery.ts'
import { refuseTokens, type Target } from '../support/hostile.ts'

export const needs = ['module']

export default function attack(target: Target): void {
  refuseTokens(target, {
    'compressed content': (it) => {
      const jws = it.jws()
      return it.token({ outer: { zip: 'DEF', ...copiesOf(jws) }, content: deflateRawSync(jws) })
    },
    'a zip header over plain content': (it) => it.token({ outer: { zip: 'DEF' } }),
  })
}
