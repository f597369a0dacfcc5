/** What the measurements share: a throwaway PostgreSQL, a folder, the load generator, and how one turn is measured. */
import { randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir, totalmem } from 'node:os'
import { join } from 'node:path'
import bcrypt from 'bcrypt'
import pg from 'pg'
import { type Cluster, startCluster } from '../../test/support/cluster.ts'
import type { Load, LoadResult } from '../generator/load.ts'
import { emailOf, PASSWORD } from '../generator/operations.ts'
import { FIRST_TOKEN_SQL, SESSION_ID_SQL } from '../generator/sessions.ts'
import type { Work, WorkResult } from '../references/work.ts'
import { type ServerProcess, startServer, startWorker, type Worker } from './children.ts'
import { processorMicroseconds } from './processor.ts'

export const BCRYPT_ROUNDS = 12
const SESSIONS_A_USER = 10
const ROOT = join(import.meta.dirname, '../..')

export type Stage = Awaited<ReturnType<typeof openStage>>

/** One turn of one measurement. */
export interface Turn {
  perSecond: number
  /** Processor time of what is measured, for each operation done. */
  microseconds: number
  /** Of a load; a part called bare has none. */
  load?: LoadResult
}

export async function openStage(isQuick: boolean) {
  const folder = mkdtempSync(join(tmpdir(), 'cerrojo-bench-'))
  const cluster = await startCluster()
  await configure(cluster)
  const generator = startWorker<Load, LoadResult>('generator/main.ts')
  const keysSecret = randomBytes(32).toString('base64url')
  const compileCache = join(folder, 'compiled') // as the launcher has one
  const startedAtMs = performance.now()

  /** The postmaster is its cluster's first process; all others descend from it. */
  const postmasterId = Number(
    (await query(cluster.url, "select split_part(pg_read_file('postmaster.pid'), e'\\n', 1) id"))[0]?.id,
  )

  return {
    isQuick,
    folder,
    keysSecret,
    cluster,
    generator,
    postmasterId,
    progress(text: string): void {
      console.log(`${((performance.now() - startedAtMs) / 1000).toFixed(0).padStart(5)} s  ${text}`)
    },
    /** @param template a database that it is to be equal to */
    async createDatabase(name: string, template = 'template1'): Promise<string> {
      await query(cluster.url, `create database ${name} template ${template}`)
      return Object.assign(new URL(cluster.url), { pathname: `/${name}` }).href
    },
    compileCache,
    /** @param command that the module is started by, as one that pins it to a core */
    startModule(databaseUrl: string, { command = [] as string[], env = {} } = {}): Promise<ServerProcess> {
      const [first, ...args] = [...command, process.execPath, ...startArguments()]
      const environment = { ...moduleEnvironment(databaseUrl, keysSecret), NODE_COMPILE_CACHE: compileCache, ...env }
      return startServer(first as string, args, environment, folder)
    },

    /** Sends a load and counts the processor time of these servers and of PostgreSQL while it lasts. */
    async turn(load: Load, ...servers: Pick<ServerProcess, 'processId'>[]): Promise<Turn> {
      return measure(generator, load, [...servers.map(({ processId }) => processId), postmasterId])
    },
    /** Has a worker do its part; what PostgreSQL spends on it counts too. */
    turnOfWork: (worker: Worker<Work, WorkResult>, work: Work): Promise<Turn> =>
      measure(worker, work, [worker.processId, postmasterId]),

    async close(): Promise<void> {
      await generator.stop()
      await cluster.remove()
      rmSync(folder, { recursive: true, force: true, maxRetries: 10 })
    },
  }
}

/** What `npm start` starts, without the time that npm and the launcher take. */
export function startArguments(): string[] {
  const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
  return scripts.start
    .split(' ')
    .slice(2)
    .map((word: string) => (word.endsWith('.ts') ? join(ROOT, word) : word))
}

/** A load has one address. */
export const LIMITS_OFF = {
  AUTH_RATE_LIMIT_LOGIN: '0',
  AUTH_RATE_LIMIT_ACCOUNT: '0',
  AUTH_RATE_LIMIT_REGISTER: '0',
  AUTH_RATE_LIMIT_REFRESH: '0',
  AUTH_RATE_LIMIT_FAILURES: '0',
}
/** An empty variable takes its default. */
export const LIMITS_BY_DEFAULT = Object.fromEntries(Object.keys(LIMITS_OFF).map((name) => [name, '']))

