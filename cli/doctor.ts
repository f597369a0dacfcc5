/** Looks at what a server would start with, and says what to do about each finding. Changes nothing. */
import { existsSync } from 'node:fs'
import { access, constants, readdir, stat } from 'node:fs/promises'
import pg from 'pg'
import type { Config } from '../src/config.ts'
import { migrationFiles } from '../src/db/migrations.ts'
import { activeKey, KEY_USES } from '../src/utils/jwks.ts'
import { readKeys } from '../src/utils/key_files.ts'
import type { Options } from './cerrojo.ts'
import { printTable, timeOf } from './keys.ts'

/** `broken` keeps the module from working, `risky` from being safe. */
interface Finding {
  level: 'ok' | 'risky' | 'broken'
  about: string
  found: string
  advice: string
}

export async function doctor(config: Config, { json }: Options): Promise<void> {
  const findings = [...(await checkKeys(config)), ...(await checkDatabase(config)), ...checkSettings(config)]
  if (findings.some(({ level }) => level === 'broken')) process.exitCode = 1
  if (json) return console.log(JSON.stringify(findings, null, 2))
  printTable(['level', 'about', 'found', 'advice'], findings)
}

const ok = (about: string, found: string): Finding => ({ level: 'ok', about, found, advice: '' })
const risky = (about: string, found: string, advice: string): Finding => ({ level: 'risky', about, found, advice })
const broken = (about: string, found: string, advice: string): Finding => ({ level: 'broken', about, found, advice })

async function checkKeys(config: Config): Promise<Finding[]> {
  const folder = config.keysDir
  if (!existsSync(folder)) return [risky('keys', `${folder} does not exist`, 'the first start makes it, with new keys')]
  const findings: Finding[] = []

  for (const path of [folder, ...(await readdir(folder)).map((name) => `${folder}/${name}`)]) {
    const { mode } = await stat(path)
    if (mode & 0o077) findings.push(risky('keys', `others may read ${path}`, `chmod ${path === folder ? 700 : 600} it`))
  }
  const isWritable = await access(folder, constants.W_OK).then(
    () => true,
    () => false,
  )
  if (!isWritable) findings.push(risky('keys', `${folder} is read-only`, 'keys cannot rotate until it is writable'))

  try {
    const keys = await readKeys(config)
    const plain = keys.filter((key) => !key.file.isEncrypted)
    if (config.keysSecret && plain.length > 0)
      findings.push(risky('keys', `${plain.length} key files are plain`, 'cerrojo keys encrypt'))
    for (const use of KEY_USES) {
      const key = activeKey(keys, use)
      if (!key) findings.push(risky('keys', `there is no ${use} key`, 'the next start makes one'))
      else if (Date.now() / 1000 > key.nbf + config.keyRotationSeconds)
        findings.push(risky('keys', `the ${use} key is in use since ${timeOf(key.nbf)}`, 'cerrojo keys rotate'))
    }
  } catch (error) {
    findings.push(broken('keys', (error as Error).message, 'restore it from a backup, or set the right secret'))
  }
  return findings.length > 0 ? findings : [ok('keys', `${folder} is in order`)]
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
