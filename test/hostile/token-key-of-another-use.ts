/** Our own keys, each taken for what it is not for (RFC 8725, section 2.8). */
import { refuseTokens, type Target } from '../support/hostile.ts'

export const needs = ['module']

export default function attack(target: Target): void {
  refuseTokens(target, {
    'an inner token signed with the encryption key': (it) =>
      it.token({ signatureKey: { ...it.encryptionKey, alg: 'ES256' } }),
    'an inner kid of the encryption key': (it) => it.token({ inner: { kid: it.encryptionKey.kid } }),
    'an outer kid of the signature key': (it) => it.token({ outer: { kid: it.signatureKey.kid } }),
    'an inner alg of RS256 over our ES256 signature': (it) => it.token({ inner: { alg: 'RS256' } }),
    'an inner kid that is unknown': (it) => it.token({ inner: { kid: 'unknown' } }),
    'an outer kid that is unknown': (it) => it.token({ outer: { kid: 'unknown' } }),
    'no inner kid': (it) => it.token({ inner: { kid: undefined } }),
    'no outer kid': (it) => it.token({ outer: { kid: undefined } }),
  })
}
