/** Opens PostgreSQL, or the embedded database. */
import type { Config } from '../config.ts'
import { createDatabase, type Database, type OnOutage } from './database.ts'
import { openEmbedded } from './embedded.ts'
import { openPostgres, TIMEOUT_MS } from './postgres.ts'

/**
 * @param queryTimeoutMs how long a statement may take; 0 for as long as it wants
 * @throws {StartError} when the database cannot be used
 */
export async function openDatabase(
  config: Config,
  queryTimeoutMs = TIMEOUT_MS,
  onOutage?: OnOutage,
): Promise<Database> {
  const { databaseUrl, databasePoolSize, dataDir } = config
  const engine = databaseUrl ? openPostgres(databaseUrl, databasePoolSize, queryTimeoutMs) : openEmbedded(dataDir)
  return createDatabase(await engine, onOutage)
}
