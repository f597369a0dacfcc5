/** Looks at what a server would start with, and says what to do about each finding. Changes nothing. */
import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import type { Config } from '../src/config.ts'
import { openDatabase } from '../src/db/connection.ts'
import { createDatabase, type Database } from '../src/db/database.ts'
import { migrationFiles } from '../src/db/migrations.ts'
import { activeKey, type KeyReading, readKeys } from '../src/keys/rotation.ts'
import { readSecrets, type Secrets } from '../src/keys/secret.ts'
import { KEY_USES } from '../src/models/key.ts'
import { command } from './command.ts'
import { SILENT } from './database.ts'
import { printTable, timeOf } from './keys.ts'

/** `broken` keeps the module from working, `risky` from being safe. */
interface Finding {
  level: 'ok' | 'risky' | 'broken'
  about: string
  found: string
  advice: string
}

async function doctor(config: Config, { json }: { json?: boolean }): Promise<void> {
  const findings = [...(await checkKeys(config)), ...(await checkDatabase(config)), ...checkSettings(config)]
  if (findings.some(({ level }) => level === 'broken')) process.exitCode = 1
  if (json) return console.log(JSON.stringify(findings, null, 2))
  printTable(['level', 'about', 'found', 'advice'], findings)
}

const UNDEFINED_TABLE = '42P01'

const ok = (about: string, found: string): Finding => ({ level: 'ok', about, found, advice: '' })
const risky = (about: string, found: string, advice: string): Finding => ({ level: 'risky', about, found, advice })
const broken = (about: string, found: string, advice: string): Finding => ({ level: 'broken', about, found, advice })

async function checkKeys(config: Config): Promise<Finding[]> {
  const none = risky('keys', 'there are none yet', 'the first start of a server makes them')
  if (!config.databaseUrl && !existsSync(join(config.dataDir, 'postgres'))) return [none]
  const database = await openUnchanged(config).catch((error: Error) => error)
  if (database instanceof Error) {
    const advice = config.databaseUrl
      ? 'check DATABASE_URL, and that PostgreSQL runs'
      : 'stop that process to have them read'
    return [risky('keys', `they cannot be read: ${database.message}`, advice)]
  }
  try {
    const secrets = await readSecrets(config, false)
    const reading = await readKeys({ config, database, secrets })
    const findings = [...judgeSecret(config), ...judgeKeys(config, reading, secrets)]
    if (reading.keys.length === 0) return [none]
    return findings.length > 0 ? findings : [ok('keys', `${reading.keys.length} open, none is overdue`)]
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code === UNDEFINED_TABLE) return [none]
    const [found = '', ...advice] = message.split(': ') // as the server itself would say it
    return [broken('keys', found, advice.join(': '))]
  } finally {
    await database.close()
  }
}

/** Without migrating a PostgreSQL, which may be served by older nodes. */
async function openUnchanged(config: Config): Promise<Database> {
  if (!config.databaseUrl) return openDatabase(config, SILENT)
  const client = new pg.Client({ connectionString: config.databaseUrl, connectionTimeoutMillis: 5000 })
  client.on('error', () => {})
  await client.connect()
  const run = (text: string, values: unknown[]) => client.query(text, values)
  return createDatabase({ isEmbedded: false, run, transaction: (work) => work(run), close: () => client.end() }, SILENT)
}

function judgeSecret(config: Config): Finding[] {
  if (config.keysSecret) return []
  const findings: Finding[] = []
  const path = join(config.dataDir, 'keys-secret')
  if (existsSync(path) && statSync(path).mode & 0o077)
    findings.push(risky('keys', `others may read ${path}`, 'chmod 600 it'))
  if (config.databaseUrl)
    findings.push(risky('keys', `their secret is in ${path} alone`, 'give it to all nodes as AUTH_KEYS_SECRET'))
  return findings
}

function judgeKeys(config: Config, { keys, now }: KeyReading, { sealingKeys }: Secrets): Finding[] {
  const findings: Finding[] = []
  const old = keys.filter((key) => !key.sealingKey.equals(sealingKeys[0] as Buffer))
  if (old.length > 0)
    findings.push(risky('keys', `${old.length} are sealed with AUTH_KEYS_SECRET_PREVIOUS`, 'cerrojo keys rekey'))
  for (const { use, number, first_use } of keys.filter(({ isMisdated }) => isMisdated))
    findings.push(
      risky(
        'keys',
        `the ${use} key ${number} comes into use on ${timeOf(first_use)}`,
        'a server replaces it; set the database by NTP',
      ),
    )
  for (const use of KEY_USES) {
    const active = activeKey(keys, use, now)
    const hasNext = keys.some((key) => key.use === use && key.first_use > now && !key.isMisdated)
    if (!active) findings.push(risky('keys', `there is no ${use} key`, 'the next start of a server makes one'))
    else if (use !== 'mac' && !hasNext && now > active.first_use + config.keyRotationSeconds)
      findings.push(
        risky(
          'keys',
          `the ${use} key is in use since ${timeOf(active.first_use)}`,
          'cerrojo keys rotate, and see why no server does',
        ),
      )
  }
  return findings
}

