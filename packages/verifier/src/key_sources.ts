/** Where keys come from: a JWK Set over HTTP (RFC 7517), a folder of private JWKs, or a list in memory. */
import { hash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type CryptoKey, importJWK, type JWK } from 'jose'

/** A key with its one use and its one algorithm. */
export interface Key {
  kid: string
  alg: string
  cryptoKey: CryptoKey
  /** SHA-256 of the JWK, to see whether a key read again is still the same. */
  fingerprint: string
}

/** By key id. */
export type Keys = ReadonlyMap<string, Key>

/**
 * Loads all keys anew; those of `known` that did not change come back as the same objects.
 * @throws {Error} when they cannot be had, or none is usable
 */
export type LoadKeys = (known: Keys) => Promise<Keys>

/** The contract's algorithms: of the inner signature, and of the outer key management. */
export const ALGORITHMS = { sig: ['ES256', 'RS256'], enc: ['ECDH-ES+A256KW', 'RSA-OAEP-256'] }

/** The issuer's public keys with use "sig". */
export function keysAtUrl(url: URL, timeoutSeconds: number): LoadKeys {
  return async (known) => {
    const response = await fetch(url, {
      headers: { accept: 'application/json, application/jwk-set+json' },
      // Whoever can redirect the request could otherwise hand us keys of their own.
      redirect: 'error',
      signal: AbortSignal.timeout(timeoutSeconds * 1000),
    })
    if (response.status !== 200) {
      await response.body?.cancel()
      throw new Error(`The JWKS endpoint answered ${response.status}`)
    }
    const jwks = (await response.json()) as { keys: JWK[] }
    return importKeys(jwks.keys, 'sig', known)
  }
}

/** The private keys with use "enc" in the JSON files of a folder, one JWK a file, `exp` in epoch seconds or null. */
export function keysInFolder(folder: string): LoadKeys {
  return async (known) => {
    const fileNames = (await readdir(folder)).filter((name) => name.endsWith('.json'))
    const jwks = await Promise.all(fileNames.map((name) => readKeyFile(join(folder, name))))
    const nowSeconds = Date.now() / 1000
    const current = jwks.filter(({ exp }) => typeof exp !== 'number' || nowSeconds < exp)
    return importKeys(current, 'enc', known)
  }
}

export function keysInMemory(jwks: readonly JWK[]): LoadKeys {
  return (known) => importKeys(jwks, 'enc', known)
}

async function readKeyFile(path: string): Promise<JWK & { exp?: number | null }> {
  const text = await readFile(path, 'utf8')
  const jwk = parse(text)
  // Nobody is told where a parser stumbled: it quotes it, and that may be a private key.
  if (!jwk) throw new Error(`The key file ${path} is not JSON`)
  if ('ciphertext' in jwk) throw new Error(`The key file ${path} is encrypted: use decryptionKeys instead of keysDir`)
  return jwk
}

function parse(text: string) {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** A key of another use or an algorithm that the contract does not know is passed over. */
async function importKeys(jwks: readonly JWK[], use: keyof typeof ALGORITHMS, known: Keys): Promise<Keys> {
  const keys = new Map<string, Key>()
  for (const jwk of jwks) {
    const { kid, alg } = jwk
    if (jwk.use !== use || !kid || !alg || !ALGORITHMS[use].includes(alg)) continue
    const fingerprint = hash('sha256', JSON.stringify(jwk), 'base64')
    const before = known.get(kid)
    const isUnchanged = before?.fingerprint === fingerprint
    keys.set(kid, isUnchanged ? before : { kid, alg, fingerprint, cryptoKey: await importKey(jwk, alg) })
  }
  if (keys.size === 0) throw new Error(`There is no usable key with use "${use}"`)
  return keys
}

async function importKey(jwk: JWK, alg: string): Promise<CryptoKey> {
  try {
    return (await importJWK(jwk, alg)) as CryptoKey
  } catch {
    throw new Error(`The key with the id ${jwk.kid} is not one for ${alg}`)
  }
}
