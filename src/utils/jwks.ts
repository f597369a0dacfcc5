/** The keys at hand: several for each use, chosen by the times they carry, and their public halves (RFC 7517). */
import { mkdir } from 'node:fs/promises'
import type { CryptoKey, JWK } from 'jose'
import type { Config } from '../config.ts'
import { createKey, readKeys } from './key_files.ts'
import { sha256 } from './tokens.ts'

export type KeyUse = 'sig' | 'enc' | 'enc_front'
export type KeyStore = Awaited<ReturnType<typeof openKeyStore>>

export interface Key {
  /** RFC 7638 thumbprint. */
  kid: string
  use: KeyUse
  alg: string
  /** Epoch seconds. Published and accepted before, but not yet used to sign or encrypt. */
  nbf: number
  /** Epoch seconds, Infinity while no end is set. From then on neither published nor accepted. */
  exp: number
  /** Its file's. */
  number: number
  publicJwk: JWK
  publicKey: CryptoKey
  privateKey: CryptoKey
}

const UNKNOWN_KID_INTERVAL_MS = 30_000

/**
 * Reads the folder, and makes a key for each use that has none. It is read again when that was longer ago than the
 * JWKS cache lifetime; if it cannot be, `onReadFailure` is told and the keys stay as they were.
 * @throws {StartError} naming the key file that is unreadable or wrong
 */
export async function openKeyStore(config: Config, onReadFailure: (error: unknown) => void) {
  let readAtMs = performance.now()
  let reading = Promise.resolve(await load(config))

  /** Whoever asks while the folder is read waits for it. */
  function readWithin(intervalMs: number) {
    if (performance.now() - readAtMs > intervalMs) {
      readAtMs = performance.now()
      const before = reading
      reading = load(config).catch((error) => {
        onReadFailure(error)
        return before
      })
    }
    return reading
  }
  const current = () => readWithin(config.jwksCacheTtlSeconds * 1000)

  return {
    /** The key to sign or encrypt with now. */
    async active(use: KeyUse): Promise<Key> {
      const key = activeKey((await current()).keys, use, config)
      if (!key) throw new Error(`No ${use} key is active`)
      return key
    },
    /** The accepted key of that use and key id. An unknown key id has the folder read again, at most every 30 s. */
    async find(use: KeyUse, kid?: string): Promise<Key | undefined> {
      const isWanted = (key: Key) => key.use === use && key.kid === kid && isAccepted(key)
      const known = (await current()).keys.find(isWanted)
      return known ?? (await readWithin(UNKNOWN_KID_INTERVAL_MS)).keys.find(isWanted)
    },
    /** The JWK Set as text, and its strong ETag. */
    async published() {
      const { body, etag } = await current()
      return { body, etag }
    },
  }
}

async function load(config: Config): Promise<{ keys: Key[]; body: string; etag: string }> {
  await mkdir(config.keysDir, { recursive: true, mode: 0o700 })
  const keys = await readKeys(config.keysDir)
  const missing = (['sig', 'enc', 'enc_front'] as const).filter((use) => !activeKey(keys, use, config))
  if (missing.length > 0) {
    await Promise.all(missing.map((use) => createKey(config.keysDir, use, algorithmFor(use, config), keys)))
    return load(config)
  }
  const body = JSON.stringify({ keys: keys.filter(isAccepted).map((key) => key.publicJwk) })
  return { keys, body, etag: `"${sha256(body).toString('base64url')}"` }
}

function isAccepted(key: Key): boolean {
  return Date.now() / 1000 < key.exp
}

/** Of the configured algorithm, the key that came into use last. */
function activeKey(keys: Key[], use: KeyUse, config: Config): Key | undefined {
  return keys
    .filter((key) => key.use === use && key.alg === algorithmFor(use, config))
    .filter((key) => key.nbf <= Date.now() / 1000 && isAccepted(key))
    .sort((one, other) => other.nbf - one.nbf)[0]
}

function algorithmFor(use: KeyUse, config: Config): string {
  return { sig: config.signingAlgorithm, enc: config.keyManagementAlgorithm, enc_front: 'RSA-OAEP-256' }[use]
}
