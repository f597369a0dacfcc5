/** Deletes what has ended long ago, in small steps, so that no statement is long and no lock is held for long. */
import type { Config } from '../config.ts'
import type { Log } from '../models/types.ts'
import type { Database } from './database.ts'

/** So many pages of the table at a time; a page holds about ten sessions. */
const PAGES_A_STEP = 500
const COUNTERS_A_STEP = 5000
const DAY_MS = 24 * 60 * 60 * 1000
/** How often each node asks whether the day's purge is due; the first that asks does it. */
const ASK_INTERVAL_MS = 60 * 60 * 1000

/** @returns how many sessions were deleted, which expired or were revoked more than so long ago */
export async function purgeEndedSessions(db: Database, olderThanSeconds: number): Promise<number> {
  let deleted = 0
  const pages = await db.row<{ count: number }>`
    select pg_relation_size('refresh_tokens') / current_setting('block_size')::int as count`
  for (let page = 0; page < Number(pages?.count); page += PAGES_A_STEP) {
    const [step] = await db.rows<{ count: number }>`
      with gone as (
        delete from refresh_tokens
         where ctid >= ${`(${page},0)`}::tid and ctid < ${`(${page + PAGES_A_STEP},0)`}::tid
           and least(expires_at, revoked_at) < now() - ${olderThanSeconds}::float8 * interval '1 second'
        returning 1)
      select count(*)::int as count from gone`
    deleted += step?.count ?? 0
  }
  return deleted
}

/** Deletes counters whose window has ended, and jtis that need not be remembered any more. */
export async function purgeCounters(db: Database): Promise<void> {
  let rows: unknown[]
  do {
    rows = await db.rows`
      delete from rate_limits
       where ctid = any (array(
             select ctid from rate_limits
              where expire < extract(epoch from now()) * 1000
              limit ${COUNTERS_A_STEP}::int))
      returning key`
  } while (rows.length === COUNTERS_A_STEP)
}

/** Has one node purge once a day.
 * @returns stops it, after the step that is under way */
export function startDailyPurge({ purgeAfterSeconds }: Config, db: Database, log: Log): () => Promise<void> {
  let isStopped = purgeAfterSeconds === 0
  const untilStopped: Database = {
    ...db,
    rows: (...statement) => (isStopped ? Promise.reject() : db.rows(...statement)),
  }

  async function purgeIfDue(): Promise<void> {
    if (isStopped || !(await takeDay(db))) return
    await purgeCounters(untilStopped)
    await purgeEndedSessions(untilStopped, purgeAfterSeconds)
  }
  let purge = Promise.resolve()
  const timer = setInterval(() => {
    purge = purge.then(purgeIfDue).catch((err) => {
      if (!isStopped) log.warn({ err }, 'the purge goes on tomorrow')
    })
  }, ASK_INTERVAL_MS).unref()

  return () => {
    isStopped = true
    clearInterval(timer)
    return purge
  }
}

/** Of many nodes one takes the day: its mark is a counter that lasts for so long. */
async function takeDay(db: Database): Promise<boolean> {
  const taken = await db.row`
    insert into rate_limits (key, points, expire)
    values ('purge', 1, extract(epoch from now()) * 1000 + ${DAY_MS}::int)
        on conflict (key) do update set expire = excluded.expire
     where rate_limits.expire < extract(epoch from now()) * 1000
    returning key`
  return taken !== undefined
}
