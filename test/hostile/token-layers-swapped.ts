/** Layers that are missing, doubled or swapped, all made with our own keys. */

import { refuseTokens, type Target } from '../support/hostile.ts'
import { decodeJson, signJws } from '../support/jose_by_hand.ts'

export const needs = ['module']

export default function attack(target: Target): void {
  refuseTokens(target, {
    'a JWS without the encryption': ({ jws }) => jws(),
    'an encrypted token inside a signature': (it) => signJws(it.jwsHeader, it.token(), it.signatureKey),
    'plain JSON inside the encryption': (it) =>
      it.token({ content: JSON.stringify(decodeJson(it.jws().split('.')[1])) }),
    'nothing inside the encryption': (it) => it.token({ content: '' }),
    'a token inside a token': (it) => it.token({ content: it.token() }),
    'claims that are a list': (it) => it.token({ content: signJws(it.jwsHeader, '[]', it.signatureKey) }),
    'claims that are null': (it) => it.token({ content: signJws(it.jwsHeader, 'null', it.signatureKey) }),
  })
}
