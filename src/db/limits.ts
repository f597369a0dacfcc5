/** Statements on `rate_limits`, beside those of rate-limiter-flexible. */
import type { Database } from './database.ts'

/** Takes one back from each count, unless its window has ended since: the next one has not counted it. */
export function giveBackCounts(db: Database, keys: string[], windowEndsMs: number[]) {
  return db.rows`
    update rate_limits
       set points = points - 1
      from unnest(${keys}::text[], ${windowEndsMs}::bigint[]) as given (key, window_ends)
     where rate_limits.key = given.key and expire <= given.window_ends`
}
