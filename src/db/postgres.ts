/** PostgreSQL, over a pool of connections in which whoever waits keeps his place, and nobody waits for long. */
import { hash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import pLimit, { type LimitFunction } from 'p-limit'
import pg from 'pg'
import { type Config, StartError } from '../config.ts'
import type { Log } from '../models/types.ts'
import { type Engine, MOST_WAITING, type Rows, type Run } from './database.ts'
import { migrate } from './migrations.ts'

/** How long a request waits for a connection, and then for its answer; a 503 is promised within 2 s. */
export const TIMEOUT_MS = 600
const START_RETRY_MS = 500
const TOO_MANY_CONNECTIONS = '53300'
const TOO_MANY_PAUSE_MS = 60_000
const TOO_MANY_RETRY_MS = 50
const KEEP_ALIVE_MS = 10_000
/** After so long without an answer from anywhere, it is asked whether the server still knows our connections. */
const SILENCE_MS = 5000
const LEAST_VERSION = 14
/** What a system or a server says that may be there soon. */
const AWAY = /^(ECONN.*|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|EPIPE|57P0\d|53300|08...)$/
/** What tells a connection from all others, also from those of another server. */
const BACKENDS = `select pid || ' ' || extract(epoch from backend_start) as backend from pg_stat_activity`
/** Of a certificate; what Node's own message advises is about Node. */
const UNKNOWN_SIGNER = /^(UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_)/
/**
 * Waiting for a row that another transaction holds ends soon, and in a batch each caller then tries alone. A statement
 * is planned once for each connection, and a batch not anew for each size; on Citus a generic plan would ask every
 * shard.
 */
const CONNECTION_SETTINGS = `
  select pg_is_in_recovery() as is_in_recovery, (${BACKENDS} where pid = pg_backend_pid()) as backend,
         current_setting('server_version_num')::int / 10000 as version, current_setting('server_encoding') as encoding,
         set_config('default_transaction_isolation', 'read committed', false),
         set_config('lock_timeout', '300', false), set_config('plan_cache_mode', case
           when exists (select 1 from pg_extension where extname = 'citus') then 'auto'
           else 'force_generic_plan' end, false)`

/**
 * @param timeoutMs how long a statement waits for a connection and for its answer; 0 for as long as it takes
 * @throws {StartError} when the database cannot be used, or stays away for DATABASE_START_TIMEOUT_SEC
 */
export async function openPostgres(config: Config, log: Log, timeoutMs: number): Promise<Engine> {
  const { databasePoolSize, databaseConnectTimeoutSeconds, databaseStartTimeoutSeconds } = config
  const Client = clientOf(config, log)
  const backends = new WeakMap<pg.ClientBase, string>()
  const pool = new pg.Pool({
    Client,
    max: databasePoolSize,
    connectionTimeoutMillis: databaseConnectTimeoutSeconds * 1000,
    idleTimeoutMillis: 0,
    onConnect: async (client: pg.ClientBase) => void backends.set(client, await setUp(client)),
  })
  pool.on('error', () => {}) // an idle connection broke; the pool has dropped it and opens another when needed
  pool.on('connect', (client) => client.on('error', () => {})) // one in use fails the statement under way
  const reservedTurns = pLimit(Math.max(1, Math.floor(databasePoolSize / 4)))
  const otherTurns = pLimit(databasePoolSize - reservedTurns.concurrency)

  const underWay = new Map<pg.PoolClient, number>() // since when, in milliseconds
  let answeredAtMs = performance.now()
  let spareTimer: NodeJS.Timeout | undefined

  /** @param max connections of ours at most */
  function resize(max: number): void {
    pool.options.max = max
    otherTurns.concurrency = Math.max(1, max - reservedTurns.concurrency)
  }

  /** Where the server has no room for one more, one of ours is waited for, and for a minute no other asked for. */
  async function connect(isWanted: () => boolean): Promise<pg.PoolClient> {
    for (;;) {
      try {
        return await pool.connect()
      } catch (error) {
        if (codeOf(error) !== TOO_MANY_CONNECTIONS || !isWanted()) throw error
        resize(Math.max(1, pool.totalCount))
        clearTimeout(spareTimer)
        spareTimer = setTimeout(resize, TOO_MANY_PAUSE_MS, databasePoolSize).unref()
        await pause(TOO_MANY_RETRY_MS)
      }
    }
  }

  /** A statement that takes longer than its caller waits keeps its connection until it is answered. */
  function ask(turns: LimitFunction, text: string, values: unknown[]): Promise<Rows> {
    const { promise, resolve, reject } = Promise.withResolvers<Rows>()
    let isGivenUp = false
    const giveUp = () => {
      isGivenUp = timeoutMs > 0
      if (isGivenUp) reject(new Error(`PostgreSQL gave no connection or no answer within ${timeoutMs} ms`))
    }
    // What came while this process had no turn is read first, as timers go before sockets.
    const timer = setTimeout(setImmediate, timeoutMs, giveUp)

    async function inTurn(): Promise<void> {
      if (isGivenUp) return
      const client = await connect(() => !isGivenUp)
      underWay.set(client, performance.now())
      try {
        timer.refresh()
        if (!isGivenUp) resolve(await client.query({ name: hash('sha256', text, 'base64url'), text, values }))
        answeredAtMs = performance.now()
      } finally {
        underWay.delete(client)
        client.release()
      }
    }

    if (turns.pendingCount < MOST_WAITING)
      turns(inTurn)
        .catch(reject)
        .finally(() => clearTimeout(timer))
    else reject(new Error(`${MOST_WAITING} statements wait for PostgreSQL already`))
    return promise
  }

  /** Over one connection, which is closed when it fails, so that PostgreSQL rolls back. */
  function transaction<Result>(work: (run: Run) => Promise<Result>): Promise<Result> {
    return otherTurns(async () => {
      const client = await connect(() => false)
      underWay.set(client, performance.now())
      let isCommitted = false
      try {
        await client.query('begin')
        const result = await work((text, values) => client.query(text, values))
        await client.query('commit')
        isCommitted = true
        return result
      } finally {
        underWay.delete(client)
        client.release(!isCommitted)
      }
    })
  }

  /**
   * Where a server, or the way to it, vanished without a word, what is under way would hang for a quarter of an hour.
   * Only a server can tell that from one that is slow, and whose connections must not grow more.
   */
  async function closeLost(): Promise<void> {
    const isLong = (sinceMs: number) => performance.now() - sinceMs > SILENCE_MS
    const clients = [...underWay].filter(([, sinceMs]) => isLong(sinceMs)).map(([client]) => client)
    if (clients.length === 0) return
    const answers = isLong(answeredAtMs)
      ? [askAnew()]
      : [reservedTurns, otherTurns].map((turns) => ask(turns, BACKENDS, []))
    const { rows } = await Promise.any(answers)
    const known = rows.map((row) => (row as { backend: string }).backend)
    for (const client of clients) if (!known.includes(backends.get(client) as string)) void client.end()
  }

  /** Where all that we have may be lost. */
  async function askAnew(): Promise<Rows> {
    const probe = new Client({ connectionTimeoutMillis: SILENCE_MS, query_timeout: SILENCE_MS })
    probe.on('error', () => {})
    try {
      await probe.connect()
      return await probe.query(BACKENDS)
    } finally {
      await probe.end()
    }
  }
  const lossTimer = setInterval(() => closeLost().catch(() => {}), SILENCE_MS).unref() // else asked again

  /** Waits for a database that is away, as it may start later than the module. */
  async function bringUpToDate(): Promise<void> {
    const endMs = performance.now() + databaseStartTimeoutSeconds * 1000
    for (let attempt = 1; ; attempt++) {
      try {
        const client = await connect(() => performance.now() < endMs)
        return await migrate((text) => client.query(text)).finally(() => client.release())
      } catch (error) {
        if (error instanceof StartError) throw error
        const found = `The database that DATABASE_URL names cannot be used: ${reasonOf(error)}`
        if (!isAway(error) || performance.now() > endMs) throw new StartError(found)
        if (attempt === 1) log.warn(`${found}; waiting up to ${databaseStartTimeoutSeconds} s for it`)
        await pause(START_RETRY_MS)
      }
    }
  }

  async function close(): Promise<void> {
    clearInterval(lossTimer)
    await pool.end()
  }

  await bringUpToDate().catch(async (error) => {
    await close()
    throw error
  })
  return {
    isEmbedded: false,
    run: (text, values, isReserved) => ask(isReserved ? reservedTurns : otherTurns, text, values),
    transaction,
    close,
  }
}

type ClientClass = new (options?: pg.ClientConfig) => pg.Client

/** A client for the address that DATABASE_URL_FILE has at that moment. */
function clientOf({ databaseUrl, databaseUrlFile }: Config, log: Log): ClientClass {
  let url = databaseUrl
  return class extends pg.Client {
    constructor(options?: pg.ClientConfig) {
      try {
        if (databaseUrlFile) url = readFileSync(databaseUrlFile, 'utf8').trim() || url
      } catch (error) {
        log.warn(`DATABASE_URL_FILE cannot be read (${codeOf(error)}), so what it said before goes on`)
      }
      super({ ...options, connectionString: url, keepAlive: true, keepAliveInitialDelayMillis: KEEP_ALIVE_MS })
    }
  }
}

/**
 * @returns what the server knows the connection by
 * @throws {StartError} when the database is not one for us
 */
async function setUp(client: pg.ClientBase): Promise<string> {
  const { rows } = await client.query(CONNECTION_SETTINGS)
  const { version, encoding, is_in_recovery, backend } = rows[0]
  if (version < LEAST_VERSION)
    throw new StartError(`The database is PostgreSQL ${version}; Cerrojo needs ${LEAST_VERSION} or newer`)
  if (encoding !== 'UTF8')
    throw new StartError(`The database's encoding is ${encoding}; make one with: create database … encoding 'UTF8'`)
  if (is_in_recovery)
    throw Object.assign(new Error('this PostgreSQL is in recovery and takes no writes'), { code: '57P03' })
  return backend
}

/** Why it cannot be used, for an operator. */
export function reasonOf(error: unknown): string {
  const code = codeOf(error)
  if (!UNKNOWN_SIGNER.test(code)) return (error as Error).message || code // of several addresses none answered
  return `its certificate is of no authority that is trusted here (${code}); give that authority's file as sslrootcert`
}

function isAway(error: unknown): boolean {
  const { message, syscall } = error as NodeJS.ErrnoException
  const code = codeOf(error)
  if (code === 'ENOENT') return syscall === 'connect' // a server's socket, and not a file of certificates
  return code === '' ? /timeout|terminated/i.test(message) : AWAY.test(code)
}

function codeOf(error: unknown): string {
  return String((error as { code?: unknown }).code ?? '')
}
