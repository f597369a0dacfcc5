/** How the database is set up, and what stands in the module's tables. */
import pg from 'pg'
import type { Config } from '../../src/config.ts'
import { SILENT } from '../../src/db/connection.ts'
import { createDatabase, type Database, type Engine } from '../../src/db/database.ts'
import { openEmbedded } from '../../src/db/embedded.ts'
import { appliedMigrations, migrationFiles } from '../../src/db/migrations.ts'
import { HASH_FORM } from '../../src/hashing/passwords.ts'
import { broken, type Check, hint, risky } from './check.ts'

const QUERY_TIMEOUT_MS = 10_000
/** For commands like this one, and a backup. */
const SPARE_CONNECTIONS = 3

/** One row of what a PostgreSQL says of itself, and what we saw while asking. */
export interface ServerFacts {
  version: number
  encoding: string
  /** The versions of the rules for text that indexes were built by, and of now; null where these have none. */
  built_collation: string | null
  collation: string | null
  is_in_recovery: boolean
  is_read_only: boolean
  fsync: boolean
  synchronous_commit: string
  synchronous_standby_names: string
  standbys: number
  wal_compression: string
  /** What it is off for. */
  autovacuum_off: string[]
  role: string
  is_superuser: boolean
  may_change_schema: boolean
  missing_rights: string[]
  /** As many as the server, the database and the role allow. */
  connections: number
  nodes: number
  pool_size: number
  /** Of what answers, and of what greeted us. */
  process_id: number
  greeted_by: number
  /** Between its clock and ours. */
  skew_seconds: number
}

export const SERVER_CHECKS: Check<ServerFacts>[] = [
  broken(({ version }) => version < 14 && `PostgreSQL ${version} is too old`, 'upgrade to 14 or newer'),
  broken(
    ({ encoding }) => encoding !== 'UTF8' && `its encoding is ${encoding}`,
    "make a database with: create database … encoding 'UTF8' template template0",
  ),
  risky(
    ({ built_collation: built, collation }) =>
      built !== null && built !== collation && `its rules for text have changed, from version ${built} to ${collation}`,
    'reindex database …, then alter database … refresh collation version; or emails may not be found',
  ),
  broken(
    ({ is_in_recovery }) => is_in_recovery && 'it is in recovery and takes no writes',
    'name the primary in DATABASE_URL, or promote this one',
  ),
  broken(
    ({ is_read_only, is_in_recovery }) => is_read_only && !is_in_recovery && 'it takes no writes',
    'set default_transaction_read_only off for this role and database',
  ),
  risky(({ fsync }) => !fsync && 'fsync is off', 'turn it on, or a power cut loses answered requests'),
  risky(
    ({ synchronous_commit }) => synchronous_commit === 'off' && 'synchronous_commit is off',
    'turn it on, or a crash loses answered requests',
  ),
  risky(
    ({ standbys, synchronous_standby_names: names }) =>
      standbys > 0 && names === '' && `synchronous_standby_names is empty; standbys attached: ${standbys}`,
    'set it, or a failover forgets the last logouts and registrations',
  ),
  risky(
    ({ autovacuum_off: places }) => places.length > 0 && `autovacuum is off for ${places.join(', ')}`,
    'turn it on, or tables grow and become slow',
  ),
  hint(({ wal_compression }) => wal_compression === 'off' && 'wal_compression is off', 'turn it on, for less WAL'),
  broken(
    ({ role, missing_rights: rights }) => rights.length > 0 && `the role ${role} may not ${rights.join(', ')}`,
    'as the owner: grant select, insert, update, delete on users, refresh_tokens, keys, rate_limits, and select on ' +
      'schema_migrations',
  ),
  risky(
    ({ role, is_superuser }) => is_superuser && `the role ${role} is a superuser`,
    'use one that may select, insert, update and delete; only cerrojo migrate needs the owner',
  ),
  hint(
    ({ role, is_superuser, may_change_schema }) =>
      may_change_schema && !is_superuser && `the role ${role} may change the schema`,
    'select, insert, update and delete are enough for a server; only cerrojo migrate needs the owner',
  ),
  risky(
    ({ nodes, pool_size, connections }) =>
      nodes * pool_size + SPARE_CONNECTIONS > connections &&
      `${nodes} times DATABASE_POOL_SIZE is ${nodes * pool_size}, and the role may have ${connections} connections`,
    'lower DATABASE_POOL_SIZE, or raise max_connections or the limit of role or database; keep some to spare',
  ),
  hint(
    ({ process_id, greeted_by }) => process_id !== greeted_by && 'a pooler stands in between',
    'it must keep connections apart (PgBouncer: pool_mode = session), and allow as many as the nodes want',
  ),
  risky(({ skew_seconds }) => skew_seconds > 5 && `its clock and ours differ by ${skew_seconds} s`, 'set both by NTP'),
]

