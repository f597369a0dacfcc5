/** One connection to PostgreSQL: its address, its settings, and what its failures mean. */
import { readFileSync } from 'node:fs'
import pg from 'pg'
import { type Config, StartError } from '../config.ts'
import type { Log } from '../models/types.ts'

export type ClientClass = new (options?: pg.ClientConfig) => pg.Client

const KEEP_ALIVE_MS = 10_000
const LEAST_VERSION = 14
/** What tells a connection from all others, also from those of another server. */
export const BACKENDS = `select pid || ' ' || extract(epoch from backend_start) as backend from pg_stat_activity`
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
/** What a system or a server says that may be there soon. */
const AWAY = /^(ECONN.*|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|EPIPE|57P0\d|53300|08...)$/
/** Of a certificate; what Node's own message advises is about Node. */
const UNKNOWN_SIGNER = /^(UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_)/

/** A client for the address that DATABASE_URL_FILE has at that moment. */
export function clientClassFor({ databaseUrl, databaseUrlFile }: Config, log: Log): ClientClass {
  let url = databaseUrl
  return class extends pg.Client {
    constructor(options?: pg.ClientConfig) {
      try {
        if (databaseUrlFile) url = readFileSync(databaseUrlFile, 'utf8').trim() || url
      } catch (error) {
        log.warn(`DATABASE_URL_FILE cannot be read (${codeOf(error)}), so what it said before goes on`)
      }
      super({ ...options, connectionString: url, keepAlive: true, keepAliveInitialDelayMillis: KEEP_ALIVE_MS })
      this.on('error', () => {}) // a broken connection fails the statement under way
    }
  }
}

/**
 * @returns what the server knows the connection by
 * @throws {StartError} when the database is not one for us
 */
export async function setUp(client: pg.ClientBase): Promise<string> {
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

/** Whether it may be there soon. */
export function mayComeBack(error: unknown): boolean {
  const { message, syscall } = error as NodeJS.ErrnoException
  const code = codeOf(error)
  if (code === 'ENOENT') return syscall === 'connect' // a server's socket, and not a file of certificates
  return code === '' ? /timeout|terminated/i.test(message) : AWAY.test(code)
}

/** A system's code or an SQLSTATE; empty when there is none. */
export function codeOf(error: unknown): string {
  return String((error as { code?: unknown }).code ?? '')
}
