/** The keys at hand, which live from next over active and retired to gone, and their public halves (RFC 7517). */
import { type CryptoKey, importJWK, type JWK } from 'jose'
import type { Config } from '../config.ts'
import type { Database } from '../db/database.ts'
import { readKeyRows } from '../db/keys.ts'
import { activeKey, isAccepted, type Key, type KeyRoom, readKeys, rotateWhatIsDue } from '../keys/rotation.ts'
import { readSecrets } from '../keys/secret.ts'
import type { PublishedUse } from '../models/key.ts'
import { AuthError } from '../models/types.ts'
import { type MacKeys, sha256 } from './tokens.ts'

export type KeyStore = Awaited<ReturnType<typeof openKeyStore>>
type ImportedKey = Awaited<ReturnType<typeof importKey>>

const UNKNOWN_KID_INTERVAL_MS = 30_000

/**
 * Reads the keys and makes those that are missing or due, now and every JWKS cache lifetime, so that no request waits
 * for that. If that fails later on, `log` is told, and the keys in memory go on serving.
 * @throws {StartError} when they do not open
 */
export async function openKeyStore(config: Config, database: Database, log: KeyRoom['log']) {
  const { rows } = await readKeyRows(database)
  const room = { config, database, log, secrets: await readSecrets(config, rows.length === 0) }
  let { atHand } = await load(room)
  let looking: Promise<unknown> = Promise.resolve()
  let lookedAtMs = Number.NEGATIVE_INFINITY

  /** The database's time, whatever becomes of this node's clock. */
  const now = () => atHand.now + (performance.now() - atHand.readAtMs) / 1000
  const findAtHand = (use: PublishedUse, kid?: string) =>
    atHand.keys.find((key) => key.use === use && key.kid === kid && isAccepted(key, now()))
  const tell = (err: unknown) => log.error({ event: 'keys.failed', err })

  async function read() {
    const loaded = await load(room)
    if (loaded.atHand.readAtMs > atHand.readAtMs) atHand = loaded.atHand
    return loaded.reading
  }

  async function readAndRotate() {
    while (await rotateWhatIsDue(room, await read()));
  }

  /** Has the keys read again, at most every 30 s; whoever asks meanwhile waits for the same reading. */
  function lookForUnknown() {
    if (performance.now() - lookedAtMs < UNKNOWN_KID_INTERVAL_MS) return looking
    lookedAtMs = performance.now()
    looking = read().catch((cause) => {
      lookedAtMs = Number.NEGATIVE_INFINITY
      tell(cause)
      throw new AuthError('AUTH_UNAVAILABLE', { retryAfterSeconds: 1, cause })
    })
    return looking
  }

  await readAndRotate()
  let rotation = Promise.resolve()
  const timer = setInterval(() => {
    rotation = rotation.then(readAndRotate).catch(tell)
  }, config.jwksCacheTtlSeconds * 1000).unref()

  return {
    /** The key to sign or encrypt with now. */
    active: (use: PublishedUse) => activeKey(atHand.keys, use, now()) as ImportedKey,

    /**
     * The accepted key of that use and key id.
     * @throws {AuthError} AUTH_UNAVAILABLE when it is not at hand, and the keys cannot be read again
     */
    async find(use: PublishedUse, kid?: string): Promise<ImportedKey | undefined> {
      if (!findAtHand(use, kid)) await lookForUnknown()
      return findAtHand(use, kid)
    },

    /** 32 bytes each: first the key to use now, then all others that count. */
    macKeys(): MacKeys {
      const active = activeKey(atHand.macs, 'mac', now())
      const others = atHand.macs.filter((key) => key !== active && isAccepted(key, now()))
      return [active, ...others].map((key) => key?.bytes) as MacKeys
    },

    /** The JWK Set, whole or of one use, as text (`body`), and its strong ETag. */
    published: (use: PublishedUse | 'all' = 'all') => atHand.sets[use],

    async close(): Promise<void> {
      clearInterval(timer)
      await rotation
    },
  }
}

async function load(room: KeyRoom) {
  const readAtMs = performance.now()
  const reading = await readKeys(room)
  const macs = reading.keys
    .filter(({ use }) => use === 'mac')
    .map((key) => ({ ...key, bytes: Buffer.from(key.jwk.k as string, 'base64url') }))
  const keys = await Promise.all(reading.keys.filter(({ use }) => use !== 'mac').map(importKey))
  const accepted = keys.filter((key) => isAccepted(key, reading.now))
  const setOf = (use: PublishedUse) => prepareSet(accepted.filter((key) => key.use === use))
  const sets = { all: prepareSet(accepted), sig: setOf('sig'), enc: setOf('enc'), enc_front: setOf('enc_front') }
  return { reading, atHand: { readAtMs, now: reading.now, macs, keys, sets } }
}

async function importKey({ jwk, ...key }: Key) {
  const { kid, use, alg } = key
  const { kty, crv, x, y, n, e } = jwk
  const publicJwk = { kid, use, alg, kty, ...(kty === 'EC' ? { crv, x, y } : { n, e }) } as JWK
  const publicKey = (await importJWK(publicJwk, alg)) as CryptoKey
  const extractable = use === 'sig' // for node:crypto, which signs with it
  const privateKey = (await importJWK(jwk, alg, { extractable })) as CryptoKey
  return { ...key, publicJwk, publicKey, privateKey }
}

function prepareSet(keys: ImportedKey[]) {
  const body = JSON.stringify({ keys: keys.map(({ publicJwk }) => publicJwk) })
  return { body, etag: `"${sha256(body).toString('base64url')}"` }
}
