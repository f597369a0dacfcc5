/** What an operator does to the database. The embedded one is refused while a server holds it. */
import { type Config, StartError } from '../src/config.ts'
import { openDatabase, SILENT } from '../src/db/connection.ts'
import type { Database } from '../src/db/database.ts'
import { purgeCounters, purgeEndedSessions } from '../src/db/purge.ts'
import type { Log } from '../src/models/types.ts'
import { SETTINGS } from '../src/settings.ts'
import { type Command, command } from './command.ts'
import { countOf } from './results.ts'

/** That it waits for a database, whoever sits there wants to know. */
const WAITING: Log = { ...SILENT, warn: (line) => typeof line === 'string' && console.error(`cerrojo: ${line}`) }

const DAY_SECONDS = 24 * 60 * 60
const MOST_DAYS = 99_999

/** @param timeoutMs as openDatabase takes it */
export async function withDatabase<Result>(
  config: Config,
  work: (database: Database) => Promise<Result>,
  timeoutMs?: number,
): Promise<Result> {
  const database = await openDatabase(config, WAITING, timeoutMs)
  try {
    return await work(database)
  } finally {
    await database.close()
  }
}

async function migrate(config: Config): Promise<void> {
  await withDatabase(config, async () => {}) // opening it does
  console.log('the schema is up to date')
}

async function purge(config: Config, { days = defaultDays(config) }: { days?: string }): Promise<void> {
  if (!/^\d+(\.\d+)?$/.test(days) || Number(days) > MOST_DAYS)
    throw new StartError(`--days must be a number up to ${MOST_DAYS}, but is "${days}"`)
  const deleteEnded = async (database: Database) => {
    const deleted = await purgeEndedSessions(database, Number(days) * DAY_SECONDS)
    await purgeCounters(database)
    return deleted
  }
  const deleted = await withDatabase(config, deleteEnded, 0)
  console.log(`deleted ${countOf(deleted, 'session')} that ended more than ${days} days ago`)
}

function defaultDays({ purgeAfterSeconds }: Config): string {
  return String((purgeAfterSeconds || SETTINGS.purgeAfterSeconds.fallback) / DAY_SECONDS)
}

export const databaseCommands: Command[] = [
  command('migrate', "bring the database's schema up to date, as a start does", { options: {} }, migrate),
  command(
    'purge',
    'delete sessions that ended long ago',
    {
      options: {
        days: { type: 'string', value: '<n>', about: 'that many days ago at least (AUTH_PURGE_AFTER_DAYS, or 30)' },
      },
    },
    purge,
  ),
]
