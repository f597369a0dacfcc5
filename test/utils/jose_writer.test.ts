import assert from 'node:assert/strict'
import { createPrivateKey, createPublicKey, diffieHellman } from 'node:crypto'
import { suite, test } from 'node:test'
import { type CryptoKey, compactDecrypt, compactVerify, generateKeyPair } from 'jose'
import { concatKdf, encryptCompact, otherInfo, signCompact, wrapKey } from '../../src/utils/jose_writer.ts'

suite('what the module writes with node:crypto', () => {
  test('derives keys as in RFC 7518, appendix C', () => {
    const alice = {
      kty: 'EC',
      crv: 'P-256',
      x: 'gI0GAILBdu7T53akrFmMyGcsF3n5dO7MmwNBHKW5SV0',
      y: 'SLW_xSffzlPWrHEVI30DHM_4egVwt3NQqeUD7nMFpps',
      d: '0_NxaRPUMQoAJt50Gz8YiTr8gRTwyEaCumd-MToTmIo',
    }
    const bob = {
      kty: 'EC',
      crv: 'P-256',
      x: 'weNJy2HscCSM6AEDTDg04biOvhFhyyWvOHQfeF_PxMQ',
      y: 'e8lnCO-AlStT-NJVX-crhB7QRYhiix03illJOVAOyck',
    }
    const secret = diffieHellman({
      privateKey: createPrivateKey({ key: alice, format: 'jwk' }),
      publicKey: createPublicKey({ key: bob, format: 'jwk' }),
    })
    const derived = concatKdf(secret, otherInfo('A128GCM', 16, 'Alice', 'Bob')).subarray(0, 16)
    assert.equal(derived.toString('base64url'), 'VqqN6vgjbSBcIijNcacQGg')
  })

  test('wraps keys as in RFC 3394, section 4.6', () => {
    const wrappingKey = Buffer.from(Array.from({ length: 32 }, (_, index) => index))
    const key = Buffer.from('00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F', 'hex')
    const expected = '28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21'
    assert.equal(wrapKey(wrappingKey, key).toString('hex'), expected)
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
