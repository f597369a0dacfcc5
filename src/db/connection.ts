/** Opens PostgreSQL, or the embedded database, behind one small interface, and brings its schema up to date. */
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { PGlite } from '@electric-sql/pglite'
import { citext } from '@electric-sql/pglite/contrib/citext'
import pg from 'pg'
import { type Config, StartError } from '../config.ts'
import { AuthError } from '../models/types.ts'
import { sha256 } from '../utils/tokens.ts'
import { createBatches } from './batches.ts'

export interface Database {
  /** True for the embedded database, which serves this process alone. */
  isEmbedded: boolean
  /**
   * Runs one statement; a serialization failure or a deadlock is repeated a few times.
   * @throws {AuthError} AUTH_UNAVAILABLE when the database could not be asked, or could not finish
   */
  query(statement: { text: string; values: unknown[] }): Promise<{ rows: unknown[] }>
  /** Runs the statement of a template, each value in it sent as a parameter, and answers its first row. */
  row<Row>(texts: TemplateStringsArray, ...values: unknown[]): Promise<Row | undefined>
  /**
   * The same for a statement that answers many callers at once: each value in it is sent as an array of what its callers
   * gave, and each row tells the `place` of its caller in them, as `unnest … with ordinality` counts.
   */
  rowInBatch<Row>(texts: TemplateStringsArray, ...values: unknown[]): Promise<Row | undefined>
  close(): Promise<void>
}

type RunStatement = (text: string, values: unknown[]) => Promise<{ rows: unknown[] }>

const MIGRATIONS = new URL('../../migrations/', import.meta.url)
const MIGRATION_LOCK = 420261122
const ATTEMPTS = 4
/** To wait for a connection, to set it up and to get an answer must together take less than the 2 s in which a 503 is promised. */
const TIMEOUT_MS = 600
/** How long a statement waits for a row that somebody else's transaction holds; in a batch each caller then tries alone. */
const LOCK_TIMEOUT_MS = 300
/** A statement is planned once for each connection, and a batch not anew for each size. */
const CONNECTION_SETTINGS = `set lock_timeout = ${LOCK_TIMEOUT_MS}; set plan_cache_mode = force_generic_plan`
const LOCK_NOT_AVAILABLE = '55P03'

/**
 * @param queryTimeoutMs how long a statement may take; 0 for as long as it wants
 * @throws {StartError} when the database cannot be used
 */
export function openDatabase(config: Config, queryTimeoutMs = TIMEOUT_MS): Promise<Database> {
  const { databaseUrl, databasePoolSize, dataDir } = config
  return databaseUrl ? openPostgres(databaseUrl, databasePoolSize, queryTimeoutMs) : openEmbedded(dataDir)
}

async function openPostgres(connectionString: string, max: number, queryTimeoutMs: number): Promise<Database> {
  const migrator = new pg.Client({ connectionString, connectionTimeoutMillis: 10_000 })
  migrator.on('error', () => {}) // a broken connection fails the statement under way, which is told below
  try {
    await migrator.connect()
    await migrate((text) => migrator.query(text))
  } catch (error) {
    throw new StartError(`The database that DATABASE_URL names cannot be used: ${(error as Error).message}`)
  } finally {
    await migrator.end()
  }
  const pool = new pg.Pool({
    ...{ connectionString, max, keepAlive: true },
    ...{ connectionTimeoutMillis: TIMEOUT_MS, query_timeout: queryTimeoutMs },
    ...(queryTimeoutMs > 0 && { onConnect: (client: pg.ClientBase) => client.query(CONNECTION_SETTINGS) }),
  })
  pool.on('error', () => {}) // an idle connection broke; the pool has dropped it and opens another when needed
  const run: RunStatement = (text, values) => pool.query({ name: sha256(text).toString('base64url'), text, values })
  return { isEmbedded: false, ...statements(run), close: () => pool.end() }
}

