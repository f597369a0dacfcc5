import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { encryptJwe } from '../support/jose_by_hand.ts'
import { readJwks } from '../support/keys.ts'
import {
  type Environment,
  freshEnvironment,
  me,
  newCredentials,
  newIdempotencyKey,
  refresh,
  runSql,
  type Server,
  startProcess,
  startServer,
} from '../support/server.ts'
import { until } from '../support/wait.ts'

/** Uses every endpoint, well and badly, and remembers what nobody else may learn. */
async function useEverything(server: Server): Promise<Map<string, string>> {
  const secrets = new Map<string, string>()
  const remember = (name: string, secret: string) => {
    secrets.set(secret, name)
    return secret
  }
  const rememberTokens = ({ access_token, refresh_token }: { access_token: string; refresh_token: string }) => {
    remember('an access token', access_token)
    return remember('a refresh token', refresh_token)
  }
  const { body: jwks } = await server.call('GET', '/.well-known/jwks.json')
  const browserKey = jwks.keys.find(({ use }: { use: string }) => use === 'enc_front')
  const encrypted = (payload: object) => ({
    __front_enc__: encryptJwe(
      { alg: 'RSA-OAEP-256', enc: 'A256GCM', kid: browserKey.kid },
      JSON.stringify({ ...payload, iat: Math.floor(Date.now() / 1000), jti: remember('a jti', randomUUID()) }),
      browserKey,
    ),
  })

  for (const wrap of [(credentials: object) => credentials, encrypted]) {
    const credentials = newCredentials()
    remember('a password', credentials.password)
    assert.equal((await server.call('POST', '/auth/register', { body: wrap(credentials) })).status, 201)
    assert.equal((await server.call('POST', '/auth/register', { body: wrap(credentials) })).status, 409)
    const wrong = { ...credentials, password: remember('a wrong password', newCredentials().password) }
    assert.equal((await server.call('POST', '/auth/login', { body: wrap(wrong) })).status, 401)
    assert.equal((await server.call('POST', '/auth/login', { body: JSON.stringify(credentials).slice(1) })).status, 400)
    const { body } = await server.call('POST', '/auth/login', { body: wrap(credentials) })
    const first = rememberTokens(body)

    const key = remember('an idempotency key', newIdempotencyKey())
    const { body: second } = await refresh(server, first, key)
    rememberTokens(second)
    rememberTokens((await refresh(server, first, key)).body)
    const third = rememberTokens((await refresh(server, second.refresh_token)).body)
    assert.equal((await me(server, second.access_token)).status, 200)
    const unknown = remember('a refresh token that there is not', newIdempotencyKey().repeat(2))
    assert.equal((await refresh(server, unknown, remember('a lost key', newIdempotencyKey()))).status, 401)
    const headers = { cookie: `refresh_token=${third}` }
    await server.call('POST', '/auth/logout', { body: { refresh_token: third }, headers })
    await server.call('GET', `/auth/token/${third}?refresh_token=${third}`)
    assert.equal((await refresh(server, third)).status, 401)
  }
  return secrets
}

/** The whole value and, where it has one, what it decodes to, whole and without the half that finds a session. */
function values(secret: string): Buffer[] {
  if (!/^[\w-]{32,}$/.test(secret)) return [Buffer.from(secret)]
  const decoded = Buffer.from(secret, 'base64url')
  return [Buffer.from(secret), decoded, decoded.subarray(16)]
}

/** In hex and in both kinds of base64. */
function disguises(value: Buffer): Buffer[] {
  const texts = (['hex', 'base64url', 'base64'] as const).map((encoding) => value.toString(encoding).replace(/=+$/, ''))
  return [...texts, value.toString('hex').toUpperCase()].map((text) => Buffer.from(text))
}

function assertHoldsNone(secrets: Map<string, string>, where: string, content: Buffer, isDisguised = true): void {
  for (const [secret, name] of secrets)
    for (const value of values(secret))
      for (const form of [value, ...(isDisguised ? disguises(value) : [])])
        assert.ok(!content.includes(form), `${where} holds ${name}: ${secret} as ${form.toString()}`)
}

/** Every row of every table, as text. */
async function dump(env: Environment): Promise<string> {
  const tables = await runSql(
    env,
    `select quote_ident(schemaname) || '.' || quote_ident(tablename) as name
       from pg_tables where schemaname not in ('pg_catalog', 'information_schema') order by 1`,
  )
  assert.deepEqual(
    tables.map(({ name }) => name),
    ['public.keys', 'public.rate_limits', 'public.refresh_tokens', 'public.schema_migrations', 'public.users'],
  )
  let text = ''
  for (const { name } of tables)
    for (const { row } of await runSql(env, `select t::text as row from ${name} as t`)) text += `${row}\n`
  return text
}

test('no password, token or idempotency key can be read from the database or from the log', async () => {
  const server = await startProcess(
    await freshEnvironment({
      LOG_LEVEL: 'trace',
      AUTH_REFRESH_GRACE_SEC: '0',
      AUTH_RATE_LIMIT_LOGIN: '1000',
      AUTH_RATE_LIMIT_REGISTER: '1000',
      AUTH_RATE_LIMIT_FAILURES: '1000',
    }),
  )
  const secrets = await useEverything(server)
  assert.ok(secrets.size > 25)
  await server.end('SIGTERM')
  for (const { d, p, q, k } of await readJwks(server.env))
    for (const part of [d, p, q, k]) if (part) secrets.set(part, 'a private key')
  const keysSecret = join(server.env.AUTH_DATA_DIR as string, 'keys-secret')
  secrets.set(readFileSync(keysSecret, 'utf8'), 'the secret of the keys')

  const rows = await dump(server.env)
  assert.match(rows, /@example\.com/, 'it holds what was stored')
  assertHoldsNone(secrets, 'the database', Buffer.from(rows))

  const log = server.output()
  assert.match(log, /"route":"\/auth\/token\/refresh"/, 'it tells what was asked')
  assertHoldsNone(secrets, 'the log', Buffer.from(log))

  if (server.env.DATABASE_URL) return
  const folder = server.env.AUTH_DATA_DIR as string
  for (const file of readdirSync(folder, { recursive: true, encoding: 'utf8' }))
    if (file !== 'keys-secret' && statSync(join(folder, file)).isFile())
      assertHoldsNone(secrets, file, readFileSync(join(folder, file)), false)
})

test('the log tells of a bug without the statement, its values or the row', async () => {
  const env = await freshEnvironment({ LOG_LEVEL: 'error' })
  await (await startServer(env)).close()
  await runSql(env, 'alter table users add constraint short check (length(email::text) < 9)')
  const server = await startProcess(env)
  const credentials = newCredentials()
  const answer = await server.call('POST', '/auth/register', { body: credentials })
  assert.deepEqual([answer.status, answer.body.error.code], [500, 'AUTH_INTERNAL'])
  await until('the log', () => server.output().includes('AUTH_INTERNAL'))
  assert.match(server.output(), /violates check constraint/)
  for (const secret of ['$2b$', 'insert into', credentials.email, credentials.password])
    assert.ok(!server.output().includes(secret), secret)
})
