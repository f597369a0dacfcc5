/** Private keys on disk: one JWK (RFC 7517) a file, mode 0600, as it is or encrypted (RFC 7517, section 7). */
import { randomUUID } from 'node:crypto'
import { link, open, readdir, readFile, rename, rm, stat, unlink, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import {
  type CryptoKey,
  calculateJwkThumbprint,
  exportJWK,
  FlattenedEncrypt,
  type FlattenedJWE,
  flattenedDecrypt,
  generateKeyPair,
  importJWK,
  type JWK,
} from 'jose'
import { type Config, StartError } from '../config.ts'
import type { Key, KeyUse } from './jwks.ts'

export const ALGORITHMS: Record<KeyUse, string[]> = {
  sig: ['ES256', 'RS256'],
  enc: ['ECDH-ES+A256KW', 'RSA-OAEP-256'],
  enc_front: ['RSA-OAEP-256'],
}
const RSA_BITS = 3072
/** No writing of a key takes so long. */
const LEFTOVER_AGE_MS = 60_000

/**
 * @returns the keys in the order of their first use
 * @throws {StartError} naming the file that is unreadable or wrong
 */
export async function readKeys(config: Config): Promise<Key[]> {
  const fileNames = (await readdir(config.keysDir)).filter((name) => name.endsWith('.json'))
  const found = await Promise.all(fileNames.map((name) => readKey(config, join(config.keysDir, name))))
  const keys = found
    .flat()
    .sort((one, other) => one.nbf - other.nbf || one.file.path.localeCompare(other.file.path, 'en', { numeric: true }))
  return keys.map((key, index) => {
    const successor = keys.slice(index + 1).find(({ use }) => use === key.use)
    return successor ? { ...key, until: Math.min(key.until, successor.nbf + config.keyGraceSeconds) } : key
  })
}

/** @returns nothing for a file that another node has deleted meanwhile */
async function readKey(config: Config, path: string): Promise<Key[]> {
  try {
    const { jwk, isEncrypted } = await readJwk(config, path)
    const { kid, use, alg, iat, nbf, exp, kty, crv, x, y, n, e } = jwk
    if (!kid || !jwk.d || !ALGORITHMS[use as KeyUse].includes(alg)) throw new Error('members')
    if (![nbf, iat ?? nbf, exp ?? nbf].every(Number.isInteger)) throw new Error('times')
    const publicJwk: JWK = { kid, use, alg, kty, ...(kty === 'EC' ? { crv, x, y } : { n, e }) }
    const publicKey = (await importJWK(publicJwk, alg)) as CryptoKey
    const privateKey = (await importJWK(jwk, alg, { extractable: use === 'sig' })) as CryptoKey // node:crypto signs with it
    if (kty === 'RSA' ? Buffer.from(n, 'base64url').length * 8 < RSA_BITS : crv !== 'P-256') throw new Error('size')
    const until = exp ?? Number.POSITIVE_INFINITY
    return [{ kid, use, alg, nbf, until, publicJwk, publicKey, privateKey, file: { path, isEncrypted } }]
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    // What a parser stumbled on is not told: it quotes it, and that may be a private key.
    const wanted = 'a private JWK with kid, use, alg and nbf, plain or under AUTH_KEYS_SECRET'
    throw new StartError(`The key file ${path} cannot be read, or is not ${wanted}`)
  }
}

/** The private JWK in a file, with whatever members it has. */
export async function readJwk(config: Config, path: string) {
  const content = JSON.parse(await readFile(path, 'utf8'))
  const isEncrypted = 'ciphertext' in content
  return { jwk: isEncrypted ? await decryptJwk(config, content) : content, isEncrypted }
}

/** Tries the current secret and then the previous one, so that files can be changed over while servers run. */
async function decryptJwk(config: Config, content: FlattenedJWE) {
  const options = { keyManagementAlgorithms: ['dir'], contentEncryptionAlgorithms: ['A256GCM'] }
  const secrets = [config.keysSecret, config.keysSecretPrevious].filter((secret) => secret !== undefined)
  const { plaintext } = await Promise.any(secrets.map((secret) => flattenedDecrypt(content, secret, options)))
  return JSON.parse(Buffer.from(plaintext).toString())
}

/**
 * Makes a key that is in use from `nbf` on, in epoch seconds. Files are numbered and a number is given once, so that
 * of several nodes that found the same `keys` in the folder and miss one, only one makes it.
 */
export async function createKey(config: Config, use: KeyUse, alg: string, nbf: number, keys: Key[]): Promise<void> {
  const { privateKey } = await generateKeyPair(alg, { extractable: true, modulusLength: RSA_BITS })
  const jwk = await exportJWK(privateKey)
  const iat = Math.floor(Date.now() / 1000)
  const key = { kid: await calculateJwkThumbprint(jwk), use, alg, iat, nbf, exp: null, ...jwk }

  const numbers = keys.map(({ file }) => Number(basename(file.path).match(`^${use}-(\\d+)\\.json$`)?.[1] ?? 0))
  const path = join(config.keysDir, `${use}-${Math.max(0, ...numbers) + 1}.json`)
  const temporaryPath = await writeTemporary(config, key)
  await link(temporaryPath, path).catch((error) => {
    if (error.code !== 'EEXIST') throw error
  })
  await unlink(temporaryPath)
  await syncFolder(config)
}

/** Writes a key's file anew, encrypted if there is a secret. Whoever reads meanwhile finds the old file or the new. */
export async function rewriteKey(config: Config, key: Key): Promise<void> {
  const { jwk } = await readJwk(config, key.file.path)
  await rename(await writeTemporary(config, jwk), key.file.path)
  await syncFolder(config)
}

/** Of several nodes that delete it at once, all succeed. */
export async function deleteKey(config: Config, key: Key): Promise<void> {
  await rm(key.file.path, { force: true })
  await syncFolder(config)
}

/** What a process left that was killed while it wrote; it may be another name of a key's file. */
export async function deleteLeftovers(config: Config): Promise<void> {
  for (const name of (await readdir(config.keysDir)).filter((name) => name.endsWith('.tmp'))) {
    const path = join(config.keysDir, name)
    const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: Number.POSITIVE_INFINITY }))
    if (mtimeMs < Date.now() - LEFTOVER_AGE_MS) await rm(path, { force: true })
  }
}

async function writeTemporary(config: Config, privateJwk: object): Promise<string> {
  const path = join(config.keysDir, `${randomUUID()}.tmp`)
  const text = JSON.stringify(privateJwk)
  const content = config.keysSecret
    ? await new FlattenedEncrypt(Buffer.from(text))
        .setProtectedHeader({ alg: 'dir', enc: 'A256GCM', cty: 'jwk+json' })
        .encrypt(config.keysSecret)
    : privateJwk
  await writeFile(path, JSON.stringify(content), { flag: 'wx', mode: 0o600, flush: true })
  return path
}

async function syncFolder(config: Config): Promise<void> {
  const folder = await open(config.keysDir)
  await folder.sync()
  await folder.close()
}
