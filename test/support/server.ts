/** Whole servers for the tests, over real HTTP, each on keys and a database of its own. */
import { type ChildProcess, spawn } from 'node:child_process'
import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after } from 'node:test'
import { PGlite } from '@electric-sql/pglite'
import pg from 'pg'
import { loadConfig } from '../../src/config.ts'
import type { Database } from '../../src/db/database.ts'
import { buildApp } from '../../src/main.ts'

export type Environment = Record<string, string>

export interface Answer {
  status: number
  headers: Headers
  /** The parsed JSON, or undefined where there is none, as in a page that a proxy made. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of many shapes
  body: any
}

export interface Server {
  url: string
  /** The variables it was started with, to start another on the same keys and database. */
  env: Environment
  call: typeof call extends (url: string, ...rest: infer Rest) => infer Result ? (...rest: Rest) => Result : never
}

export interface RunningProcess extends Server {
  process: ChildProcess
  /** What it printed so far, both streams. */
  output(): string
  /** Sends the signal and waits for the end. */
  end(signal: NodeJS.Signals): Promise<{ code: number | null }>
}

const MOST_TRIES = 20

/** True when the run is on a real PostgreSQL, `npm run test:postgres`. */
export const onPostgres = process.env.TEST_DATABASE_URL !== undefined

/** The embedded databases of the servers inside this process, by their folders. */
const embedded = new Map<string, Database>()

/** Quick hashing for any number and no limits, so that each test sets only what it is about. */
export const DEFAULTS: Environment = {
  AUTH_BCRYPT_ROUNDS: '4',
  AUTH_HASH_QUEUE: '2000',
  AUTH_RATE_LIMIT_LOGIN: '0',
  AUTH_RATE_LIMIT_ACCOUNT: '0',
  AUTH_RATE_LIMIT_REGISTER: '0',
  AUTH_RATE_LIMIT_REFRESH: '0',
  AUTH_RATE_LIMIT_FAILURES: '0',
}

/** A database of their own with keys and nothing else, removed when the test file ends. */
export async function freshEnvironment(env: Environment = {}): Promise<Environment> {
  const folder = await mkdtemp(join(tmpdir(), 'cerrojo-test-'))
  // The ready-made keys are of the default algorithms, and a change of algorithm takes its time.
  const hasKeys = !env.AUTH_SIGNING_ALG && !env.AUTH_JWE_ALG
  const template = join(process.env.CERROJO_TEST_TEMPLATE as string, hasKeys ? 'with-keys' : 'without-keys')
  await cp(template, join(folder, 'data'), { recursive: true })
  let databaseUrl: string | undefined
  if (process.env.TEST_DATABASE_URL) {
    const name = `test_${randomUUID().replaceAll('-', '')}`
    const templateDatabase = hasKeys ? process.env.CERROJO_TEST_TEMPLATE_DATABASE : 'template1'
    await onMaintenance(`create database ${name} template ${templateDatabase}`)
    databaseUrl = Object.assign(new URL(process.env.TEST_DATABASE_URL), { pathname: `/${name}` }).href
    after(() => onMaintenance(`drop database ${name} with (force)`))
  }
  after(() => rm(folder, { recursive: true, force: true, maxRetries: 10 }))
  return {
    ...DEFAULTS,
    ...(databaseUrl && { DATABASE_URL: databaseUrl }),
    AUTH_DATA_DIR: join(folder, 'data'),
    PORT: '0',
    ...env,
  }
}

export interface LocalServer extends Server {
  /** The one that it uses. */
  database: Database
  close(): Promise<void>
}

/**
 * A server inside this process, closed when the test file ends. The `env` of another starts it on what that one had.
 */
export async function startServer(env: Environment = {}): Promise<LocalServer> {
  const complete = env.AUTH_DATA_DIR ? env : await freshEnvironment(env)
  const app = await buildApp(loadConfig(complete))
  const folder = complete.AUTH_DATA_DIR as string
  const database = app.getDecorator<Database>('database')
  if (!complete.DATABASE_URL) embedded.set(folder, database)
  const close = async () => {
    embedded.delete(folder)
    await app.close()
  }
  after(close)
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  return { url, env: complete, database, call: (...rest) => call(url, ...rest), close }
}

/** What a program of its own has of this one's environment. */
export function ofPrograms(): NodeJS.ProcessEnv {
  const { PATH, NODE_COMPILE_CACHE } = process.env
  return { PATH, NODE_COMPILE_CACHE }
}

