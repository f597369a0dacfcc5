/** PostgreSQL, where whoever waits keeps his place, and nobody waits for long. */
import { hash } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import type { LimitFunction } from 'p-limit'
import type pg from 'pg'
import { type Config, StartError } from '../config.ts'
import type { Log } from '../models/types.ts'
import { type Engine, MOST_WAITING, type Rows, type Run } from './database.ts'
import { migrate } from './migrations.ts'
import { clientClassFor, mayComeBack, reasonOf } from './postgres_client.ts'
import { createPool } from './postgres_pool.ts'

/** How long a request waits for a connection, and then for its answer; a 503 is promised within 2 s. */
export const TIMEOUT_MS = 600
const START_RETRY_MS = 500

/**
 * @param timeoutMs how long a statement waits for a connection and for its answer; 0 for as long as it takes
 * @throws {StartError} when the database cannot be used, or stays away for DATABASE_START_TIMEOUT_SEC
 */
export async function openPostgres(config: Config, log: Log, timeoutMs: number): Promise<Engine> {
  const pool = createPool(config, clientClassFor(config, log))
  const { reservedTurns, otherTurns } = pool

  /** A statement that takes longer than its caller waits keeps its connection until it is answered. */
  async function ask(turns: LimitFunction, text: string, values: unknown[]): Promise<Rows> {
    if (turns.pendingCount >= MOST_WAITING) throw new Error(`${MOST_WAITING} statements wait for PostgreSQL already`)
    const { promise, resolve, reject } = Promise.withResolvers<Rows>()
    let isWanted = true
    const giveUp = () => {
      isWanted = timeoutMs === 0
      if (!isWanted) reject(new Error(`PostgreSQL gave no connection or no answer within ${timeoutMs} ms`))
    }
    // What came while this process had no turn is read first, as timers go before sockets.
    const timer = setTimeout(setImmediate, timeoutMs, giveUp)

    async function answer(client: pg.PoolClient): Promise<void> {
      timer.refresh()
      if (isWanted) resolve(await client.query({ name: hash('sha256', text, 'base64url'), text, values }))
    }
    turns(async () => isWanted && pool.use(() => isWanted, answer))
      .catch(reject)
      .finally(() => clearTimeout(timer))
    return promise
  }

  /** Over one connection, which is closed when it fails, so that PostgreSQL rolls back. */
  function transaction<Result>(work: (run: Run) => Promise<Result>): Promise<Result> {
    async function transact(client: pg.PoolClient): Promise<Result> {
      try {
        await client.query('begin')
        const result = await work((text, values) => client.query(text, values))
        await client.query('commit')
        return result
      } catch (error) {
        void client.end()
        throw error
      }
    }
    return otherTurns(() => pool.use(() => false, transact))
  }

  /** Waits for a database that is away, as it may start later than the module. */
  async function bringUpToDate(): Promise<void> {
    const endMs = performance.now() + config.databaseStartTimeoutSeconds * 1000
    const isInTime = () => performance.now() <= endMs
    for (let attempt = 1; ; attempt++) {
      try {
        return await pool.use(isInTime, (client) => migrate((text) => client.query(text)))
      } catch (error) {
        if (error instanceof StartError) throw error
        const found = `The database that DATABASE_URL names cannot be used: ${reasonOf(error)}`
        if (!mayComeBack(error) || !isInTime()) throw new StartError(found)
        if (attempt === 1) log.warn(`${found}; waiting up to ${config.databaseStartTimeoutSeconds} s for it`)
        await pause(START_RETRY_MS)
      }
    }
  }

  pool.watch((text) => Promise.any([reservedTurns, otherTurns].map((turns) => ask(turns, text, []))))
  await bringUpToDate().catch(async (error) => {
    await pool.end()
    throw error
  })
  return {
    isEmbedded: false,
    run: (text, values, isReserved) => ask(isReserved ? reservedTurns : otherTurns, text, values),
    transaction,
    close: pool.end,
  }
}
