/** What an operator does to keys. The rules of their life are the module's own, src/keys/. */
import { randomUUID } from 'node:crypto'
import { renameSync, rmSync, writeFileSync } from 'node:fs'
import { isIPv6 } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { type Config, StartError } from '../src/config.ts'
import { SILENT } from '../src/db/connection.ts'
import type { Database } from '../src/db/database.ts'
import {
  activeKey,
  algorithmFor,
  firstUseOfNext,
  isAccepted,
  type Key,
  type KeyReading,
  type KeyRoom,
  makeKeys,
  readKeys,
} from '../src/keys/rotation.ts'
import { ALGORITHMS, sealKey } from '../src/keys/sealing.ts'
import { readSecrets } from '../src/keys/secret.ts'
import { KEY_USES, type KeyRow, type KeyUse, PUBLISHED_USES } from '../src/models/key.ts'
import { type Command, command, type Values } from './command.ts'
import { withDatabase } from './database.ts'
import { countOf, printTable, timeOf } from './results.ts'
import { atSignal } from './terminal.ts'

const ROTATE_OPTIONS = {
  use: { type: 'string', value: '<use>', about: 'only sig, enc, enc_front or mac (which rotates in no other way)' },
  alg: { type: 'string', value: '<alg>', about: 'of that algorithm (needs --use); set it in the environment too' },
  now: { type: 'boolean', about: 'for a leaked key: in use at once, and the old keys end' },
} as const

const EXPORT_OPTIONS = {
  url: { type: 'string', value: '<url>', about: 'where the module is reached, like https://auth.example.com' },
  out: {
    type: 'string',
    value: '<file>',
    about: 'into that file, readable by you alone, put in its place in one step',
  },
  watch: { type: 'boolean', about: 'and goes on until a signal: as keys rotate, the file follows (needs --out)' },
} as const

type KeyState = 'next' | 'active' | 'retired' | 'gone' | 'misdated'

function withKeys<Result>(
  config: Config,
  work: (room: KeyRoom, reading: KeyReading) => Promise<Result>,
): Promise<Result> {
  return withDatabase(config, async (database) => {
    const room = { config, database, secrets: await readSecrets(config, false), log: SILENT }
    return work(room, await readKeys(room))
  })
}

function stateOf(key: Key, { keys, now }: KeyReading): KeyState {
  if (!isAccepted(key, now)) return 'gone'
  if (key === activeKey(keys, key.use, now)) return 'active'
  if (key.first_use <= now) return 'retired'
  return key.isMisdated ? 'misdated' : 'next'
}

function listKeys(config: Config, { json }: { json?: boolean }): Promise<void> {
  return withKeys(config, async (_room, reading) => {
    const rows = KEY_USES.flatMap((use) => reading.keys.filter((key) => key.use === use)).map((key) => ({
      use: key.use,
      kid: key.kid,
      alg: key.alg,
      state: stateOf(key, reading),
      since: timeOf(key.first_use),
      until: timeOf(key.until),
    }))
    if (json) return console.log(JSON.stringify(rows, null, 2))
    printTable(['use', 'kid', 'alg', 'state', 'since', 'until'], rows)
  })
}