/** The module as a program of its own, for tests that end it, or of another user's. */
export async function startProcess(
  env: Environment,
  user?: { uid: number; gid: number },
  onOutput: (output: string) => void = () => {},
): Promise<RunningProcess> {
  const child = spawn(process.execPath, [join(import.meta.dirname, '../../src/main.ts')], {
    ...user,
    env: { ...ofPrograms(), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  after(() => child.kill('SIGKILL'))
  let output = ''
  const ended = new Promise<{ code: number | null }>((resolve) => child.once('exit', (code) => resolve({ code })))
  const url = await new Promise<string>((resolve, reject) => {
    const collect = (chunk: Buffer) => {
      output += chunk
      onOutput(output)
      const listening = /listens on (http:\S+)/.exec(output)?.[1]
      if (listening) resolve(listening)
    }
    child.stdout.on('data', collect)
    child.stderr.on('data', collect)
    child.once('close', (code) => reject(new Error(`ended with ${code} before it listened: ${output}`)))
  })
  return {
    url,
    env,
    process: child,
    output: () => output,
    call: (...rest) => call(url, ...rest),
    end: (signal) => {
      child.kill(signal)
      return ended
    },
  }
}

/** One request; an object as body is sent as JSON. */
export async function call(
  url: string,
  method: string,
  path: string,
  { body, headers = {} }: { body?: unknown; headers?: Record<string, string> } = {},
): Promise<Answer> {
  const response = await fetch(url + path, {
    method,
    headers: { ...(body !== undefined && { 'content-type': 'application/json' }), ...headers },
    ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  })
  const text = await response.text()
  const isJson = response.headers.get('content-type')?.startsWith('application/json')
  return { status: response.status, headers: response.headers, body: isJson && text ? JSON.parse(text) : undefined }
}

export function newCredentials(): { email: string; password: string } {
  return { email: `${randomBytes(8).toString('hex')}@example.com`, password: `${randomBytes(9).toString('hex')}aZ7` }
}

/** Does it again while it is answered 503, which a busy machine may, and clients must bear. */
export async function untilAnswered(request: () => Promise<Answer>): Promise<Answer> {
  for (let tries = 1; ; tries++) {
    const answer = await request()
    if (answer.status !== 503 || tries === MOST_TRIES) return answer
  }
}

/** Registers somebody new. */
export async function registerSomebody(server: Server): Promise<{ email: string; password: string }> {
  let credentials = newCredentials()
  const answer = await untilAnswered(() => {
    credentials = newCredentials() // those of before may have been registered all the same
    return server.call('POST', '/auth/register', { body: credentials })
  })
  if (answer.status !== 201) throw new Error(`register answered ${answer.status}`)
  return credentials
}

/** Registers somebody new and logs in. */
export async function logInSomebody(server: Server): Promise<{ access_token: string; refresh_token: string }> {
  const body = await registerSomebody(server)
  const answer = await untilAnswered(() => server.call('POST', '/auth/login', { body }))
  if (answer.status !== 200) throw new Error(`login answered ${answer.status}`)
  return answer.body
}

export function refresh(server: Server, refreshToken: string, idempotencyKey?: string): Promise<Answer> {
  const headers: Record<string, string> = idempotencyKey === undefined ? {} : { 'idempotency-key': idempotencyKey }
  return server.call('POST', '/auth/token/refresh', { body: { refresh_token: refreshToken }, headers })
}

export function me(server: Server, accessToken: string): Promise<Answer> {
  return server.call('GET', '/auth/me', { headers: { authorization: `Bearer ${accessToken}` } })
}

export function newIdempotencyKey(): string {
  return randomBytes(24).toString('base64url')
}

/** Asks the database of a server; when that is the embedded one, no other process may have it open. */
export async function runSql(
  env: Environment,
  sql: string,
  values: unknown[] = [],
): Promise<Record<string, unknown>[]> {
  if (env.DATABASE_URL) {
    const client = new pg.Client({ connectionString: env.DATABASE_URL })
    await client.connect()
    const { rows } = await client.query(sql, values)
    await client.end()
    return rows
  }
  const open = embedded.get(env.AUTH_DATA_DIR as string)
  if (open) return (await open.query({ text: sql, values })).rows as Record<string, unknown>[]
  const database = await PGlite.create(join(env.AUTH_DATA_DIR as string, 'postgres'))
  const { rows } = await database.query<Record<string, unknown>>(sql, values)
  await database.close()
  return rows
}

let copies = 0

/**
 * Copies the sessions of a server's database.
 * @returns puts the copy back, as a failover to a replica that was behind or a restored backup does
 */
export async function copySessions(env: Environment): Promise<() => Promise<void>> {
  const copy = `copy_${++copies}`
  await runSql(env, `create table ${copy} as select * from refresh_tokens`)
  return async () => {
    await runSql(
      env,
      `with kept as (
         insert into refresh_tokens select * from ${copy}
           on conflict (id) do update
          set (generation, token_hash, parent_hash, rotation_salt, attempt_hash, issued_at, expires_at, ahead_at,
               revoked_at) =
              (excluded.generation, excluded.token_hash, excluded.parent_hash, excluded.rotation_salt,
               excluded.attempt_hash, excluded.issued_at, excluded.expires_at, excluded.ahead_at,
               excluded.revoked_at))
       delete from refresh_tokens where id not in (select id from ${copy})`,
    )
  }
}

/** The key of the session that a refresh token belongs to, worked out from the contract. */
export function sessionIdOf(refreshToken: string): string {
  const digest = createHash('sha256').update(Buffer.from(refreshToken, 'base64url').subarray(0, 16)).digest('hex')
  const variant = ((Number.parseInt(digest[16] as string, 16) & 3) | 8).toString(16)
  return [digest.slice(0, 8), digest.slice(8, 12), `8${digest.slice(13, 16)}`, variant + digest.slice(17, 20)]
    .concat(digest.slice(20, 32))
    .join('-')
}

export async function onMaintenance(sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: process.env.TEST_DATABASE_URL })
  await client.connect()
  await client.query(sql)
  await client.end()
}
