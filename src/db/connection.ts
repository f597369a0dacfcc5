/** Opens PostgreSQL, or the embedded database. */
import type { Config } from '../config.ts'
import type { Log } from '../models/types.ts'
import { createDatabase, type Database } from './database.ts'
import { openEmbedded } from './embedded.ts'
import { openPostgres, TIMEOUT_MS } from './postgres.ts'

/** For who tells by himself what went wrong, as it is thrown. */
export const SILENT: Log = { info() {}, warn() {}, error() {} }

/**
 * @param timeoutMs how long a statement waits for a connection, and then for its answer; 0 for as long as it takes
 * @throws {StartError} when the database cannot be used
 */
export async function openDatabase(config: Config, log: Log, timeoutMs = TIMEOUT_MS): Promise<Database> {
  const engine = config.databaseUrl ? openPostgres(config, log, timeoutMs) : openEmbedded(config.dataDir)
  return createDatabase(await engine, log)
}
