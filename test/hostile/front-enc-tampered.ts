/** Encrypted credentials that were changed on their way: each the same 400, so that no answer is an oracle. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { flip } from '../support/forgery.ts'
import type { Target } from '../support/hostile.ts'
import { encryptJwe, type Jwk } from '../support/jose_by_hand.ts'

export default function attack(target: Target): void {
  test('whatever was changed, the answer is the same', async () => {
    const { body } = await target.call('GET', '/.well-known/jwks.json')
    const key: Jwk = body.keys.find(({ use }: Jwk) => use === 'enc_front')
    const header = { alg: 'RSA-OAEP-256', enc: 'A256GCM', kid: key.kid }
    const good = encryptJwe(header, JSON.stringify(target.user), key)
    const answers = []
    for (const front of [
      flip(good, 0),
      flip(good, 1),
      flip(good, 2),
      flip(good, 3),
      flip(good, 4),
      good.replace(/[^.]+$/, (tag) => tag.slice(0, 16)),
      encryptJwe({ ...header, alg: 'RSA-OAEP' }, JSON.stringify(target.user), key),
      encryptJwe({ ...header, kid: 'unknown' }, JSON.stringify(target.user), key),
      encryptJwe({ ...header, zip: 'DEF' }, JSON.stringify(target.user), key),
      encryptJwe(header, 'no JSON', key),
      {},
      { ...header, cek: 'A', iv: 'A', ct: 'A' },
    ]) {
      const answer = await target.call('POST', '/auth/login', { body: { __front_enc__: front } })
      target.assertRefused(answer, 400)
      answers.push(JSON.stringify(answer.body))
    }
    assert.equal(new Set(answers).size, 1, answers.join('\n'))
  })
}
