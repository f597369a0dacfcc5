import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { type CryptoKey, compactDecrypt, compactVerify, generateKeyPair } from 'jose'
import { concatKdf, encryptCompact, otherInfo, signCompact, wrapKey } from '../../src/jose/writer.ts'
import { agreedByAliceAndBob, WRAPPING } from '../support/rfc_examples.ts'

suite('what the module writes with node:crypto', () => {
  test('derives keys as in RFC 7518, appendix C', () => {
    const { secret, derived: expected } = agreedByAliceAndBob()
    const derived = concatKdf(secret, otherInfo('A128GCM', 16, 'Alice', 'Bob')).subarray(0, 16)
    assert.equal(derived.toString('base64url'), expected)
  })

  test('wraps keys as in RFC 3394, section 4.6', () => {
    const { wrappingKey, key, wrapped } = WRAPPING
    assert.equal(wrapKey(wrappingKey, key).toString('hex'), wrapped)
  })

  for (const alg of ['ES256', 'RS256'])
    test(`is verified by jose: ${alg}`, async () => {
      const { publicKey, privateKey } = await generateKeyPair(alg, { modulusLength: 3072, extractable: true })
      const jws = signCompact({ alg, typ: 'at+jwt' }, { sub: 'ñandú' }, privateKey as CryptoKey)
      const { payload, protectedHeader } = await compactVerify(jws, publicKey, { algorithms: [alg] })
      assert.deepEqual(JSON.parse(Buffer.from(payload).toString()), { sub: 'ñandú' })
      assert.deepEqual(protectedHeader, { alg, typ: 'at+jwt' })
    })

  for (const alg of ['ECDH-ES+A256KW', 'RSA-OAEP-256'])
    test(`is decrypted by jose, and differs each time: ${alg}`, async () => {
      const { publicKey, privateKey } = await generateKeyPair(alg, { modulusLength: 3072, extractable: true })
      const write = () => encryptCompact({ alg, ...{ enc: 'A256GCM', cty: 'JWT' } }, 'ñandú', publicKey as CryptoKey)
      const [one, other] = [write(), write()]
      for (const [index, part] of one.split('.').entries())
        if (alg !== 'RSA-OAEP-256' || index > 0) assert.notEqual(part, other.split('.')[index], `part ${index}`)
      const { plaintext, protectedHeader } = await compactDecrypt(one, privateKey, {
        keyManagementAlgorithms: [alg],
        contentEncryptionAlgorithms: ['A256GCM'],
      })
      assert.equal(Buffer.from(plaintext).toString(), 'ñandú')
      assert.equal(protectedHeader.cty, 'JWT')
    })
})