/** What stands in the tables, of either database. */
export interface TableFacts {
  /** Migrations of this version that are not applied. */
  pending: string[]
  mayMigrate: boolean
  /** Applied migrations that this version does not have. */
  newer: string[]
  /** How many users have a password hash that bcrypt did not make; undefined when that was not to be found out. */
  strangeHashes: number | undefined
}

export const TABLE_CHECKS: Check<TableFacts>[] = [
  risky(
    ({ pending, mayMigrate }) => pending.length > 0 && mayMigrate && `${pending.join(', ')} not applied`,
    'cerrojo migrate, or the next start',
  ),
  broken(
    ({ pending, mayMigrate }) =>
      pending.length > 0 && !mayMigrate && `${pending.join(', ')} not applied, and the role may not do it`,
    'cerrojo migrate, with the owner in DATABASE_URL',
  ),
  broken(
    ({ newer }) => newer.filter(isBreaking).map((name) => `a newer version has changed it: ${name}`),
    'start that version',
  ),
  hint(
    ({ newer }) => newer.filter((name) => !isBreaking(name)).map((name) => `a newer version has added to it: ${name}`),
    'this version works with it; start the newer one here too',
  ),
  risky(
    ({ strangeHashes = 0 }) => strangeHashes > 0 && `password hashes that no login can match: ${strangeHashes}`,
    'store hashes of bcrypt, which begin with $2a$, $2b$ or $2y$, or let these users set new passwords',
  ),
  hint(
    ({ strangeHashes, pending }) =>
      strangeHashes === undefined &&
      pending.length === 0 &&
      'whether all password hashes are of bcrypt was not found out',
    `let the role select users; with very many of them it takes more than ${QUERY_TIMEOUT_MS / 1000} s`,
  ),
]

const isBreaking = (name: string) => name.endsWith('.breaking.sql')

/**
 * Leaves the schema as it is: a PostgreSQL may be served by nodes of an older version.
 * @param timeoutMs for connecting and the first look together
 * @throws {Error} when it cannot be opened, or does not answer in time
 */
export async function openUnchanged(config: Config, nodes: number, timeoutMs: number) {
  if (!config.databaseUrl)
    return { database: createDatabase(await openEmbedded(config.dataDir, { mayMigrate: false }), SILENT) }
  const endMs = performance.now() + timeoutMs
  const client = new pg.Client({
    connectionString: config.databaseUrl,
    connectionTimeoutMillis: timeoutMs,
    query_timeout: QUERY_TIMEOUT_MS,
  })
  client.on('error', () => {}) // a broken connection fails the statement under way
  async function look(text: string) {
    const statement = { text, query_timeout: Math.max(1, endMs - performance.now()) }
    return (await client.query(statement)).rows[0]
  }
  try {
    await client.connect()
    const { clock, ...row } = await look(SERVER_LOOK)
    const collation = row.version < 15 ? NO_COLLATION : await look(COLLATION_LOOK)
    const server: ServerFacts = {
      ...row,
      ...collation,
      nodes,
      pool_size: config.databasePoolSize,
      greeted_by: (client as unknown as { processID: number }).processID,
      skew_seconds: Math.round(Math.abs(Date.now() / 1000 - clock)),
    }
    const run = (text: string, values: unknown[]) => client.query(text, values)
    const engine: Engine = { isEmbedded: false, run, transaction: (work) => work(run), close: () => client.end() }
    return { database: createDatabase(engine, SILENT), server }
  } catch (error) {
    await client.end()
    throw /timeout/.test((error as Error).message) ? new Error(`it gave no answer within ${timeoutMs} ms`) : error
  }
}