async function openEmbedded(dataDir: string): Promise<Database> {
  await mkdir(dataDir, { recursive: true, mode: 0o700 })
  const lock = await lockFolder(dataDir)
  const folder = join(dataDir, 'postgres')
  if (!existsSync(folder)) {
    // Made aside and renamed when whole, so that a first start cut short leaves nothing to trip over.
    const unfinished = `${folder}.unfinished`
    await rm(unfinished, { recursive: true, force: true })
    await (await PGlite.create(unfinished)).close()
    await rename(unfinished, folder)
  }
  const database = await PGlite.create(folder, { extensions: { citext } })
  await migrate(async (text) => (await database.exec(text)).at(-1))
  const close = async () => {
    await database.close()
    lock.close()
  }
  return { isEmbedded: true, ...statements((text, values) => database.query(text, values)), close }
}

/** Two processes would ruin the embedded database. SQLite holds the kernel's lock, which ends with its process. */
async function lockFolder(dataDir: string): Promise<DatabaseSync> {
  const holderFile = join(dataDir, 'process-id')
  const lock = new DatabaseSync(join(dataDir, 'lock'), { timeout: 0 })
  try {
    lock.exec('begin exclusive')
  } catch {
    const holder = await readFile(holderFile, 'utf8').catch(() => 'unknown')
    throw new StartError(`The embedded database in ${dataDir} is in use by process ${holder}`)
  }
  await writeFile(holderFile, String(process.pid))
  return lock
}

export async function migrationFiles(): Promise<string[]> {
  return (await readdir(MIGRATIONS)).filter((name) => name.endsWith('.sql')).sort()
}

/** In one transaction, one node after the other: whoever comes second finds the work done. */
async function migrate(run: (text: string) => Promise<{ rows: unknown[] } | undefined>): Promise<void> {
  await run(`
    begin isolation level read committed;
    select pg_advisory_xact_lock(${MIGRATION_LOCK});
    create table if not exists schema_migrations (file_name text primary key)`)
  const applied = (await run('select file_name from schema_migrations'))?.rows as { file_name: string }[]
  for (const fileName of await migrationFiles()) {
    if (applied.some(({ file_name }) => file_name === fileName)) continue
    await run(await readFile(new URL(fileName, MIGRATIONS), 'utf8'))
    await run(`insert into schema_migrations values ('${fileName}')`)
  }
  await run('commit')
}

function statements(run: RunStatement): Pick<Database, 'query' | 'row' | 'rowInBatch'> {
  const query: Database['query'] = async ({ text, values }) => {
    for (let attempt = 1; ; attempt++) {
      try {
        return await run(text, values)
      } catch (error) {
        const state = error instanceof Error && 'code' in error ? String(error.code) : ''
        if (/^40(001|P01)$/.test(state) && attempt < ATTEMPTS) continue
        // Classes 22, 23 and 42: the database understood the statement and refused it, so the fault is in the code.
        if (/^(22|23|42)/.test(state)) throw error
        throw new AuthError('AUTH_UNAVAILABLE', { retryAfterSeconds: 1, cause: error })
      }
    }
  }
  const batches = new Map<TemplateStringsArray, ReturnType<typeof createBatches>>()
  return {
    query,
    async row<Row>(texts: TemplateStringsArray, ...values: unknown[]) {
      return (await query({ text: textOf(texts), values })).rows[0] as Row | undefined
    },
    async rowInBatch<Row>(texts: TemplateStringsArray, ...values: unknown[]) {
      const ask = (columns: unknown[][]) => query({ text: textOf(texts), values: columns })
      const rowOf = batches.get(texts) ?? createBatches(ask, isLocked)
      batches.set(texts, rowOf)
      return (await rowOf(values)) as Row | undefined
    },
  }
}

function textOf(texts: TemplateStringsArray): string {
  return texts.reduce((before, after, index) => `${before}$${index}${after}`)
}

function isLocked(error: unknown): boolean {
  return error instanceof AuthError && (error.cause as { code?: unknown } | undefined)?.code === LOCK_NOT_AVAILABLE
}
