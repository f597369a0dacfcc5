/** The form of refresh tokens, worked out by hand from the contract. */
import assert from 'node:assert/strict'
import { createHash, createHmac, randomBytes } from 'node:crypto'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import type { RefreshToken } from '../../src/models/refresh_token.ts'
import {
  createRefreshToken,
  deriveAgain,
  deriveSuccessor,
  readRefreshToken,
  rotationSalt,
} from '../../src/utils/tokens.ts'

const [macKey, olderMacKey, strangeMacKey] = [randomBytes(32), randomBytes(32), randomBytes(32)]
const read = (bytes: Buffer) => readRefreshToken(bytes.toString('base64url'), [macKey, olderMacKey])
const macOf = (token: RefreshToken, key: Buffer) =>
  createHmac('sha256', key).update(token.bytes.subarray(0, 36)).digest().subarray(0, 12)

suite('a refresh token', () => {
  test('is a family, a generation, a secret and a MAC over them', () => {
    const token = createRefreshToken([macKey])
    assert.equal(token.bytes.length, 48)
    assert.equal(token.bytes.readUInt32BE(16), 0)
    assert.deepEqual(token.bytes.subarray(36), macOf(token, macKey))
    assert.deepEqual(token.hash, createHash('sha256').update(token.bytes).digest())
    const digest = createHash('sha256').update(token.bytes.subarray(0, 16)).digest('hex')
    assert.match(token.sessionId, /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
    const differing = [...token.sessionId.replaceAll('-', '')].filter((digit, index) => digit !== digest[index])
    assert.ok(differing.length <= 2, 'but for version and variant it is the digest')
    assert.deepEqual(read(token.bytes), token)
  })

  test('is ours by any key that is still accepted, and by no other', () => {
    for (const [key, isOurs] of [
      [macKey, true],
      [olderMacKey, true],
      [strangeMacKey, false],
    ] as const)
      assert.equal(read(createRefreshToken([key]).bytes).isOurs, isOurs)
  })

  test('is not ours when any bit of it was changed', () =>
    fc.assert(
      fc.property(fc.nat(48 * 8 - 1), (bit) => {
        const { bytes } = createRefreshToken([macKey])
        bytes.writeUInt8(bytes.readUInt8(bit >> 3) ^ (0x80 >> (bit & 7)), bit >> 3)
        // The first bit of the generation makes it a number that no session reaches.
        if (bit === 128) assert.throws(() => read(bytes), { code: 'AUTH_REFRESH_NOT_FOUND' })
        else assert.equal(read(bytes).isOurs, false)
      }),
    ))
})

suite('a successor', () => {
  const token = read(createRefreshToken([macKey]).bytes)

  test('has the same family, the next generation and a secret that wants both the token and the salt', () => {
    const salt = randomBytes(32)
    const successor = deriveSuccessor(token, salt, [macKey, olderMacKey])
    assert.equal(successor.sessionId, token.sessionId)
    assert.equal(successor.generation, 1)
    const secret = createHmac('sha256', token.bytes).update(salt).digest().subarray(0, 16)
    assert.deepEqual(successor.bytes.subarray(20, 36), secret)
    assert.deepEqual(read(successor.bytes), successor)
  })

  test('is derived again after the MAC key has changed, as long as the old one is accepted', () => {
    const salt = randomBytes(32)
    const successor = deriveSuccessor(token, salt, [olderMacKey])
    assert.deepEqual(deriveAgain(token, salt, successor.hash, [macKey, olderMacKey]), successor)
    assert.equal(deriveAgain(token, salt, successor.hash, [macKey]), undefined)
  })

  test('is derived by chance without an idempotency key, and with one by the key alone', () => {
    const salts = [undefined, undefined, 'a', 'a', 'b'].map((key) => rotationSalt(token, [macKey], key).toString('hex'))
    assert.equal(new Set(salts).size, 4)
    const byHand = createHmac('sha256', macKey)
      .update(Buffer.concat([token.bytes, Buffer.from('a')]))
      .digest('hex')
    assert.equal(salts[2], byHand)
    assert.notEqual(rotationSalt(token, [olderMacKey], 'a').toString('hex'), byHand, 'it takes a secret of ours')
  })
})
