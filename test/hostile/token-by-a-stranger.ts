/** Tokens whose signature is good, but not ours. */
import { strangersKey } from '../support/forgery.ts'
import { refuseTokens, type Target } from '../support/hostile.ts'

export default function attack(target: Target): void {
  refuseTokens(target, {
    "an inner token signed by a stranger under our key's name": (it) => it.token({ signatureKey: it.stranger }),
    'an inner token signed by a stranger under its own name': (it) =>
      it.token({ signatureKey: { ...it.stranger, kid: 'stranger' } }),
    "an inner token of another algorithm than its key's": (it) =>
      it.token({ signatureKey: { ...strangersKey('RS256'), kid: it.signatureKey.kid } }),
    'an inner token that names RS256 over an ES256 signature': (it) =>
      it.token({ signatureKey: it.stranger, inner: { alg: 'RS256' } }),
    'a JWS of a stranger without the encryption': (it) => it.jws({ signatureKey: it.stranger }),
    "an outer layer for a stranger's key under our key's name": (it) =>
      it.token({
        signatureKey: it.stranger,
        encryptionKey: { ...strangersKey('ECDH-ES+A256KW'), kid: it.encryptionKey.kid },
      }),
  })
}
