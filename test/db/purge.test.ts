import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { loadConfig } from '../../src/config.ts'
import { purgeCounters, purgeEndedSessions, startDailyPurge } from '../../src/db/purge.ts'
import { runSql, startServer } from '../support/server.ts'
import { until } from '../support/wait.ts'

const DAY_SECONDS = 24 * 60 * 60
const SILENT = { info() {}, warn() {}, error() {} }
const { env, database } = await startServer()
const [user] = await runSql(env, `insert into users (email, password_hash) values ('a@b.co', 'x') returning id`)

/** @param expiredDays, revokedDays how long ago; negative: not yet */
async function insertSession(expiredDays: number, revokedDays: number | null): Promise<string> {
  const id = randomUUID()
  const sql = `insert into refresh_tokens (id, user_id, token_hash, expires_at, ends_at, revoked_at)
               values ($1, $2, '', now() - $3 * interval '1 day', now(), now() - $4 * interval '1 day')`
  await runSql(env, sql, [id, user?.id, expiredDays, revokedDays])
  return id
}

const sessionIds = async () => (await runSql(env, 'select id from refresh_tokens')).map(({ id }) => id as string).sort()

suite('a purge', () => {
  test('deletes the sessions that expired or were revoked long enough ago, and no others', async () => {
    const ages = fc.oneof(fc.integer({ min: -40, max: 60 }), fc.constantFrom(29, 31))
    const session = fc.record({ expired: ages, revoked: fc.option(ages.filter((age) => age > 0)) })
    const property = fc.asyncProperty(fc.array(session, { maxLength: 12 }), async (sessions) => {
      await runSql(env, 'delete from refresh_tokens')
      const kept: string[] = []
      for (const { expired, revoked } of sessions) {
        const id = await insertSession(expired, revoked)
        if (Math.max(expired, revoked ?? expired) < 30) kept.push(id)
      }
      const deleted = await purgeEndedSessions(database, 29.99 * DAY_SECONDS)
      assert.deepEqual(await sessionIds(), kept.sort())
      assert.equal(deleted, sessions.length - kept.length)
    })
    await fc.assert(property, { numRuns: 25 })
  })

  test('goes through every page of a table', async () => {
    await runSql(env, 'delete from refresh_tokens')
    const sql = `insert into refresh_tokens (id, user_id, token_hash, user_agent, expires_at, ends_at)
                 select gen_random_uuid(), $1, '', repeat('x', 500),
                        now() + (case when n % 2 = 0 then interval '1 day' else interval '-40 days' end), now()
                   from generate_series(1, 12000) n`
    await runSql(env, sql, [user?.id])
    assert.equal(await purgeEndedSessions(database, 30 * DAY_SECONDS), 6000)
    assert.equal((await sessionIds()).length, 6000)
    assert.equal(await purgeEndedSessions(database, 30 * DAY_SECONDS), 0)
    await runSql(env, 'delete from refresh_tokens')
  })

  test('takes counters whose time is over, and leaves those that count', async () => {
    await runSql(env, 'delete from rate_limits')
    await runSql(
      env,
      `insert into rate_limits (key, points, expire)
       select 'k' || n, 1, extract(epoch from now()) * 1000 + (case when n <= 11000 then -1 else 3600000 end)
         from generate_series(1, 11005) n`,
    )
    await purgeCounters(database)
    assert.equal((await runSql(env, 'select key from rate_limits')).length, 5)
  })
})

test('of many nodes one purges, once a day, and none with AUTH_PURGE_AFTER_DAYS=0', async (context) => {
  context.mock.timers.enable({ apis: ['setInterval'] })
  const nodes = (days: string) => {
    const config = loadConfig({ AUTH_PURGE_AFTER_DAYS: days })
    return Array.from({ length: 5 }, () => startDailyPurge(config, database, SILENT))
  }
  const hour = () => context.mock.timers.tick(60 * 60 * 1000)
  await runSql(env, 'delete from rate_limits')

  await insertSession(40, null)
  const idle = nodes('0')
  hour()
  await Promise.all(idle.map((stop) => stop()))
  assert.equal((await sessionIds()).length, 1)

  const busy = nodes('30')
  hour()
  await until('the purge', async () => (await sessionIds()).length === 0)
  await insertSession(40, null)
  hour()
  await Promise.all(busy.map((stop) => stop()))
  assert.equal((await sessionIds()).length, 1, 'the day is taken')
})
