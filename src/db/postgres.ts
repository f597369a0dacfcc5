/** PostgreSQL, over a pool of connections. */
import { hash } from 'node:crypto'
import pg from 'pg'
import { StartError } from '../config.ts'
import type { Engine } from './database.ts'
import { migrate } from './migrations.ts'

/** To wait for a connection, to set it up and to get an answer must together take less than the 2 s in which a 503 is promised. */
export const TIMEOUT_MS = 600
/** How long a statement waits for a row that somebody else's transaction holds; in a batch each caller then tries alone. */
const LOCK_TIMEOUT_MS = 300
/** A statement is planned once for each connection, and a batch not anew for each size. */
const CONNECTION_SETTINGS = `set lock_timeout = ${LOCK_TIMEOUT_MS}; set plan_cache_mode = force_generic_plan`

/** @throws {StartError} when the database cannot be used */
export async function openPostgres(connectionString: string, max: number, queryTimeoutMs: number): Promise<Engine> {
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
    connectionString,
    max,
    keepAlive: true,
    connectionTimeoutMillis: TIMEOUT_MS,
    query_timeout: queryTimeoutMs,
    ...(queryTimeoutMs > 0 && { onConnect: (client: pg.ClientBase) => client.query(CONNECTION_SETTINGS) }),
  })
  pool.on('error', () => {}) // an idle connection broke; the pool has dropped it and opens another when needed
  return {
    isEmbedded: false,
    run: (text, values) => pool.query({ name: hash('sha256', text, 'base64url'), text, values }),
    close: () => pool.end(),
  }
}
