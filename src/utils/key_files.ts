/** Private keys on disk: one JWK (RFC 7517) a file, mode 0600, with the times of its life in it. */
import { randomUUID } from 'node:crypto'
import { link, readdir, readFile, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type CryptoKey, calculateJwkThumbprint, exportJWK, generateKeyPair, importJWK, type JWK } from 'jose'
import { StartError } from '../config.ts'
import type { Key, KeyUse } from './jwks.ts'

const ALGORITHMS = { sig: ['ES256', 'RS256'], enc: ['ECDH-ES+A256KW', 'RSA-OAEP-256'], enc_front: ['RSA-OAEP-256'] }
const RSA_BITS = 3072

/** @throws {StartError} naming the file that is unreadable or wrong */
export async function readKeys(folder: string): Promise<Key[]> {
  const fileNames = (await readdir(folder)).filter((name) => name.endsWith('.json')).sort()
  return Promise.all(fileNames.map((name) => readKey(folder, name)))
}

async function readKey(folder: string, fileName: string): Promise<Key> {
  const path = join(folder, fileName)
  const number = Number(fileName.match(/-(\d+)\.json$/)?.[1] ?? 0)
  try {
    const jwk = JSON.parse(await readFile(path, 'utf8'))
    const { kid, use, alg, nbf, exp, kty, crv, x, y, n, e } = jwk
    if (!kid || !jwk.d || !ALGORITHMS[use as KeyUse].includes(alg) || !Number.isInteger(nbf)) throw new Error('member')
    const publicJwk: JWK = { kid, use, alg, kty, ...(kty === 'EC' ? { crv, x, y } : { n, e }) }
    const publicKey = (await importJWK(publicJwk, alg)) as CryptoKey
    const privateKey = (await importJWK(jwk, alg)) as CryptoKey
    if (kty === 'RSA' && Buffer.from(n, 'base64url').length * 8 < RSA_BITS) throw new Error('size')
    return { kid, use, alg, nbf, exp: exp ?? Number.POSITIVE_INFINITY, number, publicJwk, publicKey, privateKey }
  } catch {
    // Nobody is told why: a parser quotes what it stumbled on, and that may be a private key.
    throw new StartError(`The key file ${path} cannot be read, or is not a private JWK with kid, use, alg and nbf`)
  }
}

/**
 * Makes a key that is in use at once. Files are numbered and a number is given once, so that of several nodes that
 * found the same `keys` in the folder and miss one, only one makes it.
 */
export async function createKey(folder: string, use: KeyUse, alg: string, keys: Key[]): Promise<void> {
  const numbers = keys.filter((key) => key.use === use).map((key) => key.number)
  const path = join(folder, `${use}-${Math.max(0, ...numbers) + 1}.json`)

  const { privateKey } = await generateKeyPair(alg, { extractable: true, modulusLength: RSA_BITS })
  const jwk = await exportJWK(privateKey)
  const now = Math.floor(Date.now() / 1000)
  const key = { kid: await calculateJwkThumbprint(jwk), use, alg, iat: now, nbf: now, exp: null, ...jwk }

  const temporaryPath = join(folder, `${randomUUID()}.tmp`)
  await writeFile(temporaryPath, JSON.stringify(key), { flag: 'wx', mode: 0o600, flush: true })
  await link(temporaryPath, path).catch((error) => {
    if (error.code !== 'EEXIST') throw error
  })
  await unlink(temporaryPath)
}