async function rotateKeys(config: Config, { use, alg, now: isAtOnce }: Values<typeof ROTATE_OPTIONS>): Promise<void> {
  if (use !== undefined && !KEY_USES.includes(use as KeyUse))
    throw new StartError(`--use must be one of ${KEY_USES.join(', ')}, but is "${use}"`)
  if (alg !== undefined && (use === undefined || !ALGORITHMS[use as KeyUse].includes(alg)))
    throw new StartError(`--alg needs --use, and is one of ${Object.entries(ALGORITHMS).map(String).join('; ')}`)
  const uses: readonly KeyUse[] = use === undefined ? PUBLISHED_USES : [use as KeyUse]

  await withKeys(config, async (room, reading) => {
    const { keys, now } = reading
    if (keys.length === 0) throw new StartError('there are no keys yet; the first start of a server makes them')
    const waiting = keys.find((key) => uses.includes(key.use) && stateOf(key, reading) === 'next')
    if (waiting && !isAtOnce) {
      const firstUse = timeOf(waiting.first_use)
      throw new StartError(`the next ${waiting.use} key is made already, in use from ${firstUse}; see --now`)
    }

    const planned = uses.map((use) => ({
      use,
      alg: alg ?? algorithmFor(config, use),
      first_use: isAtOnce ? Math.floor(now) : firstUseOfNext(config, use, now),
    }))
    const made = await makeKeys(room, keys, planned)
    for (const { use, kid, first_use } of made) {
      console.log(`made a new ${use} key (${alg ?? algorithmFor(config, use)}), in use from ${timeOf(first_use)}`)
      if (isAtOnce) await endOthers(room, use, kid)
    }
    const missed = uses.filter((use) => !made.some((key) => key.use === use))
    if (missed.length > 0)
      throw new StartError(`a server was first to make a ${missed.join(' and a ')} key; see keys list`)
  })
  if (alg !== undefined && use !== 'mac')
    console.log(`set ${alg} in the environment of the servers too, or they will rotate back`)
}

async function endOthers({ config, database }: KeyRoom, use: KeyUse, kid: string): Promise<void> {
  await endOtherKeys(database, use, kid)
  const broken = {
    sig: 'every access token made before is refused; clients get new ones by a refresh',
    enc: 'every access token made before is refused; clients refresh, and resource servers need the new key',
    enc_front: 'what a page encrypts to the key it knows answers 400 until it fetches the keys again',
    mac: 'a database that is set back no longer knows the refresh tokens made before',
  }
  console.log(`ended the old ${use} keys: ${broken[use]}`)
  console.log(`running servers notice within ${config.jwksCacheTtlSeconds} s; restart them to have it at once`)
}

/** Nothing but what a resource server needs, in the words of the verifier's options: keys of use `sig` stay here. */
async function exportKeys(
  config: Config,
  { url = ownUrl(config), out, watch: isWatch }: Values<typeof EXPORT_OPTIONS>,
): Promise<void> {
  if (!URL.canParse(url)) throw new StartError(`--url must be like https://auth.example.com, but is "${url}"`)
  const jwksUrl = `${url.replace(/\/+$/, '')}/.well-known/jwks.json`
  const read = () =>
    withKeys(config, async (_room, { keys, now }) => {
      const decryptionKeys = keys
        .filter((key) => key.use === 'enc' && isAccepted(key, now))
        .map(({ kid, use, jwk }) => ({ kid, use, ...jwk }))
      return JSON.stringify({ issuer: config.issuer, audience: config.audience, jwksUrl, decryptionKeys }, null, 2)
    })
  if (isWatch) return keepFile(config, out, read)
  const text = await read()
  if (out === undefined) return console.log(text)
  atSignal()
  replaceFile(out, text)
}

function ownUrl({ host, port }: Config): string {
  return `http://${isIPv6(host) ? `[${host}]` : host}:${port}`
}

/** Until a signal. A reading that fails leaves the file as it is until the next one, if it was there once. */
async function keepFile(config: Config, path: string | undefined, read: () => Promise<string>): Promise<void> {
  if (path === undefined) throw new StartError('--watch needs --out, the file that it keeps')
  if (!config.databaseUrl) throw new StartError('--watch needs DATABASE_URL: the embedded database serves one process')
  let isWritten = false
  atSignal(() => (isWritten ? 0 : undefined))

  replaceFile(path, await read())
  isWritten = true
  console.log(`${path} is written, and will be every ${config.jwksCacheTtlSeconds} s until a signal`)
  for (;;) {
    await pause(config.jwksCacheTtlSeconds * 1000)
    await read()
      .then((text) => replaceFile(path, text))
      .catch((error) => console.error(`cerrojo: ${path} stays as it is for now: ${error.message}`))
  }
}