export function moduleEnvironment(databaseUrl: string, keysSecret: string): Record<string, string> {
  return {
    DATABASE_URL: databaseUrl,
    AUTH_KEYS_SECRET: keysSecret,
    PORT: '0',
    AUTH_BCRYPT_ROUNDS: String(BCRYPT_ROUNDS),
    ...LIMITS_OFF,
  }
}

async function measure<Task extends Load | Work, Answer extends { done: number; elapsedSeconds: number }>(
  worker: Worker<Task, Answer>,
  task: Task,
  processIds: number[],
): Promise<Turn> {
  let before = 0
  const result = await worker.run(task, () => {
    before = processorMicroseconds(processIds)
  })
  return {
    perSecond: result.done / result.elapsedSeconds,
    microseconds: (processorMicroseconds(processIds) - before) / result.done,
    ...('latencyMs' in result && { load: result as unknown as LoadResult }),
  }
}

/** As PostgreSQL's manual advises for a machine of its own; durability stays at its default, which is full. */
async function configure(cluster: Cluster): Promise<void> {
  const quarter = Math.floor(totalmem() / 4 / 2 ** 20)
  await query(cluster.url, `alter system set shared_buffers = '${quarter}MB'`)
  await query(cluster.url, `alter system set max_wal_size = '8GB'`)
  await query(cluster.url, `alter system set synchronous_commit = on`)
  await query(cluster.url, `alter system set fsync = on`)
  await cluster.stop('SIGINT')
  await cluster.start()
}

/** What finds a session, and how long it lives, in SQL by column. */
export const SESSION_COLUMNS: Record<string, string> = {
  id: SESSION_ID_SQL,
  expires_at: "now() + interval '14 days'",
  ends_at: "now() + interval '90 days'",
}

/** Users who all have `PASSWORD`, and sessions whose tokens follow from their numbers. Indexes are built afterwards. */
export async function fillTables(databaseUrl: string, sessions: number, columns = SESSION_COLUMNS): Promise<void> {
  const users = Math.ceil(sessions / SESSIONS_A_USER)
  const passwordHash = await bcrypt.hash(PASSWORD, BCRYPT_ROUNDS)
  const email = emailOf(0).replace('0', `' || number || '`)
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  await client.query('set session_replication_role = replica') // each user is there: no need to look
  await client.query(
    `insert into users (email, password_hash) select '${email}', $1 from generate_series(0, ${users - 1}) number`,
    [passwordHash],
  )
  const { rows: constraints } = await client.query(
    `select format('alter table refresh_tokens drop constraint %I', conname) as drop,
            format('alter table refresh_tokens add constraint %I %s', conname, pg_get_constraintdef(oid)) as create
       from pg_constraint where conrelid = 'refresh_tokens'::regclass and contype in ('p', 'u')`,
  )
  const { rows: indexes } = await client.query(
    `select format('drop index %s', indexrelid::regclass) as drop, pg_get_indexdef(indexrelid) as create
       from pg_index where indrelid = 'refresh_tokens'::regclass
        and not exists (select from pg_constraint where conindid = indexrelid)`,
  )
  for (const { drop } of [...constraints, ...indexes]) await client.query(drop)
  await client.query(
    `with people as (select id, row_number() over () - 1 as position from users)
     insert into refresh_tokens (${Object.keys(columns)}, user_id, token_hash, user_agent, ip)
     select ${Object.values(columns)}, people.id, sha256(${FIRST_TOKEN_SQL}),
            'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0', '127.0.0.1'
       from generate_series(0, ${sessions - 1}) number join people on people.position = number % ${users}`,
  )
  for (const { create } of [...constraints, ...indexes]) await client.query(create)
  await client.query('vacuum analyze')
  await client.query('checkpoint')
  await client.end()
}

// biome-ignore lint/suspicious/noExplicitAny: rows of many shapes
export async function query(databaseUrl: string, text: string): Promise<any[]> {
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  const { rows } = await client.query(text)
  await client.end()
  return rows
}
