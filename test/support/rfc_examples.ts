/** Worked examples of RFCs, for everything here that does what they describe. */
import { createPrivateKey, createPublicKey, diffieHellman } from 'node:crypto'

/**
 * RFC 7518, appendix C: the secret that Alice and Bob agree on, and the A128GCM key that Concat KDF derives from it.
 */
export function agreedByAliceAndBob(): { secret: Buffer; derived: string } {
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
  const privateKey = createPrivateKey({ key: alice, format: 'jwk' })
  const secret = diffieHellman({ privateKey, publicKey: createPublicKey({ key: bob, format: 'jwk' }) })
  return { secret, derived: 'VqqN6vgjbSBcIijNcacQGg' }
}

/** RFC 3394, section 4.6: 256 bits wrapped with 256 bits. */
export const WRAPPING = {
  wrappingKey: Buffer.from(Array.from({ length: 32 }, (_, index) => index)),
  key: Buffer.from('00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F', 'hex'),
  wrapped: '28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21',
}
