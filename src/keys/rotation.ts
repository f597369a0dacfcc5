/** When keys are made and when they go: by the same rules on every node, so it does not matter which one is first. */
import type { Config } from '../config.ts'
import type { Database } from '../db/database.ts'
import { deleteKeyRow, insertKeyRows, readKeyRows } from '../db/keys.ts'
import { KEY_USES, type KeyRow, type KeyUse } from '../models/key.ts'
import { makeKey, openKey } from './sealing.ts'
import type { Secrets } from './secret.ts'

/** What keys are read and made with, and whom it is told. */
export interface KeyRoom {
  config: Config
  database: Database
  secrets: Secrets
  log: { info(event: object): void; error(event: object): void }
}
export type KeyReading = Awaited<ReturnType<typeof readKeys>>
export type Key = KeyReading['keys'][number]
type Timed = Pick<Key, 'use' | 'first_use' | 'until'>

/** No key is made so much sooner than its lead: the database's clock was wrong when this one was. */
const MISDATED_SECONDS = 24 * 60 * 60

/**
 * @returns the keys in the order of their use, and the database's time. From `until` on, in epoch seconds, a key is
 *   neither published nor accepted; Infinity while unknown
 * @throws {StartError} when one does not open
 */
export async function readKeys({ config, database, secrets }: Omit<KeyRoom, 'log'>) {
  const { rows, now } = await readKeyRows(database)
  const opened = await Promise.all(
    rows.map(async (row) => {
      const isMisdated = row.first_use > now + leadSeconds(config, row.use) + MISDATED_SECONDS
      return { ...row, ...(await openKey(row, secrets)), isMisdated }
    }),
  )
  // Since when a misdated key is in use nobody knows, so it counts as the oldest: whatever comes into use replaces it.
  const ordered = opened.toSorted((one, other) => Number(other.isMisdated) - Number(one.isMisdated))
  const keys = ordered.map((key, index) => {
    const successor = ordered.slice(index + 1).find(({ use }) => use === key.use)
    const graceEnd = successor ? successor.first_use + config.keyGraceSeconds : Number.POSITIVE_INFINITY
    return { ...key, until: Math.min(graceEnd, key.ends_at ?? graceEnd) }
  })
  return { keys, now }
}

/**
 * Makes of each use the key that comes next, when it is time, and deletes what is gone.
 * @returns whether there was anything to do, so that the keys must be read again
 */
export async function rotateWhatIsDue(room: KeyRoom, reading: KeyReading): Promise<boolean> {
  const due = KEY_USES.flatMap((use) => dueKey(room.config, reading, use) ?? [])
  const gone = reading.keys.filter((key) => !isAccepted(key, reading.now))
  if (due.length > 0) await makeKeys(room, reading.keys, due)
  for (const { use, kid, until } of gone)
    if (await deleteKeyRow(room.database, kid, until)) room.log.info({ event: 'keys.gone', use, kid })
  return due.length + gone.length > 0
}

/** The key to make, if it is time: before its first use by its lead, so that by then everybody knows it. */
function dueKey(config: Config, { keys, now }: KeyReading, use: KeyUse) {
  const alg = algorithmFor(config, use)
  const newest = keys.findLast((key) => key.use === use && isAccepted(key, now))
  if (!newest) return { use, alg, first_use: Math.floor(now) }
  if (newest.first_use > now && !newest.isMisdated) return undefined

  const lifeSeconds = use === 'mac' ? Number.POSITIVE_INFINITY : config.keyRotationSeconds
  const isWanted = newest.alg === alg && !newest.isMisdated
  const replaceAt = isWanted ? Math.min(newest.until, newest.first_use + lifeSeconds) : now
  const firstUse = firstUseOfNext(config, use, now)
  return replaceAt <= firstUse ? { use, alg, first_use: firstUse } : undefined
}

/**
 * Makes keys, sealed with the secret that opens the newest: every node that runs has it.
 * @returns those made: not those that another node was first with
 */
export async function makeKeys(
  { database, secrets, log }: KeyRoom,
  keys: Key[],
  planned: Pick<KeyRow, 'use' | 'alg' | 'first_use'>[],
) {
  const newest = keys.at(-1)
  const sealingKey = (newest?.sealingKey ?? secrets.sealingKeys[0]) as Buffer
  const lastNumber = (use: KeyUse) => Math.max(0, ...keys.filter((key) => key.use === use).map(({ number }) => number))
  const rows = planned.map((key) => makeKey({ ...key, number: lastNumber(key.use) + 1 }, sealingKey))
  const made = await insertKeyRows(database, await Promise.all(rows), newest)
  for (const { use, kid, first_use } of made) log.info({ event: 'keys.made', use, kid, first_use })
  return made
}

/** In whole epoch seconds. */
export function firstUseOfNext(config: Config, use: KeyUse, now: number): number {
  return Math.ceil(now) + leadSeconds(config, use)
}

/** Every node reads it within one cache lifetime, and who asked a node before that asks again within another. */
function leadSeconds({ jwksCacheTtlSeconds, keyLeadSeconds, keyRotationSeconds }: Config, use: KeyUse): number {
  const forOthers = use === 'enc' ? Math.ceil(Math.min(keyLeadSeconds, keyRotationSeconds / 2)) : 0
  return Math.max(2 * jwksCacheTtlSeconds, forOthers)
}

export function algorithmFor({ signingAlgorithm: sig, keyManagementAlgorithm: enc }: Config, use: KeyUse): string {
  return { sig, enc, enc_front: 'RSA-OAEP-256', mac: 'HS256' }[use]
}

/** Of keys in the order of their use, the last that has come to it; when none has, the first: a clock was set back. */
export function activeKey<SomeKey extends Timed>(keys: SomeKey[], use: KeyUse, now: number): SomeKey | undefined {
  const accepted = keys.filter((key) => key.use === use && isAccepted(key, now))
  return accepted.findLast((key) => key.first_use <= now) ?? accepted[0]
}

export function isAccepted({ until }: Pick<Timed, 'until'>, now: number): boolean {
  return now < until
}
