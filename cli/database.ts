/** What an operator does to the database. The embedded one is refused while a server holds it. */
import { type Config, StartError } from '../src/config.ts'
import { type Database, openDatabase } from '../src/db/connection.ts'
import type { Options } from './cerrojo.ts'

const BATCH_SIZE = 1000

export async function migrate(config: Config): Promise<void> {
  const database = await openDatabase(config)
  await database.close()
  console.log('the schema is up to date')
}

export async function purge(config: Config, { days = '30' }: Options): Promise<void> {
  if (!/^\d+$/.test(days)) throw new StartError(`--days must be a whole number, but is "${days}"`)
  const database = await openDatabase(config)
  let purged = 0
  try {
    for (;;) {
      const batch = await deleteExpiredSessions(database, Number(days))
      purged += batch
      if (batch < BATCH_SIZE) break
    }
  } finally {
    await database.close()
  }
  console.log(`deleted ${purged} session${purged === 1 ? '' : 's'} that expired more than ${days} days ago`)
}

/** In batches, so that no statement is long and no lock is held for long. */
async function deleteExpiredSessions(database: Database, days: number): Promise<number> {
  const counted = await database.row<{ deleted: number }>`
    with deleted as (
      delete from refresh_tokens
       where id in (select id
                      from refresh_tokens
                     where expires_at < now() - make_interval(days => ${days}::int)
                     limit ${BATCH_SIZE}::int)
      returning id)
    select count(*)::int as deleted from deleted`
  return counted?.deleted ?? 0
}
