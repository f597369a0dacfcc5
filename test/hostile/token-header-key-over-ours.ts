/** Genuine keys beside header parameters that name others: nobody is to follow them (contract, access_token). */

import { refuseTokens, type Target } from '../support/hostile.ts'
import { type Json, type Jwk, publicHalf } from '../support/jose_by_hand.ts'

export const needs = ['module']

const PARAMETERS: Record<string, (key: Jwk) => Json> = {
  jwk: (key) => ({ jwk: publicHalf(key) }),
  jku: () => ({ jku: 'https://evil.invalid/jwks.json' }),
  x5c: () => ({ x5c: ['MIIB'] }),
  x5u: () => ({ x5u: 'https://evil.invalid/cert.pem' }),
}

export default function attack(target: Target): void {
  for (const [name, parameter] of Object.entries(PARAMETERS))
    refuseTokens(target, {
      [`an outer ${name}`]: (it) => it.token({ outer: parameter(it.encryptionKey) }),
      [`an inner ${name}`]: (it) => it.token({ inner: parameter(it.signatureKey) }),
    })
}