/**
 * Whoever reads it meanwhile gets the old or the new one, whole; so does who reads it after a power cut. In one go, so
 * that no signal leaves a draft behind.
 */
function replaceFile(path: string, text: string): void {
  const draft = `${path}.${randomUUID()}`
  try {
    writeFileSync(draft, text, { mode: 0o600, flag: 'wx', flush: true })
    renameSync(draft, path)
  } catch (error) {
    rmSync(draft, { force: true })
    throw new StartError(`${path} cannot be written: ${(error as NodeJS.ErrnoException).code}`)
  }
}

/** Goes on until a look finds nothing to do, since servers may make keys meanwhile. */
async function rekeyKeys(config: Config): Promise<void> {
  if (!config.keysSecret) throw new StartError('AUTH_KEYS_SECRET is not set')
  await withKeys(config, async (room, { keys }) => {
    const sealingKey = room.secrets.sealingKeys[0] as Buffer
    const isOld = (key: Key) => !key.sealingKey.equals(sealingKey)
    let sealed = 0
    for (let old = keys.filter(isOld); old.length > 0; old = (await readKeys(room)).keys.filter(isOld))
      for (const key of old)
        if (await resealKeyRow(room.database, key, await sealKey(key, key.jwk, sealingKey))) sealed++
    console.log(`sealed ${countOf(sealed, 'key')} anew; all are under AUTH_KEYS_SECRET`)
  })
}

/** For a secret that is lost for good. */
async function resetKeys(config: Config, { yes }: { yes?: boolean }): Promise<void> {
  const effect =
    'access tokens made before are refused, clients get new ones by a refresh, resource servers need the new key'
  if (!yes) throw new StartError(`this deletes all keys: ${effect}; if that is meant, say cerrojo keys reset --yes`)
  const deleted = await withDatabase(config, deleteAllKeys)
  console.log(`deleted ${countOf(deleted.length, 'key')}: ${effect}`)
  console.log('restart the servers, all with one secret: the first makes new keys')
}

export function endOtherKeys(database: Database, use: KeyUse, kid: string) {
  return database.rows`
    update keys
       set ends_at = least(ends_at, now())
     where use = ${use} and kid <> ${kid}`
}

/** @returns undefined when the row was changed meanwhile */
function resealKeyRow(database: Database, row: KeyRow, privateJwe: string) {
  return database.row<{ kid: string }>`
    update keys
       set private_jwe = ${privateJwe}
     where kid = ${row.kid} and private_jwe = ${row.private_jwe}
    returning kid`
}

function deleteAllKeys(database: Database) {
  return database.rows<{ kid: string }>`
    delete from keys
    returning kid`
}

export const keyCommands: Command[] = [
  command(
    'keys list',
    'a table of all keys: use, kid, alg, state, since, until',
    { options: { json: { type: 'boolean', about: 'JSON instead of a table' } } },
    listKeys,
  ),
  command(
    'keys rotate',
    'make the next key of each use; it comes into use when everybody can know it',
    { options: ROTATE_OPTIONS },
    rotateKeys,
  ),
  command(
    'keys export',
    'what a resource server needs: private enc keys, the JWKS address, issuer and audience. Keep it secret',
    { options: EXPORT_OPTIONS },
    exportKeys,
  ),
  command(
    'keys rekey',
    'seal all keys anew, with AUTH_KEYS_SECRET; opens them with AUTH_KEYS_SECRET_PREVIOUS too',
    { options: {} },
    rekeyKeys,
  ),
  command(
    'keys reset',
    'delete all keys, when their secret is lost for good: access tokens die, sessions live',
    { options: { yes: { type: 'boolean', about: 'that is meant' } } },
    resetKeys,
  ),
]
