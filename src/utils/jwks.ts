/** The keys at hand, which live from next over active and retired to gone, and their public halves (RFC 7517). */
import { mkdir } from 'node:fs/promises'
import type { CryptoKey, JWK } from 'jose'
import type { Config } from '../config.ts'
import { createKey, deleteKey, deleteLeftovers, readKeys } from './key_files.ts'
import { sha256 } from './tokens.ts'

export type KeyUse = 'sig' | 'enc' | 'enc_front'
export type KeyStore = Awaited<ReturnType<typeof openKeyStore>>

/** Times are in epoch seconds. */
export interface Key {
  /** RFC 7638 thumbprint. */
  kid: string
  use: KeyUse
  alg: string
  /** When it comes into use; it is published and accepted before. */
  nbf: number
  /** From when on it is neither published nor accepted: its `exp`, or the end of its grace; Infinity while unknown. */
  until: number
  publicJwk: JWK
  publicKey: CryptoKey
  privateKey: CryptoKey
  file: { path: string; isEncrypted: boolean }
}

export const KEY_USES: KeyUse[] = ['sig', 'enc', 'enc_front']
const UNKNOWN_KID_INTERVAL_MS = 30_000

/**
 * Reads the folder and makes the keys that it misses. It is read again when that was longer ago than the JWKS cache
 * lifetime; if that fails, or a key that is due cannot be made, `onFailure` is told and the keys stay as they were.
 * @throws {StartError} naming the file that is unreadable or wrong
 */
export async function openKeyStore(config: Config, onFailure: (error: unknown) => void) {
  let readAtMs = performance.now()
  let reading = Promise.resolve(await load(config, onFailure))

  /** Whoever asks while the folder is read waits for it. */
  function readWithin(intervalMs: number) {
    if (performance.now() - readAtMs > intervalMs) {
      readAtMs = performance.now()
      const before = reading
      reading = load(config, onFailure).catch((error) => {
        onFailure(error)
        return before
      })
    }
    return reading
  }
  const current = () => readWithin(config.jwksCacheTtlSeconds * 1000)

  return {
    /** The key to sign or encrypt with now. */
    async active(use: KeyUse): Promise<Key> {
      return activeKey((await current()).keys, use) as Key
    },
    /** The accepted key of that use and key id. An unknown key id has the folder read again, at most every 30 s. */
    async find(use: KeyUse, kid?: string): Promise<Key | undefined> {
      const isWanted = (key: Key) => key.use === use && key.kid === kid && isAccepted(key)
      const known = (await current()).keys.find(isWanted)
      return known ?? (await readWithin(UNKNOWN_KID_INTERVAL_MS)).keys.find(isWanted)
    },
    /** The JWK Set as text (`body`), and its strong ETag. */
    published: current,
  }
}

async function load(config: Config, onFailure: (error: unknown) => void) {
  await mkdir(config.keysDir, { recursive: true, mode: 0o700 })
  const keys = await rotateWhatIsDue(config, await readKeys(config)).catch(async (error) => {
    const found = await readKeys(config)
    if (KEY_USES.some((use) => !activeKey(found, use))) throw error
    onFailure(error)
    return found
  })
  const body = JSON.stringify({ keys: keys.filter(isAccepted).map((key) => key.publicJwk) })
  return { keys, body, etag: `"${sha256(body).toString('base64url')}"` }
}

/** Every node does it at every reading: of each use the key that comes next is made in time, and what is gone deleted. */
async function rotateWhatIsDue(config: Config, keys: Key[]): Promise<Key[]> {
  const due = KEY_USES.flatMap((use) => nextKey(config, keys, use) ?? [])
  const gone = keys.filter((key) => !isAccepted(key))
  await deleteLeftovers(config)
  await Promise.all(due.map(({ use, alg, nbf }) => createKey(config, use, alg, nbf, keys)))
  await Promise.all(gone.map((key) => deleteKey(config, key)))
  return due.length + gone.length > 0 ? rotateWhatIsDue(config, await readKeys(config)) : keys
}

/** The key to make, if it is time: two cache lifetimes before its first use, so that by then everybody knows it. */
function nextKey(config: Config, keys: Key[], use: KeyUse) {
  const alg = algorithmFor(config, use)
  const now = Date.now() / 1000
  const newest = keys.findLast((key) => key.use === use && isAccepted(key))
  if (!newest) return { use, alg, nbf: Math.floor(now) }
  if (newest.nbf > now) return undefined

  const replaceAt = newest.alg === alg ? Math.min(newest.until, newest.nbf + config.keyRotationSeconds) : now
  const firstUse = Math.ceil(now) + 2 * config.jwksCacheTtlSeconds
  return replaceAt <= firstUse ? { use, alg, nbf: firstUse } : undefined
}

export function algorithmFor(config: Config, use: KeyUse): string {
  return { sig: config.signingAlgorithm, enc: config.keyManagementAlgorithm, enc_front: 'RSA-OAEP-256' }[use]
}

/** Of keys in the order of their first use, the last that has come to it; after a clock was set back, the first. */
export function activeKey(keys: Key[], use: KeyUse): Key | undefined {
  const accepted = keys.filter((key) => key.use === use && isAccepted(key))
  return accepted.findLast((key) => key.nbf <= Date.now() / 1000) ?? accepted[0]
}

export function isAccepted(key: Key): boolean {
  return Date.now() / 1000 < key.until
}
