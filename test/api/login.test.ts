/** Logging in: the answer, what it never tells a stranger, and what may change while it is under way. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import bcrypt from 'bcrypt'
import pg from 'pg'
import { assertRefused, assertSecurityHeaders } from '../support/answers.ts'
import {
  type Answer,
  freshEnvironment,
  me,
  newCredentials,
  onPostgres,
  refresh,
  registerSomebody,
  runSql,
  startServer,
} from '../support/server.ts'
import { watchThreads } from '../support/threads.ts'
import { until } from '../support/wait.ts'

const threads = watchThreads()
const server = await startServer({ AUTH_ACCESS_TTL_SEC: '321', AUTH_HASH_CONCURRENCY: '2' })
const logIn = (body: unknown) => server.call('POST', '/auth/login', { body })

suite('logging in', () => {
  test('answers 200 with both tokens, and sets no cookie', async () => {
    const credentials = newCredentials()
    const user = await server.call('POST', '/auth/register', { body: credentials })
    const answer = await logIn({ ...credentials, remember: true })
    assert.equal(answer.status, 200)
    const { access_token, refresh_token } = answer.body
    assert.deepEqual(answer.body, { access_token, refresh_token, token_type: 'Bearer', expires_in: 321 })
    assert.match(access_token, /^[\w-]+(\.[\w-]+){4}$/)
    assert.match(refresh_token, /^[\w-]{64}$/)
    assert.equal(answer.headers.get('cache-control'), 'no-store')
    assert.equal(answer.headers.get('set-cookie'), null)
    assertSecurityHeaders(answer)
    assert.deepEqual((await me(server, access_token)).body, user.body)
  })

  test('twice gives two sessions, and logging out of one leaves the other', async () => {
    const credentials = await registerSomebody(server)
    const [one, other] = [(await logIn(credentials)).body, (await logIn(credentials)).body]
    assert.notEqual(one.refresh_token.slice(0, 21), other.refresh_token.slice(0, 21))
    const body = { refresh_token: one.refresh_token }
    assert.equal((await server.call('POST', '/auth/logout', { body })).status, 204)
    assertRefused(await me(server, one.access_token), 401, 'AUTH_TOKEN_REVOKED')
    assert.equal((await me(server, other.access_token)).status, 200)
  })

  test('answers an unknown email and a wrong password alike, in every header too', async () => {
    const { email } = await registerSomebody(server)
    const { password } = newCredentials()
    const [wrong, unknown] = [await logIn({ email, password }), await logIn(newCredentials())]
    assertRefused(wrong, 401, 'AUTH_INVALID_CREDENTIALS')
    assert.deepEqual(saidToAnybody(unknown), saidToAnybody(wrong))
  })

  test('with a password that could never be registered is simply wrong', async () => {
    const { email } = await registerSomebody(server)
    for (const password of ['', 'short', '12345678', 'password', email])
      assertRefused(await logIn({ email, password }), 401, 'AUTH_INVALID_CREDENTIALS')
  })

  test('never cuts a password that is too long for bcrypt', async () => {
    const { email } = newCredentials()
    const password = `1${'z'.repeat(71)}`
    assert.equal((await server.call('POST', '/auth/register', { body: { email, password } })).status, 201)
    for (const longer of [`${password}z`, `${password}\0`, `${password}é`, password.repeat(200)])
      assertRefused(await logIn({ email, password: longer }), 400, 'AUTH_BAD_REQUEST')
    assertRefused(await logIn({ email, password: `${password.slice(0, 60)}\0z` }), 400, 'AUTH_BAD_REQUEST')
  })

  test('asks the same of an email as registering does', async () => {
    for (const email of ['', 'nobody', 'nobody@example', 'niño@example.com', `${'a'.repeat(250)}@b.co`])
      assertRefused(await logIn({ ...newCredentials(), email }), 400, 'AUTH_BAD_REQUEST')
  })
})

suite('a login under way', () => {
  const newHash = bcrypt.hashSync('another password 1', 4)

  for (const [what, sql, after] of [
    ['password is changed', `update users set password_hash = '${newHash}' where email = $1`, 'another password 1'],
    ['user is disabled', 'update users set disabled_at = now() where email = $1', undefined],
    ['user is deleted', 'delete from users where email = $1', undefined],
  ] as const)
    for (const cost of [4, 5])
      test(`whose ${what} meanwhile gets no session${cost === 4 ? '' : ', nor has its hash made anew'}`, async () => {
        const { email, password } = await registerSomebody(server)
        const hash = bcrypt.hashSync(password, cost)
        await runSql(server.env, 'update users set password_hash = $2 where email = $1', [email, hash])
        const release = threads.holdNext()
        const login = logIn({ email, password })
        await until('it to be compared', () => threads.running === 1)
        await runSql(server.env, sql, [email])
        const sessions = await countSessions()
        release()
        assertRefused(await login, 401, 'AUTH_INVALID_CREDENTIALS')
        assert.equal(await countSessions(), sessions)
        assertRefused(await logIn({ email, password }), 401, 'AUTH_INVALID_CREDENTIALS')
        if (after) assert.equal((await logIn({ email, password: after })).status, 200)
      })

  test('is not disturbed by others of the same user, though the hash is made anew', async () => {
    const { email, password } = await registerSomebody(server)
    const hash = bcrypt.hashSync(password, 5)
    await runSql(server.env, 'update users set password_hash = $2 where email = $1', [email, hash])
    const release = threads.hold()
    const logins = [logIn({ email, password }), logIn({ email, password })]
    await until('both to be compared', () => threads.running === 2)
    release()
    for (const answer of await Promise.all(logins)) assert.equal(answer.status, 200)
  })

  test('waits for an operator who is about to disable its user, and gets no session then', {
    skip: !onPostgres,
  }, async () => {
    const credentials = await registerSomebody(server)
    const operator = new pg.Client({ connectionString: server.env.DATABASE_URL })
    await operator.connect()
    const answers: Answer[] = []
    await until('a login that met the operator', async () => {
      await operator.query('begin')
      await operator.query('update users set disabled_at = now() where email = $1', [credentials.email])
      const endSessions =
        'update refresh_tokens set revoked_at = now() from users where user_id = users.id and email = $1'
      await operator.query(endSessions, [credentials.email])
      const login = logIn(credentials).then((answer) => answers.push(answer))
      await until('the login to wait for him, or not to', async () => answers.length > 0 || (await isSomebodyWaiting()))
      await operator.query('commit')
      await login
      return answers.pop()?.status !== 503 // which a slow machine may bring: the lock was waited for in vain
    })
    const sql = 'select from refresh_tokens join users on user_id = users.id where email = $1 and revoked_at is null'
    assert.deepEqual(await runSql(server.env, sql, [credentials.email]), [])
    await operator.end()

    async function isSomebodyWaiting(): Promise<boolean> {
      const waiting = "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
      return (await runSql(server.env, waiting)).length > 0
    }
  })

  async function countSessions(): Promise<unknown> {
    return (await runSql(server.env, 'select count(*)::int as count from refresh_tokens'))[0]?.count
  }
})

suite('a disabled user', () => {
  test('is answered as for a wrong password, in every header too, until he is enabled again', async () => {
    const credentials = await registerSomebody(server)
    const wrong = await logIn({ ...credentials, password: 'wrong' })
    await runSql(server.env, 'update users set disabled_at = now() where email = $1', [credentials.email])
    assert.deepEqual(saidToAnybody(await logIn(credentials)), saidToAnybody(wrong))
    await runSql(server.env, 'update users set disabled_at = null where email = $1', [credentials.email])
    assert.equal((await logIn(credentials)).status, 200)
  })

  test('has no living session any more, nor has one who is deleted', async () => {
    for (const [sql, code] of [
      ['update users set disabled_at = now() where email = $1', 'AUTH_TOKEN_REVOKED'],
      ['delete from users where email = $1', 'AUTH_REFRESH_NOT_FOUND'],
    ] as const) {
      const credentials = await registerSomebody(server)
      const { body } = await logIn(credentials)
      await runSql(server.env, sql, [credentials.email])
      assertRefused(await me(server, body.access_token), 401, 'AUTH_TOKEN_REVOKED')
      assertRefused(await refresh(server, body.refresh_token), 401, code)
    }
  })
})

suite('when only verified emails may log in', () => {
  test('others are told so after the right password alone, until they are verified', async () => {
    const env = await freshEnvironment({ AUTH_REQUIRE_VERIFIED_EMAIL: 'true' })
    const before = await startServer(env)
    const credentials = await registerSomebody(before)
    assertRefused(await before.call('POST', '/auth/login', { body: credentials }), 403, 'AUTH_EMAIL_NOT_VERIFIED')
    const body = { ...newCredentials(), email: credentials.email }
    assertRefused(await before.call('POST', '/auth/login', { body }), 401, 'AUTH_INVALID_CREDENTIALS')
    await before.close()

    await runSql(env, 'update users set email_verified = true where email = $1', [credentials.email])
    const after = await startServer(env)
    const answer = await after.call('POST', '/auth/login', { body: credentials })
    assert.equal(answer.status, 200)
    assert.equal((await me(after, answer.body.access_token)).body.email_verified, true)
  })
})

function saidToAnybody({ status, headers, body }: Answer) {
  return { status, body, headers: [...headers].filter(([name]) => !/^(date|x-request-id)$/.test(name)) }
}
