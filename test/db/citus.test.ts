/** A distributed PostgreSQL, if the database that TEST_DATABASE_URL or DATABASE_URL names has the extension citus. */
import assert from 'node:assert/strict'
import { randomBytes, randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { loadConfig } from '../../src/config.ts'
import * as statements from '../../src/db/auth.ts'
import type { Database } from '../../src/db/database.ts'
import { createRefreshToken, deriveSuccessor, rotationSalt } from '../../src/utils/tokens.ts'
import {
  freshEnvironment,
  logInSomebody,
  me,
  newIdempotencyKey,
  refresh,
  runSql,
  startServer,
} from '../support/server.ts'

const DATABASE_URL = process.env.TEST_DATABASE_URL ?? process.env.DATABASE_URL
const isCitus =
  DATABASE_URL !== undefined &&
  (await runSql({ DATABASE_URL }, `select from pg_extension where extname = 'citus'`)).length > 0

suite('on Citus', {
  skip: isCitus ? false : 'DATABASE_URL names no database that has the extension citus',
}, async () => {
  if (!isCitus) return
  const schema = `cerrojo_${randomUUID().replaceAll('-', '')}`
  const url = new URL(DATABASE_URL)
  url.searchParams.set('options', `-c search_path=${schema}`)
  const env = await freshEnvironment({ DATABASE_URL: url.href })
  await runSql(env, `create schema ${schema}`)
  after(() => runSql({ DATABASE_URL }, `drop schema ${schema} cascade`))
  const server = await startServer(env)
  const scale = await readFile(join(import.meta.dirname, '../../docs/scale.md'), 'utf8')
  for (const [statement] of scale.matchAll(/^select create_\w+\(.*\);$/gm)) await runSql(env, statement)

  /** Plans each statement in place of running it, and counts the shards that it would touch. */
  const shards: number[] = []
  const plan =
    (isBatch: boolean) =>
    async (texts: TemplateStringsArray, ...values: unknown[]): Promise<undefined> => {
      const text = texts.reduce((before, after, index) => `${before}$${index}${after}`)
      const lines = await runSql(env, `explain ${text}`, isBatch ? values.map((value) => [value]) : values)
      const counts = lines.map((line) => /Task Count: (\d+)/.exec(String(line['QUERY PLAN']))?.[1])
      shards.push(...counts.filter((count) => count !== undefined).map(Number))
    }
  const planner = { row: plan(false), rowInBatch: plan(true), reservedRowInBatch: plan(true) } as unknown as Database

  test('register, login, refresh, me and logout do what they do elsewhere', async () => {
    const session = await logInSomebody(server)
    const key = newIdempotencyKey()
    const refreshed = await refresh(server, session.refresh_token, key)
    assert.equal(refreshed.status, 200)
    const repeated = await refresh(server, session.refresh_token, key)
    assert.equal(repeated.body.refresh_token, refreshed.body.refresh_token)
    assert.equal((await me(server, refreshed.body.access_token)).status, 200)
    const logout = await server.call('POST', '/auth/logout', { body: { refresh_token: refreshed.body.refresh_token } })
    assert.equal(logout.status, 204)
    assert.equal((await me(server, refreshed.body.access_token)).body.error.code, 'AUTH_TOKEN_REVOKED')
    const late = await refresh(server, refreshed.body.refresh_token)
    assert.equal(late.body.error.code, 'AUTH_TOKEN_REVOKED')
  })

  test('many refresh at once, and each gets its own successor', async () => {
    const sessions: { refresh_token: string }[] = []
    while (sessions.length < 8) sessions.push(await logInSomebody(server)) // Citus writes users one after the other
    const answers = await Promise.all(sessions.map(({ refresh_token }) => refresh(server, refresh_token)))
    for (const [index, { status, body }] of answers.entries()) {
      assert.equal(status, 200)
      assert.equal(body.refresh_token.slice(0, 21), sessions[index]?.refresh_token.slice(0, 21))
    }
  })

  test('refresh, me and logout touch one shard each', async () => {
    const macKeys: [Buffer] = [randomBytes(32)]
    const token = createRefreshToken(macKeys)
    const salt = rotationSalt(token, macKeys)
    const config = loadConfig(env)
    await statements.rotateToken(planner, config, token, null, deriveSuccessor(token, salt, macKeys), salt)
    await statements.findPresentedSession(planner, config, token, null)
    await statements.findUserOfSession(planner, token.sessionId, randomUUID())
    await statements.revokeSession(planner, token.sessionId)
    assert.deepEqual(shards, [1, 1, 1, 1])
  })
})
