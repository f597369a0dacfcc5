import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import fc from 'fast-check'
import pg from 'pg'
import { createBatches } from '../../src/db/batches.ts'
import {
  type Answer,
  logInSomebody,
  me,
  newIdempotencyKey,
  onPostgres,
  refresh,
  registerSomebody,
  startServer,
} from '../support/server.ts'
import { until } from '../support/wait.ts'

suite('many sessions at once', () => {
  test('each gets its own successor and its own user, and no other', async () => {
    const server = await startServer()
    const sessions = await Promise.all(
      Array.from({ length: 60 }, async () => {
        const credentials = await registerSomebody(server)
        const { body } = await server.call('POST', '/auth/login', { body: credentials })
        return { email: credentials.email, token: body.refresh_token as string }
      }),
    )
    for (let round = 1; round <= 5; round++)
      await Promise.all(
        sessions.map(async (session) => {
          const { status, body } = await refresh(server, session.token, newIdempotencyKey())
          assert.equal(status, 200)
          assert.equal(body.refresh_token.slice(0, 21), session.token.slice(0, 21))
          session.token = body.refresh_token
          const [one, other] = await Promise.all([me(server, body.access_token), me(server, body.access_token)])
          assert.deepEqual([one.body.email, other.body.email], [session.email, session.email])
          assert.deepEqual(Object.keys(one.body), ['id', 'email', 'email_verified'])
        }),
      )
  })

  for (const isAlone of [true, false])
    test(`are not refused for one whose row another transaction holds, ${isAlone ? 'before' : 'among'} them`, {
      skip: !onPostgres,
    }, async () => {
      const server = await startServer()
      const heldUser = await registerSomebody(server)
      const { body: held } = await server.call('POST', '/auth/login', { body: heldUser })
      const others = await Promise.all(Array.from({ length: 30 }, () => logInSomebody(server)))
      const operator = new pg.Client({ connectionString: server.env.DATABASE_URL as string })
      await operator.connect()
      await operator.query('begin')
      await operator.query(
        'select from refresh_tokens where user_id = (select id from users where email = $1) for update',
        [heldUser.email],
      )

      const key = newIdempotencyKey()
      const heldAnswer = refresh(server, held.refresh_token, key)
      if (isAlone)
        await until('the refresh to wait for the row', async () => {
          const { rows } = await operator.query(
            `select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()`,
          )
          return rows.length > 0
        })
      const answers = await Promise.all(others.map(({ refresh_token }) => refresh(server, refresh_token, key)))
      assert.deepEqual([...new Set(answers.map(({ status }) => status))], [200])
      const { status, body, headers } = await heldAnswer
      assert.deepEqual([status, body.error.code, headers.get('retry-after')], [503, 'AUTH_UNAVAILABLE', '1'])

      await operator.query('rollback')
      await operator.end()
      assert.equal((await refresh(server, held.refresh_token, key)).status, 200, 'and nothing was lost')
    })
})

suite('two nodes on one PostgreSQL whose batches meet', { skip: !onPostgres }, () => {
  /** Shows every token ten times, to either node in turns, all at once. */
  async function refreshEverywhere(key?: string) {
    const one = await startServer()
    const other = await startServer(one.env)
    const sessions = await Promise.all(Array.from({ length: 20 }, () => logInSomebody(one)))
    const shown = Array.from({ length: 10 }, (_, round) =>
      sessions.map(({ refresh_token }) => refresh(round % 2 ? other : one, refresh_token, key)),
    )
    const rounds = await Promise.all(shown.map((answers) => Promise.all(answers)))
    return sessions.map((_, session) => rounds.map((answers) => answers[session] as Answer))
  }

  test('rotate each token once, without a key', async () => {
    for (const answers of await refreshEverywhere()) {
      const refused = answers.filter(({ status }) => status !== 200)
      assert.deepEqual([...new Set(refused.map(({ body }) => body.error.code))], ['AUTH_TOKEN_REVOKED'])
      assert.equal(answers.length - refused.length, 1)
    }
  })

  test('give everybody the same successor, with a key', async () => {
    for (const answers of await refreshEverywhere(newIdempotencyKey())) {
      assert.deepEqual([...new Set(answers.map(({ status }) => status))], [200])
      assert.equal(new Set(answers.map(({ body }) => body.refresh_token)).size, 1)
    }
  })
})

suite('a batch', () => {
  /** Answers with a row for even values, none for odd ones, and fails when a value is among the `poisoned`. */
  function createAsk(poisoned: Set<number>) {
    const asked: number[][] = []
    let underWay = 0
    let mostUnderWay = 0
    const ask = async ([values = []]: unknown[][]) => {
      asked.push(values as number[])
      mostUnderWay = Math.max(mostUnderWay, ++underWay)
      await nextTurn()
      underWay--
      if (values.some((value) => poisoned.has(value as number))) throw new Error('poisoned')
      const rows = values.flatMap((value, index) =>
        (value as number) % 2 ? [] : [{ place: String(index + 1), value }],
      )
      return { rows: rows.reverse() }
    }
    return { ask, asked, mostUnderWay: () => mostUnderWay }
  }

  const arrivals = fc.array(fc.array(fc.nat(500), { maxLength: 150, size: 'max' }), { maxLength: 6 })

  test('answers every caller with its own row or none, one statement at a time, none asked twice', () =>
    fc.assert(
      fc.asyncProperty(arrivals, async (groups) => {
        const { ask, asked, mostUnderWay } = createAsk(new Set())
        const row = createBatches(ask, () => true)
        const answers: Promise<void>[] = []
        for (const group of groups) {
          for (const value of group)
            answers.push(row([value]).then((answer) => assert.deepEqual(answer, value % 2 ? undefined : { value })))
          await nextTurn()
        }
        await Promise.all(answers)
        assert.ok(mostUnderWay() <= 1)
        assert.ok(asked.length <= groups.length * 2, 'all who wait go together')
        assert.deepEqual(asked.flat(), groups.flat(), 'in the order in which they came')
      }),
    ))

  test('that fails by the fault of some fails for them alone', () =>
    fc.assert(
      fc.asyncProperty(arrivals, fc.uniqueArray(fc.nat(500)), async (groups, poisoned) => {
        const isPoisoned = new Set(poisoned)
        const row = createBatches(createAsk(isPoisoned).ask, () => true)
        await Promise.all(
          groups.flat().map(async (value) => {
            const answer = await row([value]).catch((error) => error.message)
            assert.deepEqual(answer, isPoisoned.has(value) ? 'poisoned' : value % 2 ? undefined : { value })
          }),
        )
      }),
    ))

  test('that fails otherwise fails for all in it and for those who wait, and later ones are asked for', async () => {
    const { ask, asked } = createAsk(new Set([4]))
    const row = createBatches(ask, () => false)
    const answers = [4, 6, 8].map((value) => row([value]))
    for (const answer of await Promise.allSettled(answers)) assert.equal(answer.status, 'rejected')
    assert.deepEqual(await row([6]), { value: 6 })
    assert.deepEqual(asked, [[4], [6]])
  })
})
