/** Where keys come from: a JWK Set over HTTP (RFC 7517), the file of `cerrojo keys export`, or whoever is asked. */
import { hash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { type CryptoKey, importJWK, type JWK } from 'jose'
import { ALGORITHMS } from './form.ts'

type KeyUse = keyof typeof ALGORITHMS

/** A key with its one use and its one algorithm. */
export interface Key {
  kid: string
  use: KeyUse
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
export type LoadKeys = (known: Keys, signal: AbortSignal) => Promise<Keys>

/** Private JWKs (RFC 7517), each with `kid`, `use: "enc"` and `alg`; those of other uses are passed over. */
export type AskForKeys = () => Promise<readonly JWK[]>

/** What `cerrojo keys export` writes. */
export interface KeysFile {
  issuer: string
  audience: string
  jwksUrl: string
  decryptionKeys: JWK[]
}

/** What the issuer publishes: the keys that verify, and, to know which there are, those that it encrypts to. */
export function keysAtUrl(url: URL): LoadKeys {
  return async (known, signal) => {
    const response = await fetch(url, {
      headers: { accept: 'application/json, application/jwk-set+json' },
      // Whoever can redirect the request could otherwise hand us keys of their own.
      redirect: 'error',
      cache: 'no-store', // for Next, which keeps answers of fetch
      signal,
    })
    if (response.status !== 200) {
      await response.body?.cancel()
      throw new Error(`The JWKS endpoint answered ${response.status}`)
    }
    const jwks = (await response.json()) as { keys: JWK[] }
    return importKeys(jwks.keys, ['sig', 'enc'], known)
  }
}

export function keysOnAsking(ask: AskForKeys): LoadKeys {
  return async (known) => {
    const jwks = await ask()
    const publicKey = jwks.find(({ use, d }) => use === 'enc' && !d)
    if (publicKey) throw new Error(`The key with the id ${publicKey.kid} is not a private one`)
    return importKeys(jwks, ['enc'], known)
  }
}

/** @throws {Error} that quotes nothing of it */
export function readKeysFile(path: string): KeysFile {
  return parseKeysFile(path, readFileSync(path, 'utf8'))
}

export function keysInFile(path: string): LoadKeys {
  return keysOnAsking(async () => parseKeysFile(path, await readFile(path, 'utf8')).decryptionKeys)
}

function parseKeysFile(path: string, text: string): KeysFile {
  const file = parse(text)
  if (!file?.issuer || !file.audience || !file.jwksUrl || !Array.isArray(file.decryptionKeys))
    throw new Error(`${path} is not what "cerrojo keys export" writes`)
  return file
}

function parse(text: string) {
  try {
    return JSON.parse(text)
  } catch {
    return undefined // nobody is told where a parser stumbled: it quotes it, and that may be a private key
  }
}

/** The first use is the one without which there is nothing to do. Other uses and algorithms are passed over. */
async function importKeys(jwks: readonly JWK[], uses: readonly KeyUse[], known: Keys): Promise<Keys> {
  const keys = new Map<string, Key>()
  for (const jwk of jwks) {
    const { kid, alg } = jwk
    const use = uses.find((use) => use === jwk.use)
    if (!use || !kid || !alg || !ALGORITHMS[use].includes(alg)) continue
    const fingerprint = hash('sha256', JSON.stringify(jwk), 'base64')
    const before = known.get(kid)
    const isUnchanged = before?.fingerprint === fingerprint
    keys.set(kid, isUnchanged ? before : { kid, use, alg, fingerprint, cryptoKey: await importKey(jwk, alg) })
  }
  if (![...keys.values()].some(({ use }) => use === uses[0]))
    throw new Error(`There is no usable key with use "${uses[0]}"`)
  return keys
}

async function importKey(jwk: JWK, alg: string): Promise<CryptoKey> {
  try {
    return (await importJWK(jwk, alg)) as CryptoKey
  } catch {
    throw new Error(`The key with the id ${jwk.kid} is not one for ${alg}`)
  }
}
