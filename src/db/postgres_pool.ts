/** Connections to PostgreSQL, no more than it grants, and none that is lost without a word. */
import { setTimeout as pause } from 'node:timers/promises'
import pLimit from 'p-limit'
import pg from 'pg'
import type { Config } from '../config.ts'
import type { Rows } from './database.ts'
import { BACKENDS, type ClientClass, codeOf, setUp } from './postgres_client.ts'

const TOO_MANY_CONNECTIONS = '53300'
const TOO_MANY_PAUSE_MS = 60_000
const TOO_MANY_RETRY_MS = 50
/** After so long without an answer from anywhere, it is asked whether the server still knows our connections. */
const SILENCE_MS = 5000

export function createPool({ databasePoolSize, databaseConnectTimeoutSeconds }: Config, Client: ClientClass) {
  const backends = new WeakMap<pg.ClientBase, string>()
  const pool = new pg.Pool({
    Client,
    max: databasePoolSize,
    connectionTimeoutMillis: databaseConnectTimeoutSeconds * 1000,
    idleTimeoutMillis: 0,
    onConnect: async (client: pg.ClientBase) => void backends.set(client, await setUp(client)),
  })
  pool.on('error', () => {}) // an idle connection broke; the pool has dropped it and opens another when needed
  const reservedTurns = pLimit(Math.max(1, Math.floor(databasePoolSize / 4)))
  const otherTurns = pLimit(databasePoolSize - reservedTurns.concurrency)
  const underWay = new Map<pg.PoolClient, number>() // since when, in milliseconds
  let answeredAtMs = performance.now()
  let spareTimer: NodeJS.Timeout | undefined
  let lossTimer: NodeJS.Timeout | undefined

  /** @param max connections of ours at most */
  function resize(max: number): void {
    pool.options.max = max
    otherTurns.concurrency = Math.max(1, max - reservedTurns.concurrency)
  }

  /** Where the server has no room for one more, one of ours is waited for, and for a minute no other asked for. */
  function connect(isWanted: () => boolean): Promise<pg.PoolClient> {
    return pool.connect().catch(async (error) => {
      if (codeOf(error) !== TOO_MANY_CONNECTIONS || !isWanted()) throw error
      resize(Math.max(1, pool.totalCount))
      clearTimeout(spareTimer)
      spareTimer = setTimeout(resize, TOO_MANY_PAUSE_MS, databasePoolSize).unref()
      await pause(TOO_MANY_RETRY_MS)
      return connect(isWanted)
    })
  }

  /**
   * Where a server, or the way to it, vanished without a word, what is under way would hang for a quarter of an hour.
   * Only a server can tell that from one that is slow, and whose connections must not grow more.
   * @param ask over the connections that there are
   */
  async function closeLost(ask: (text: string) => Promise<Rows>): Promise<void> {
    const isLong = (sinceMs: number) => performance.now() - sinceMs > SILENCE_MS
    const clients = [...underWay].filter(([, sinceMs]) => isLong(sinceMs)).map(([client]) => client)
    if (clients.length === 0) return
    const { rows } = await (isLong(answeredAtMs) ? askAnew() : ask(BACKENDS))
    const known = rows.map((row) => (row as { backend: string }).backend)
    for (const client of clients) if (!known.includes(backends.get(client) as string)) void client.end()
  }

  /** Where all that we have may be lost. */
  function askAnew(): Promise<Rows> {
    const probe = new Client({ connectionTimeoutMillis: SILENCE_MS, query_timeout: SILENCE_MS })
    const answer = probe.connect().then(() => probe.query(BACKENDS))
    return answer.finally(() => probe.end())
  }

  return {
    /** For looks, which stalled writes must not keep waiting. */
    reservedTurns,
    otherTurns,

    /** Does the work over one connection, in a turn that its caller has.
     * @param isWanted whether to go on waiting, while the server grants none */
    async use<Result>(isWanted: () => boolean, work: (client: pg.PoolClient) => Promise<Result>): Promise<Result> {
      const client = await connect(isWanted)
      underWay.set(client, performance.now())
      try {
        const result = await work(client)
        answeredAtMs = performance.now()
        return result
      } finally {
        underWay.delete(client)
        client.release()
      }
    },

    /** Has connections closed that are lost; a look at them that fails is taken again. */
    watch(ask: (text: string) => Promise<Rows>): void {
      lossTimer = setInterval(() => closeLost(ask).catch(() => {}), SILENCE_MS).unref()
    },

    async end(): Promise<void> {
      clearInterval(lossTimer)
      await pool.end()
    },
  }
}
