/** Ephemeral keys that are no point of the curve, and would let the private key be guessed (RFC 8725, section 3.4). */
import { generateKeyPairSync } from 'node:crypto'
import { refuseTokens, type Target } from '../support/hostile.ts'
import { encode, type Jwk, publicHalf } from '../support/jose_by_hand.ts'

const ZERO = encode(Buffer.alloc(32))

export default function attack(target: Target): void {
  const epks: Record<string, (point: Jwk) => unknown> = {
    'on another curve': () => generateKeyPairSync('ec', { namedCurve: 'P-384' }).publicKey.export({ format: 'jwk' }),
    'off the curve': offCurve,
    'of zeros': () => ({ kty: 'EC', crv: 'P-256', x: ZERO, y: ZERO }),
    'with a coordinate that is too long': ({ x, ...rest }) => ({ ...rest, x: `${x}AAAA` }),
    'of another kind': () => ({ kty: 'OKP', crv: 'X25519', x: ZERO }),
    'that is missing': () => undefined,
    'that is a text': () => 'P-256',
  }
  for (const [title, epk] of Object.entries(epks))
    refuseTokens(target, {
      [`an epk ${title}`]: (it) => {
        const named = { alg: 'ECDH-ES+A256KW', epk: epk(publicHalf(it.stranger)) }
        return it.token({ signatureKey: it.stranger, named })
      },
    })
}

/** A point of P-256 with one bit changed. */
function offCurve(point: Jwk): Jwk {
  const y = Buffer.from(point.y, 'base64url')
  y[31] = (y[31] as number) ^ 1
  return { ...point, y: encode(y) }
}
