/** Content that grows when it is unpacked (RFC 8725, section 3.6). */
import { deflateRawSync } from 'node:zlib'
import { copiesOf } from '../support/forgery.ts'
import { refuseTokens, type Target } from '../support/hostile.ts'

const BOMB_BYTES = 5_000_000

export default function attack(target: Target): void {
  refuseTokens(target, {
    'compressed content': (it) => {
      const jws = it.jws({ signatureKey: it.stranger })
      return it.token({ outer: { zip: 'DEF', ...copiesOf(jws) }, content: deflateRawSync(jws) })
    },
    'five megabytes of zeros, compressed a thousand times': (it) =>
      it.token({ outer: { zip: 'DEF' }, content: deflateRawSync(Buffer.alloc(BOMB_BYTES)) }),
    'a zip header over plain content': (it) => it.token({ signatureKey: it.stranger, outer: { zip: 'DEF' } }),
    'a zip that nobody knows': (it) => it.token({ signatureKey: it.stranger, outer: { zip: 'BR' } }),
  })
}
