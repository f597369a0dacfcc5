/** Private keys as the database holds them: JWKs (RFC 7517), sealed as JWEs (RFC 7516), each bound to its row. */
import { randomBytes } from 'node:crypto'
import { CompactEncrypt, calculateJwkThumbprint, compactDecrypt, exportJWK, generateKeyPair, type JWK } from 'jose'
import { StartError } from '../config.ts'
import type { NewKeyRow } from '../db/keys.ts'
import type { KeyRow, KeyUse } from '../models/key.ts'
import type { Secrets } from './secret.ts'

export const ALGORITHMS: Record<KeyUse, string[]> = {
  sig: ['ES256', 'RS256'],
  enc: ['ECDH-ES+A256KW', 'RSA-OAEP-256'],
  enc_front: ['RSA-OAEP-256'],
  mac: ['HS256'],
}
const RSA_BITS = 3072
const MAC_BYTES = 32
const SEAL = { alg: 'dir', enc: 'A256GCM', cty: 'jwk+json' }
const OPENING = { keyManagementAlgorithms: ['dir'], contentEncryptionAlgorithms: ['A256GCM'], maxDecompressedLength: 0 }

export async function makeKey(planned: Omit<NewKeyRow, 'kid' | 'private_jwe'>, sealingKey: Buffer): Promise<NewKeyRow> {
  const jwk = { ...(await generateJwk(planned)), alg: planned.alg }
  const row = { ...planned, kid: await calculateJwkThumbprint(jwk) }
  return { ...row, private_jwe: await sealKey(row, jwk, sealingKey) }
}

async function generateJwk({ use, alg }: Pick<KeyRow, 'use' | 'alg'>): Promise<JWK> {
  if (use === 'mac') return { kty: 'oct', k: randomBytes(MAC_BYTES).toString('base64url') }
  const { privateKey } = await generateKeyPair(alg, { extractable: true, modulusLength: RSA_BITS })
  return exportJWK(privateKey)
}

/** @returns a compact JWE whose protected header binds use, key id and first use */
export function sealKey(row: Pick<KeyRow, 'use' | 'kid' | 'first_use'>, jwk: JWK, sealingKey: Buffer): Promise<string> {
  const { use, kid, first_use } = row
  return new CompactEncrypt(Buffer.from(JSON.stringify(jwk)))
    .setProtectedHeader({ ...SEAL, use, kid, first_use })
    .encrypt(sealingKey)
}

/**
 * @returns the private JWK, and the sealing key that opened it
 * @throws {StartError} when none of the secrets does, or it was sealed for another row
 */
export async function openKey(row: KeyRow, { sealingKeys, source }: Secrets) {
  const { use, number, kid, alg, first_use, private_jwe } = row
  for (const sealingKey of sealingKeys) {
    const opened = await compactDecrypt(private_jwe, sealingKey, OPENING).catch(() => undefined)
    if (!opened) continue
    const bound = opened.protectedHeader
    const jwk: JWK = JSON.parse(Buffer.from(opened.plaintext).toString())
    const isOfThisRow = bound.use === use && bound.kid === kid && bound.first_use === first_use && jwk.alg === alg
    if (isOfThisRow && isFit(use, jwk) && kid === (await calculateJwkThumbprint(jwk))) return { jwk, sealingKey }
    const advice = 'restore it from a backup, or delete it, and a new key is made'
    throw new StartError(`The row of the ${use} key ${number} is not the one that its key was sealed for: ${advice}`)
  }
  throw new StartError(
    `The ${use} key ${number} in the database does not open with the secret from ${source}: ` +
      'copy AUTH_KEYS_SECRET, or the file keys-secret in AUTH_DATA_DIR, from where the keys were made; ' +
      'if it is lost for good, "cerrojo keys reset --yes" lets new ones be made (access tokens die, sessions live)',
  )
}

/** Of an algorithm of its use, and of the contract's size. */
function isFit(use: KeyUse, { alg = '', kty, crv, n = '', k = '' }: JWK): boolean {
  const bytes = (text: string) => Buffer.from(text, 'base64url').length
  if (!ALGORITHMS[use].includes(alg)) return false
  if (kty === 'RSA') return bytes(n) * 8 >= RSA_BITS
  return kty === 'EC' ? crv === 'P-256' : bytes(k) === MAC_BYTES
}
