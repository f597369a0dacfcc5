/** A public key taken for the secret of an HMAC (RFC 8725, section 2.1). */
import { signedWithPublicKey } from '../support/forgery.ts'
import { refuseTokens, type Target } from '../support/hostile.ts'

export default function attack(target: Target): void {
  refuseTokens(target, {
    'an inner token signed with the public key as PEM': (it) => it.token({ content: signedWithPublicKey(it, 'spki') }),
    'an inner token signed with the public key as JWK': (it) => it.token({ content: signedWithPublicKey(it, 'jwk') }),
  })
}
