/** What an operator does to keys. The rules of their life are the module's own, src/utils/jwks.ts. */
import { type Config, StartError } from '../src/config.ts'
import { activeKey, algorithmFor, isAccepted, KEY_USES, type Key, type KeyUse } from '../src/utils/jwks.ts'
import { ALGORITHMS, createKey, deleteKey, readJwk, readKeys, rewriteKey } from '../src/utils/key_files.ts'
import type { Options } from './cerrojo.ts'

export type KeyState = 'next' | 'active' | 'retired' | 'gone'

export function stateOf(key: Key, keys: Key[]): KeyState {
  if (!isAccepted(key)) return 'gone'
  if (key === activeKey(keys, key.use)) return 'active'
  return key.nbf > Date.now() / 1000 ? 'next' : 'retired'
}

export async function listKeys(config: Config, { json }: Options): Promise<void> {
  const keys = await readKeys(config)
  const rows = keys
    .sort((one, other) => KEY_USES.indexOf(one.use) - KEY_USES.indexOf(other.use))
    .map((key) => ({
      use: key.use,
      kid: key.kid,
      alg: key.alg,
      state: stateOf(key, keys),
      since: timeOf(key.nbf),
      until: timeOf(key.until),
    }))
  if (json) return console.log(JSON.stringify(rows, null, 2))
  printTable(['use', 'kid', 'alg', 'state', 'since', 'until'], rows)
}

export async function rotateKeys(config: Config, { use, alg, now: isAtOnce }: Options): Promise<void> {
  if (use !== undefined && !KEY_USES.includes(use as KeyUse))
    throw new StartError(`--use must be one of ${KEY_USES.join(', ')}, but is "${use}"`)
  if (alg !== undefined && (use === undefined || !ALGORITHMS[use as KeyUse].includes(alg)))
    throw new StartError(`--alg needs --use, and is one of ${Object.entries(ALGORITHMS).map(String).join('; ')}`)
  const before = await readKeys(config)
  const uses = use === undefined ? KEY_USES : [use as KeyUse]
  const waiting = before.find((key) => uses.includes(key.use) && stateOf(key, before) === 'next')
  if (waiting && !isAtOnce)
    throw new StartError(`the next ${waiting.use} key is made already, in use from ${timeOf(waiting.nbf)}; see --now`)

  const now = Date.now() / 1000
  const nbf = isAtOnce ? Math.floor(now) : Math.ceil(now) + 2 * config.jwksCacheTtlSeconds
  for (const use of uses) {
    const algorithm = alg ?? algorithmFor(config, use)
    await createKey(config, use, algorithm, nbf, before)
    console.log(`made a new ${use} key (${algorithm}), in use from ${timeOf(nbf)}`)
    if (isAtOnce) await deleteAll(config, before, use)
  }
  if (alg !== undefined) console.log(`set ${alg} in the environment of the servers too, or they will rotate back`)
}

async function deleteAll(config: Config, keys: Key[], use: KeyUse): Promise<void> {
  for (const key of keys.filter((key) => key.use === use)) await deleteKey(config, key)
  const broken = {
    sig: 'every access token made before is refused; clients get new ones by a refresh',
    enc: 'every access token made before is refused; clients get new ones by a refresh, resource servers need the new key',
    enc_front: 'what a page encrypts to the key it knows answers 400 until it fetches the keys again',
  }
  console.log(`deleted the old ${use} keys: ${broken[use]}`)
  console.log(`running servers notice within ${config.jwksCacheTtlSeconds} s; restart them to have it at once`)
}

/** Nothing but what a resource server needs to open access tokens and to find the keys that verify them. */
export async function exportKeys(config: Config, { url = `http://${config.host}:${config.port}` }: Options) {
  if (!URL.canParse(url)) throw new StartError(`--url must be like https://auth.example.com, but is "${url}"`)
  const keys = (await readKeys(config)).filter((key) => key.use === 'enc' && isAccepted(key))
  const decryptionKeys = await Promise.all(keys.map(async (key) => (await readJwk(config, key.file.path)).jwk))
  console.log(JSON.stringify({ jwksUrl: new URL('/.well-known/jwks.json', url).href, decryptionKeys }, null, 2))
}

export async function encryptKeys(config: Config): Promise<void> {
  const keys = (await readKeys(config)).filter((key) => !key.file.isEncrypted)
  await rewriteAll(config, keys)
}

export async function rekeyKeys(config: Config): Promise<void> {
  await rewriteAll(config, await readKeys(config))
}

async function rewriteAll(config: Config, keys: Key[]): Promise<void> {
  if (!config.keysSecret) throw new StartError('AUTH_KEYS_SECRET is not set')
  for (const key of keys) await rewriteKey(config, key)
  console.log(`encrypted ${keys.length} key file${keys.length === 1 ? '' : 's'} with AUTH_KEYS_SECRET`)
}

/** Epoch seconds as UTC, or a dash for no time. */
export function timeOf(seconds: number): string {
  return Number.isFinite(seconds) ? new Date(seconds * 1000).toISOString().replace(/\.\d+Z$/, 'Z') : '-'
}

export function printTable<Column extends string>(columns: Column[], rows: Record<Column, string>[]): void {
  const widths = columns.map((column) => Math.max(column.length, ...rows.map((row) => row[column].length)))
  const line = (cells: string[]) =>
    cells
      .map((cell, index) => cell.padEnd(widths[index] ?? 0))
      .join('  ')
      .trimEnd()
  console.log(line(columns.map((column) => column.toUpperCase())))
  for (const row of rows) console.log(line(columns.map((column) => row[column])))
}