const SERVER_LOOK = `
  with tables as (select * from unnest(array['users', 'refresh_tokens', 'keys', 'rate_limits']) as name),
       wanted as (select name, privilege from tables, unnest(array['select', 'insert', 'update', 'delete']) as privilege
                  union all select 'schema_migrations', 'select')
  select current_setting('server_version_num')::int / 10000 as version,
         current_setting('server_encoding') as encoding,
         pg_is_in_recovery() as is_in_recovery,
         current_setting('transaction_read_only')::boolean as is_read_only,
         current_setting('fsync')::boolean as fsync,
         current_setting('synchronous_commit') as synchronous_commit,
         current_setting('synchronous_standby_names') as synchronous_standby_names,
         (select count(*)::int
            from pg_stat_replication
            left join pg_replication_slots on active_pid = pid
           where slot_type is distinct from 'logical') as standbys,
         current_setting('wal_compression') as wal_compression,
         array(select 'the whole server' where not current_setting('autovacuum')::boolean
               union all
               select name
                 from tables
                 join pg_class on pg_class.oid = to_regclass(name)
                cross join pg_options_to_table(reloptions)
                where option_name = 'autovacuum_enabled' and not option_value::boolean
                order by 1) as autovacuum_off,
         rolname as role, rolsuper as is_superuser,
         coalesce((select pg_has_role(relowner, 'usage') from pg_class where oid = to_regclass('schema_migrations')),
                  has_schema_privilege(current_schema(), 'create'), false) as may_change_schema,
         array(select privilege || ' ' || name
                 from wanted
                where not has_table_privilege(to_regclass(name), privilege)
                order by name, privilege) as missing_rights,
         least(current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
                 - coalesce(current_setting('reserved_connections', true)::int, 0),
               nullif(rolconnlimit, -1), nullif(datconnlimit, -1)) as connections,
         pg_backend_pid() as process_id,
         extract(epoch from clock_timestamp())::float8 as clock
    from pg_roles, pg_database
   where rolname = current_user and datname = current_database()`

/** PostgreSQL 14 knows it of no database as a whole. */
const NO_COLLATION = { built_collation: null, collation: null }
const COLLATION_LOOK = `
  select datcollversion as built_collation, pg_database_collation_actual_version(oid) as collation
    from pg_database
   where datname = current_database()`

export async function readTableFacts(database: Database, mayMigrate: boolean): Promise<TableFacts> {
  const known = await migrationFiles()
  const schema = await database.row<{ name: string | null }>`select to_regclass('schema_migrations')::text as name`
  const read = appliedMigrations((text) => database.query({ text, values: [] }))
  const applied = await read.catch(() => (schema?.name ? known : [])) // what a role may not read, another check tells
  return {
    pending: known.filter((name) => !applied.includes(name)),
    newer: applied.filter((name) => !known.includes(name)),
    mayMigrate,
    strangeHashes: await countStrangeHashes(database).catch(() => undefined),
  }
}

async function countStrangeHashes(database: Database): Promise<number> {
  const row = await database.row<{ count: number }>`
    select count(*)::int as count
      from users
     where password_hash !~ ${HASH_FORM.source}`
  return row?.count as number
}
