/** What an operator does to the database. The embedded one is refused while a server holds it. */
import { type Config, StartError } from '../src/config.ts'
import { openDatabase } from '../src/db/connection.ts'
import type { Database } from '../src/db/database.ts'
import type { Log } from '../src/models/types.ts'
import type { Options } from './options.ts'

/** A command tells what it did, and what went wrong, by itself. */
export const SILENT: Log = { info() {}, warn() {}, error() {} }

const BATCH_SIZE = 10_000

export async function migrate(config: Config): Promise<void> {
  const database = await openDatabase(config, SILENT)
  await database.close()
  console.log('the schema is up to date')
}

export async function purge(config: Config, { days = '30' }: Options): Promise<void> {
  if (!/^\d{1,5}$/.test(days)) throw new StartError(`--days must be a whole number up to 99999, but is "${days}"`)
  const database = await openDatabase(config, SILENT, 0)
  let purged = 0
  let lastId: string | null = '00000000-0000-0000-0000-000000000000'
  while (lastId) {
    const batch = await deleteExpiredSessions(database, lastId, Number(days))
    purged += batch.deleted
    lastId = batch.last_id
  }
  await database.close()
  console.log(`deleted ${purged} session${purged === 1 ? '' : 's'} that expired more than ${days} days ago`)
}

/** Goes through the table in batches by id, so that no statement is long and no lock is held for long. */
function deleteExpiredSessions(database: Database, afterId: string, days: number) {
  return database.row<{ deleted: number; last_id: string | null }>`
    with batch as (
      select id, expires_at
        from refresh_tokens
       where id > ${afterId}::uuid
       order by id
       limit ${BATCH_SIZE}::int),
    deleted as (
      delete from refresh_tokens
       where id in (select id from batch where expires_at < now() - make_interval(days => ${days}::int))
      returning id)
    select (select count(*)::int from deleted) as deleted,
           (select id from batch order by id desc limit 1) as last_id` as Promise<{
    deleted: number
    last_id: string | null
  }>
}
