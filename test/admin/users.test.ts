/** The importable module, beside a server that runs: what it answers, and what logins at the same moment may do. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, before, suite, test } from 'node:test'
import pg from 'pg'
import { AuthError, createAdmin, openAdmin } from '../../admin/index.ts'
import { loadConfig } from '../../src/config.ts'
import {
  freshEnvironment,
  type LocalServer,
  me,
  newCredentials,
  onPostgres,
  refresh,
  registerSomebody,
  runSql,
  startServer,
} from '../support/server.ts'
import { until } from '../support/wait.ts'

const NEW_PASSWORD = 'fresh apples 9'
const server = await startServer()
const admin = createAdmin(loadConfig(server.env), server.database)
const logIn = (body: object, at: LocalServer = server) => at.call('POST', '/auth/login', { body })

suite('the admin module', () => {
  test('opens a database of its own, and closes it', async () => {
    const own = await openAdmin(loadConfig(await freshEnvironment()))
    const { id } = await own.createUser('ada@example.com', NEW_PASSWORD)
    assert.equal((await own.getUser({ email: ' Ada@example.com' }))?.id, id)
    await own.close()
    await assert.rejects(own.getUser({ id }))
  })

  test('answers undefined for somebody who is not there, and throws by a code what breaks a rule', async () => {
    const nobodies = [{ email: 'nobody@example.com' }, { id: randomUUID() }]
    const functions = ['getUser', 'exportUser', 'verifyEmail', 'disableUser', 'enableUser', 'deleteUser'] as const
    for (const who of nobodies) {
      for (const name of functions) assert.equal(await admin[name](who), undefined, name)
      assert.equal(await admin.setPassword(who, NEW_PASSWORD), undefined)
      assert.equal(await admin.endSessionsOf(who), undefined)
    }
    const { email } = await registerSomebody(server)
    const refusals: [string, () => Promise<unknown>][] = [
      ['AUTH_BAD_REQUEST', () => admin.getUser({ email: 'none' })],
      ['AUTH_BAD_REQUEST', () => admin.verifyEmail({ id: 'none' })],
      ['AUTH_BAD_REQUEST', () => admin.findUsers('\0')],
      ['AUTH_BAD_REQUEST', () => admin.findUsers('a', -1)],
      ['AUTH_BAD_REQUEST', () => admin.endSessions(['none'])],
      ['AUTH_BAD_REQUEST', () => admin.setPassword({ email }, 'short 1')],
      ['AUTH_BAD_REQUEST', () => admin.setPassword({ email }, email)],
      ['AUTH_BAD_REQUEST', () => admin.setPassword({ email }, 'password1')],
      ['AUTH_BAD_REQUEST', () => admin.createUser('new@example.com', `${'a'.repeat(72)}1`)],
      ['AUTH_EMAIL_TAKEN', () => admin.createUser(email.toUpperCase(), NEW_PASSWORD)],
    ]
    for (const [code, refused] of refusals)
      await assert.rejects(refused, (error: unknown) => error instanceof AuthError && error.code === code)
  })

  test('is felt at once by a server that runs', async () => {
    const credentials = await registerSomebody(server)
    const { access_token } = (await logIn(credentials)).body
    assert.equal((await me(server, access_token)).body.email_verified, false)
    await admin.verifyEmail(credentials)
    assert.equal((await me(server, access_token)).body.email_verified, true)
    assert.equal((await admin.setPassword(credentials, NEW_PASSWORD))?.ended_sessions, 1)
    assert.equal((await me(server, access_token)).body.error.code, 'AUTH_TOKEN_REVOKED')
    const again = (await logIn({ ...credentials, password: NEW_PASSWORD })).body
    await admin.disableUser(credentials)
    assert.equal((await me(server, again.access_token)).body.error.code, 'AUTH_TOKEN_REVOKED')
  })
})

suite('a login at the same moment', () => {
  type Change = (who: { email: string }) => Promise<unknown>
  const CHANGES: Record<string, Change> = {
    'a new password': (who) => admin.setPassword(who, NEW_PASSWORD),
    disabling: (who) => admin.disableUser(who),
    deleting: (who) => admin.deleteUser(who),
  }

  for (const [title, change] of Object.entries(CHANGES))
    test(`starts no session that outlives ${title}, however many there are`, async () => {
      for (let round = 0; round < 3; round++) {
        const credentials = await registerSomebody(server)
        const started: string[] = []
        let isDone = false
        const logins = Array.from({ length: 16 }, async () => {
          while (!isDone) {
            const { status, body } = await logIn(credentials)
            if (status === 200) started.push(body.refresh_token)
          }
        })
        await until('some sessions', () => started.length > 20)
        await change(credentials)
        isDone = true
        await Promise.all(logins)
        await admin.enableUser(credentials) // so that a session that was only hidden shows
        for (const token of started) assert.equal((await refresh(server, token)).status, 401)
      }
    })

  suite('in a transaction of its own', { skip: onPostgres ? false : 'the embedded database has one at a time' }, () => {
    const isWaiting = `select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`
    /** Over the connection at hand, as each waits for less than a second. */
    const waiters = async () => (await login.query(isWaiting)).rows.map(({ pid }) => pid)
    let login: pg.Client

    before(async () => {
      login = new pg.Client({ connectionString: server.env.DATABASE_URL as string })
      await login.connect()
    })
    after(() => login.end())

    /** Starts a session as a login does, but does not commit it.
     * @returns its id */
    async function begin({ email }: { email: string }): Promise<string> {
      await login.query('begin')
      const { rows } = await login.query(
        `insert into refresh_tokens (id, user_id, token_hash, expires_at, ends_at)
         select gen_random_uuid(), id, '', now() + interval '1 day', now() + interval '1 day'
           from users where email = $1 for share
         returning id`,
        [email],
      )
      return rows[0].id
    }

    const endSessions: Change = (who) => admin.endSessionsOf(who)
    for (const [title, change] of Object.entries({ ...CHANGES, 'the end of all sessions': endSessions }))
      test(`is waited for by ${title}, and its session ended`, async () => {
        const credentials = await registerSomebody(server)
        const session = await begin(credentials)
        const changed = change(credentials)
        await until('the change to wait for it', async () => (await waiters()).length > 0)
        await login.query('commit')
        await changed
        const rows = await runSql(server.env, 'select revoked_at from refresh_tokens where id = $1', [session])
        assert.ok(rows.every(({ revoked_at }) => revoked_at !== null))
      })

    test('that takes long is waited for more than once, and at last the change is given up, whole', async () => {
      const credentials = await registerSomebody(server)
      await begin(credentials)
      const changed = admin.setPassword(credentials, NEW_PASSWORD)
      const seen = new Set<unknown>()
      await until('a second attempt', async () => {
        for (const pid of await waiters()) seen.add(pid)
        return seen.size > 1
      })
      await login.query('commit')
      assert.equal((await changed)?.ended_sessions, 1)

      await begin(credentials)
      await assert.rejects(
        admin.setPassword(credentials, 'other pears 8'),
        (error: unknown) => error instanceof AuthError && error.code === 'AUTH_UNAVAILABLE',
      )
      await login.query('commit')
      assert.equal((await logIn({ ...credentials, password: NEW_PASSWORD })).status, 200)
    })
  })
})

test('the end of all sessions leaves none alive that began before, though all of them refresh meanwhile', async () => {
  const busy = await startServer()
  const credentials = newCredentials()
  await busy.call('POST', '/auth/register', { body: credentials })
  const tokens: string[] = []
  while (tokens.length < 40) tokens.push((await logIn(credentials, busy)).body.refresh_token)
  let isDone = false
  let refreshed = 0
  const refreshing = tokens.map(async (_, index) => {
    while (!isDone) {
      const { status, body } = await refresh(busy, tokens[index] as string)
      if (status === 200) tokens[index] = body.refresh_token
      else if (status === 401) return
      refreshed++
    }
  })
  await until('many refreshes', () => refreshed > 200)
  assert.equal(await createAdmin(loadConfig(busy.env), busy.database).endAllSessions(), 40)
  isDone = true
  await Promise.all(refreshing)
  for (const token of tokens) assert.equal((await refresh(busy, token)).body.error?.code, 'AUTH_TOKEN_REVOKED')
})