async function checkDatabase(config: Config): Promise<Finding[]> {
  if (!config.databaseUrl)
    return [risky('database', 'the embedded database is in use', 'for production set DATABASE_URL to a PostgreSQL')]
  const client = new pg.Client({ connectionString: config.databaseUrl, connectionTimeoutMillis: 5000 })
  client.on('error', () => {})
  try {
    await client.connect()
    const { rows } = await client.query(`
      select current_setting('server_version_num')::int / 10000 as version,
             current_setting('max_connections')::int as connections,
             current_setting('fsync') as fsync,
             current_setting('synchronous_commit') as synchronous_commit,
             extract(epoch from clock_timestamp())::float8 as clock,
             to_regclass('schema_migrations') is not null as has_schema`)
    const applied = rows[0].has_schema ? await client.query('select file_name from schema_migrations') : { rows: [] }
    const names = applied.rows.map(({ file_name }) => file_name)
    const pending = (await migrationFiles()).filter((name) => !names.includes(name))
    return judgeDatabase(config, rows[0], pending)
  } catch (error) {
    return [broken('database', (error as Error).message, 'check DATABASE_URL, and that PostgreSQL runs')]
  } finally {
    await client.end()
  }
}

function judgeDatabase(
  config: Config,
  is: {
    version: number
    connections: number
    fsync: string
    synchronous_commit: string
    clock: number
  },
  pendingMigrations: string[],
): Finding[] {
  const findings: Finding[] = []
  const add = (isSo: boolean, finding: Finding) => isSo && findings.push(finding)
  const skewSeconds = Math.round(Math.abs(Date.now() / 1000 - is.clock))
  add(is.version < 14, broken('database', `PostgreSQL ${is.version} is too old`, 'upgrade to 14 or newer'))
  add(
    pendingMigrations.length > 0,
    risky('schema', `${pendingMigrations.join(', ')} not applied`, 'cerrojo migrate, or the next start'),
  )
  add(skewSeconds > 5, risky('clock', `ours and the database's differ by ${skewSeconds} s`, 'set both by NTP'))
  add(is.fsync === 'off', risky('database', 'fsync is off', 'turn it on, or a power cut loses answered requests'))
  add(is.synchronous_commit === 'off', risky('database', 'synchronous_commit is off', 'turn it on'))
  add(
    config.databasePoolSize > is.connections - 10,
    risky(
      'database',
      `a pool of ${config.databasePoolSize} of ${is.connections} connections`,
      'lower DATABASE_POOL_SIZE',
    ),
  )
  return findings.length > 0 ? findings : [ok('database', `PostgreSQL ${is.version}, clock and schema are in order`)]
}

function checkSettings(config: Config): Finding[] {
  const findings: Finding[] = []
  const add = (isSo: boolean, found: string, advice: string) => isSo && findings.push(risky('settings', found, advice))
  const limits = [config.rateLimitLogin, config.rateLimitRegister, config.rateLimitRefresh, config.rateLimitFailures]
  add(!config.cookieSecure, 'AUTH_COOKIE_SECURE is false', 'only for development on plain HTTP')
  add(config.bcryptRounds < 10, `AUTH_BCRYPT_ROUNDS is ${config.bcryptRounds}`, 'use 12')
  add(limits.includes(0), 'a rate limit is off', 'set every AUTH_RATE_LIMIT_* above 0')
  add(config.refreshGraceSeconds > 60, `AUTH_REFRESH_GRACE_SEC is ${config.refreshGraceSeconds}`, 'use Idempotency-Key')
  add(config.accessTtlSeconds > 3600, `AUTH_ACCESS_TTL_SEC is ${config.accessTtlSeconds}`, 'use 900')
  add(
    config.corsOrigins.some((origin) => origin.startsWith('http:')),
    'AUTH_CORS_ORIGINS has an origin on plain HTTP',
    'only for development',
  )
  add(
    !/^(127\.|::1$|localhost$)/.test(config.host) && config.trustedProxies.length === 0,
    `HOST is ${config.host} and AUTH_TRUST_PROXY is unset`,
    'put a proxy with TLS in front, and name it there',
  )
  add(/^(debug|trace)$/.test(config.logLevel), `LOG_LEVEL is ${config.logLevel}`, 'use info or higher in production')
  return findings.length > 0 ? findings : [ok('settings', 'nothing dangerous is set')]
}

export const doctorCommand = command(
  'doctor',
  'check keys, clock, database and settings; exit code 1 if something is broken',
  { options: { json: { type: 'boolean', about: 'JSON instead of a table' } } },
  doctor,
)
