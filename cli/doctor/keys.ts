/** Whether the keys open, and whether servers keep them as they should. */
import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { Config } from '../../src/config.ts'
import type { Database } from '../../src/db/database.ts'
import { activeKey, firstUseOfNext, isAccepted, type Key, type KeyReading, readKeys } from '../../src/keys/rotation.ts'
import { readSecrets, type Secrets } from '../../src/keys/secret.ts'
import { KEY_USES, type KeyUse } from '../../src/models/key.ts'
import { AuthError } from '../../src/models/types.ts'
import { timeOf } from '../results.ts'
import { type Check, type Finding, hint, judge, risky } from './check.ts'

export interface KeyFacts extends KeyReading {
  config: Config
  secrets: Secrets
  secretFile: { path: string; mayOthersRead: boolean }
}

export const NO_KEYS: Finding = {
  level: 'risky',
  about: 'keys',
  found: 'there are none yet',
  advice: 'the first start of a server makes them',
}

const UNDEFINED_TABLE = '42P01'
const INSUFFICIENT_PRIVILEGE = '42501'

export const KEY_CHECKS: Check<KeyFacts>[] = [
  risky(
    ({ config, secretFile }) => !config.keysSecret && secretFile.mayOthersRead && `others may read ${secretFile.path}`,
    'chmod 600 it',
  ),
  risky(
    ({ config, secretFile }) =>
      !config.keysSecret && config.databaseUrl && `their secret is in ${secretFile.path} alone`,
    'give it to all nodes as AUTH_KEYS_SECRET',
  ),
  risky(({ keys, secrets }) => {
    const { length } = keys.filter((key) => !key.sealingKey.equals(secrets.sealingKeys[0] as Buffer))
    return length > 0 && `${length} are sealed with AUTH_KEYS_SECRET_PREVIOUS`
  }, 'cerrojo keys rekey'),
  risky(
    ({ keys }) => keys.filter(({ isMisdated }) => isMisdated).map((key) => `${nameOf(key)} comes ${intoUse(key)}`),
    'a server replaces it; set the database by NTP',
  ),
  risky(
    ({ keys, now }) => KEY_USES.filter((use) => !activeKey(keys, use, now)).map((use) => `there is no ${use} key`),
    'the next start of a server makes one',
  ),
  risky(
    (facts) =>
      KEY_USES.flatMap((use) => overdueKey(facts, use) ?? []).map(
        ({ use, first_use }) => `the ${use} key is in use since ${timeOf(first_use)}, and no next one is made`,
      ),
    'cerrojo keys rotate, and see why no server does',
  ),
  hint((facts) => {
    const next = nextKey(facts, 'enc')
    return next && `${nameOf(next)} comes ${intoUse(next)}; its kid is ${next.kid}`
  }, 'resource servers must have it by then: cerrojo keys export'),
]

export async function checkKeys(config: Config, database: Database): Promise<Finding[]> {
  try {
    const secrets = await readSecrets(config, false)
    const reading = await readKeys({ config, database, secrets })
    if (reading.keys.length === 0) return [NO_KEYS]
    const facts = { ...reading, config, secrets, secretFile: lookAtSecretFile(config) }
    return judge('keys', KEY_CHECKS, facts, `${reading.keys.length} open with the secret from ${secrets.source}`)
  } catch (error) {
    if (error instanceof AuthError) return [unreadable((error.cause as Error).message, 'see that PostgreSQL answers')]
    const { code, message } = error as NodeJS.ErrnoException
    if (code === UNDEFINED_TABLE) return [NO_KEYS]
    if (code === INSUFFICIENT_PRIVILEGE) return [unreadable(message, 'grant the role select on keys')]
    const [found = '', ...advice] = message.split(': ') // as the server itself would say it
    return [{ level: 'broken', about: 'keys', found, advice: advice.join(': ') }]
  }
}

export function unreadable(message: string, advice: string): Finding {
  return { level: 'risky', about: 'keys', found: `they cannot be read: ${message}`, advice }
}

function lookAtSecretFile({ dataDir }: Config): KeyFacts['secretFile'] {
  const path = join(dataDir, 'keys-secret')
  return { path, mayOthersRead: existsSync(path) && (statSync(path).mode & 0o077) > 0 }
}

/** The active key whose successor should have been made two readings of the servers ago, and is not. */
function overdueKey({ config, keys, now }: KeyFacts, use: KeyUse): Key | undefined {
  const active = activeKey(keys, use, now)
  if (!active || use === 'mac' || nextKey({ keys, now }, use)) return undefined
  const madeUntil = firstUseOfNext(config, use, now - 2 * config.jwksCacheTtlSeconds)
  return active.first_use + config.keyRotationSeconds < madeUntil ? active : undefined
}

function nextKey({ keys, now }: KeyReading, use: KeyUse): Key | undefined {
  return keys.find((key) => key.use === use && key.first_use > now && !key.isMisdated && isAccepted(key, now))
}

const nameOf = ({ use, number }: Key) => `the ${use} key ${number}`
const intoUse = ({ first_use }: Key) => `into use on ${timeOf(first_use)}`
