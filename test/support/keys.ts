/** The keys in a server's database, opened and sealed by hand, so that the tests do not trust the module. */
import { generateKeyPairSync } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after } from 'node:test'
import { loadConfig } from '../../src/config.ts'
import type { KeyRoom } from '../../src/keys/rotation.ts'
import { type KeyStore, openKeyStore } from '../../src/utils/jwks.ts'
import { decryptJwe, encryptJwe, hkdf, type Jwk, thumbprint } from './jose_by_hand.ts'
import { type Environment, type LocalServer, runSql } from './server.ts'

const SILENT = { info() {}, error() {} }

/** Those that rotate by themselves. */
export const USES = ['sig', 'enc', 'enc_front'] as const
export type Use = (typeof USES)[number] | 'mac'

/** A row of `keys` with its private JWK; times are in epoch seconds. */
export interface HeldKey {
  use: Use
  number: number
  kid: string
  alg: string
  first_use: number
  ends_at: number | null
  jwk: Jwk
}

/** In the order in which they were made for each use. */
export async function readKeys(env: Environment): Promise<HeldKey[]> {
  const rows = (await runSql(
    env,
    `select use, number, kid, alg, private_jwe, extract(epoch from first_use)::float8 as first_use,
            extract(epoch from ends_at)::float8 as ends_at
       from keys order by use, number`,
  )) as unknown as (Omit<HeldKey, 'jwk'> & { private_jwe: string })[]
  return rows.map(({ private_jwe, ...row }) => ({ ...row, jwk: JSON.parse(unseal(env, private_jwe)) }))
}

/** The private JWKs, each with its `use` and `kid`. */
export async function readJwks(env: Environment): Promise<Jwk[]> {
  return (await readKeys(env)).map(({ use, kid, jwk }) => ({ ...jwk, use, kid }))
}

/** The only key of that use and algorithm. */
export async function keyFor(env: Environment, use: Use, alg?: string): Promise<Jwk> {
  const found = (await readJwks(env)).filter((key) => key.use === use && (alg === undefined || key.alg === alg))
  if (found.length !== 1) throw new Error(`${found.length} keys for ${use} ${alg ?? ''}`)
  return found[0] as Jwk
}

/** Puts a key into the database as a server would: a new one on P-256, unless told otherwise. */
export async function addKey(
  env: Environment,
  {
    use,
    first_use,
    ends_at = null,
    alg,
    jwk = newJwk(),
    number,
  }: Partial<HeldKey> & Pick<HeldKey, 'use' | 'first_use'>,
): Promise<HeldKey> {
  const complete = { ...jwk, alg: alg ?? jwk.alg ?? (use === 'sig' ? 'ES256' : 'ECDH-ES+A256KW') }
  const key = { use, kid: thumbprint(jwk), alg: complete.alg, first_use, ends_at, jwk: complete }
  const [row] = await runSql(
    env,
    `insert into keys (use, number, kid, alg, first_use, ends_at, private_jwe)
     values ($1, coalesce($2, (select coalesce(max(number), 0) + 1 from keys where use = $1)), $3, $4,
             to_timestamp($5::float8), to_timestamp($6::float8), $7)
     returning number`,
    [use, number ?? null, key.kid, key.alg, first_use, ends_at, seal(env, key)],
  )
  return { ...key, number: row?.number as number }
}

/** Writes a key's row anew, sealed as it then is. */
export async function replaceKey(env: Environment, key: HeldKey, change: Partial<HeldKey>): Promise<void> {
  const replaced = { ...key, ...change }
  const { use, number, first_use, ends_at } = replaced
  await runSql(
    env,
    `update keys set first_use = to_timestamp($3::float8), ends_at = to_timestamp($4::float8), private_jwe = $5
      where use = $1 and number = $2`,
    [use, number, first_use, ends_at, seal(env, replaced)],
  )
}

/** Makes all keys of some uses look as if they had come into use that many seconds earlier. */
export async function age(env: Environment, seconds: number, uses: readonly Use[] = USES): Promise<void> {
  for (const key of await readKeys(env))
    if (uses.includes(key.use)) await replaceKey(env, key, { first_use: key.first_use - seconds })
}

/** Another node's keys, on a server's database; what it tells is forgotten, or given to `log`. */
export async function openStore(
  { env, database }: Pick<LocalServer, 'env' | 'database'>,
  log: KeyRoom['log'] = SILENT,
): Promise<KeyStore> {
  const store = await openKeyStore(loadConfig(env), database, log)
  after(() => store.close())
  return store
}

/** The contract's form, and whatever else the header is to say. */
export function seal(
  env: Environment,
  { use, kid, first_use, jwk }: Omit<HeldKey, 'number' | 'alg' | 'ends_at'>,
): string {
  const header = { alg: 'dir', enc: 'A256GCM', cty: 'jwk+json', use, kid, first_use }
  return encryptJwe(header, JSON.stringify(jwk), sealingKey(env))
}

export function newJwk(): Jwk {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' }) as Jwk
}

function unseal(env: Environment, jwe: string): string {
  return decryptJwe(jwe, sealingKey(env)).plaintext.toString()
}

function sealingKey(env: Environment): Jwk {
  const secret = Buffer.from(env.AUTH_KEYS_SECRET ?? readSecretFile(env), 'base64url')
  return { kty: 'oct', k: hkdf(secret, 'cerrojo key seal').toString('base64url') }
}

function readSecretFile(env: Environment): string {
  return readFileSync(env.AUTH_KEYS_SECRET_FILE ?? join(env.AUTH_DATA_DIR as string, 'keys-secret'), 'utf8').trim()
}
