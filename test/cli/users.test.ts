import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import bcrypt from 'bcrypt'
import { atTerminal, cerrojo, feed, refused, run } from '../support/command.ts'
import {
  type Environment,
  freshEnvironment,
  type LocalServer,
  me,
  newCredentials,
  onPostgres,
  refresh,
  runSql,
  sessionIdOf,
  startServer,
} from '../support/server.ts'

const NEW_PASSWORD = 'fresh apples 9'
const ID = /^[\da-f-]{36}$/
const TIME = /^\d{4}-\d\d-\d\dT[\d:]{8}Z$/

interface Held {
  env: Environment
  email: string
  password: string
  id: string
  tokens: { access_token: string; refresh_token: string }[]
}

/** Does something on a server, which is gone before the command comes: the embedded database serves one at a time. */
async function onServer<Result>(env: Environment, work: (server: LocalServer) => Promise<Result>): Promise<Result> {
  const server = await startServer(env)
  try {
    return await work(server)
  } finally {
    await server.close()
  }
}

/** Somebody with so many sessions. */
async function somebody(sessions = 0, env?: Environment): Promise<Held> {
  const home = env ?? (await freshEnvironment())
  return onServer(home, async (server) => {
    const credentials = newCredentials()
    const { body: user } = await server.call('POST', '/auth/register', { body: credentials })
    const tokens = []
    for (let session = 0; session < sessions; session++)
      tokens.push((await server.call('POST', '/auth/login', { body: credentials })).body)
    return { env: home, ...credentials, id: user.id, tokens }
  })
}

const logIn = (server: LocalServer, { email }: Held, password: string) =>
  server.call('POST', '/auth/login', { body: { email, password } })

/** Runs a command that reads the input, and must succeed. */
async function fed(env: Environment, input: string, ...words: string[]): Promise<string> {
  const { code, stdout, stderr } = await feed(env, input, ...words)
  assert.deepEqual([code, stderr], [0, ''])
  return stdout
}

async function assertEnded({ env, tokens }: Held): Promise<void> {
  await onServer(env, async (server) => {
    for (const { access_token, refresh_token } of tokens) {
      assert.equal((await me(server, access_token)).body.error?.code, 'AUTH_TOKEN_REVOKED')
      assert.equal((await refresh(server, refresh_token)).body.error?.code, 'AUTH_TOKEN_REVOKED')
    }
  })
}

suite('cerrojo users find and show', () => {
  test('find lists those whose email has the part in it, in any case, and takes no sign for a wildcard', async () => {
    const env = await freshEnvironment()
    for (const email of ['ada@example.com', 'grace_h@example.com', 'adam@example.org'])
      await fed(env, NEW_PASSWORD, 'users', 'create', email)
    const found = async (part: string) =>
      JSON.parse(await run(env, 'users', 'find', part, '--json')).map(({ email }: { email: string }) => email)
    assert.deepEqual(await found('ADA'), ['ada@example.com', 'adam@example.org'])
    assert.deepEqual(await found('e_h@'), ['grace_h@example.com'])
    assert.deepEqual(await found('a_a'), [])
    assert.deepEqual(await found('%'), [])
    const [head, row, ...rest] = (await run(env, 'users', 'find', '.org')).trimEnd().split('\n')
    assert.match(head as string, /^ID +EMAIL +VERIFIED +DISABLED +CREATED$/)
    assert.match(row as string, /^[\da-f-]{36} +adam@example\.org +no +no +\d{4}-\S+Z$/)
    assert.deepEqual(rest, [])
  })

  test('find shows a hundred and says when there are more', async () => {
    const env = await freshEnvironment()
    const insert = `insert into users (email, password_hash)
                    select 'a' || number || '@example.com', '-' from generate_series(1, $1::int) as number`
    await runSql(env, insert, [100])
    assert.equal(JSON.parse(await run(env, 'users', 'find', 'example', '--json')).length, 100)
    await runSql(env, `insert into users (email, password_hash) values ('z@example.com', '-')`)
    const { stdout, stderr, code } = await cerrojo(env, 'users', 'find', 'example', '--json')
    assert.deepEqual([code, JSON.parse(stdout).length], [0, 100])
    assert.equal(stderr, 'there are more than these 100; give a longer part\n')
  })

  test('show tells a user and every session: state, since, last refresh, address and agent', async () => {
    const held = await somebody()
    const { env, email, id } = held
    const tokens = await onServer(env, async (server) => {
      const headers = { 'user-agent': 'Browser/1 \u009b31m' }
      const sessions = []
      for (let session = 0; session < 3; session++)
        sessions.push((await server.call('POST', '/auth/login', { body: held, headers })).body.refresh_token)
      await refresh(server, sessions[0])
      await server.call('POST', '/auth/logout', { body: { refresh_token: sessions[1] } })
      await runSql(env, `update refresh_tokens set expires_at = now() where id = $1`, [sessionIdOf(sessions[2])])
      await runSql(env, `update refresh_tokens set created_at = '2024-01-02T03:04:05Z' where id = $1`, [
        sessionIdOf(sessions[0]),
      ])
      return sessions
    })
    for (const word of [id, email, email.toUpperCase()]) {
      const shown = await run(env, 'users', 'show', word)
      const [about = '', sessions = ''] = shown.split('\n\n')
      const lines = Object.fromEntries(about.split('\n').map((line) => line.split(/ {2,}/)))
      assert.deepEqual([lines.id, lines.email, lines.verified, lines.disabled], [id, email, 'no', 'no'])
      assert.equal(lines.password, 'bcrypt of cost 4')
      for (const time of [lines.created, lines.changed]) assert.match(time, TIME)
      const [head, ...rows] = sessions.trimEnd().split('\n')
      assert.match(head as string, /^SESSION +STATE +SINCE +LAST REFRESH +EXPIRES +ADDRESS +AGENT$/)
      const states = Object.fromEntries(rows.map((row) => row.split(/ {2,}/).slice(0, 2)))
      assert.deepEqual(
        states,
        Object.fromEntries(['live', 'revoked', 'expired'].map((state, index) => [sessionIdOf(tokens[index]), state])),
      )
      const live = rows.find((row) => row.startsWith(sessionIdOf(tokens[0]))) as string
      const [, , since, lastRefresh, expires, address, agent] = live.split(/ {2,}/)
      assert.equal(since, '2024-01-02T03:04:05Z')
      for (const time of [lastRefresh, expires]) assert.match(time as string, TIME)
      assert.deepEqual([address, agent], ['127.0.0.1', 'Browser/1 ?31m'])
    }
    const { sessions, ...user } = JSON.parse(await run(env, 'users', 'show', id, '--json'))
    assert.deepEqual([user.id, user.email, user.email_verified, user.disabled_at], [id, email, false, null])
    assert.equal(sessions.length, 3)
    assert.equal(sessions.find((session: { state: string }) => session.state === 'live').generation, 1)
  })

  test('a user that is not there, an email that is none and an id that is none are told apart', async () => {
    const env = await freshEnvironment()
    assert.match(await refused(env, 'users', 'show', 'nobody@example.com'), /there is no user nobody@example\.com; see/)
    assert.match(await refused(env, 'users', 'show', crypto.randomUUID()), /there is no user/)
    assert.match(await refused(env, 'users', 'show', 'no@body'), /email must be like/)
    assert.match(await refused(env, 'users', 'show', 'nobody'), /id must be a UUID/)
    assert.match(await refused(env, 'users', 'show'), /takes <email or id>/)
    const asJson = await cerrojo(env, 'users', 'verify', 'nobody@example.com', '--json')
    assert.deepEqual([asJson.code, asJson.stdout], [1, ''])
    assert.match(JSON.parse(asJson.stderr).error, /^there is no user/)
    assert.match(await refused(env, 'users', 'set-password', 'nobody@example.com'), /there is no user/)
    assert.match(await refused(env, 'users', 'delete', 'nobody@example.com', '--yes'), /there is no user/)
  })
})

suite('cerrojo users create and verify', () => {
  test('create takes the password from standard input, by the rules of a registration, and it logs in', async () => {
    const env = await freshEnvironment()
    const told = await fed(env, `${NEW_PASSWORD}\n`, 'users', 'create', 'Ada@Example.com')
    assert.match(told, /^created ada@example\.com, [\da-f-]{36}\n$/)
    const verified = JSON.parse(
      await fed(env, NEW_PASSWORD, 'users', 'create', 'eve@example.com', '--verified', '--json'),
    )
    assert.match(verified.id, ID)
    assert.deepEqual([verified.email, verified.email_verified], ['eve@example.com', true])
    await onServer({ ...env, AUTH_REQUIRE_VERIFIED_EMAIL: 'true' }, async (server) => {
      const answers = []
      for (const email of ['ada@example.com', 'eve@example.com'])
        answers.push((await server.call('POST', '/auth/login', { body: { email, password: NEW_PASSWORD } })).status)
      assert.deepEqual(answers, [403, 200])
    })
    for (const [input, email, why] of [
      [NEW_PASSWORD, 'ada@example.com', 'already registered'],
      [NEW_PASSWORD, 'no email', 'email must be like'],
      ['short 1', 'new@example.com', 'at least 8 characters'],
      ['two words 1\nlines', 'new@example.com', 'must be one line'],
    ] as const) {
      const { code, stderr } = await feed(env, input, 'users', 'create', email)
      assert.equal(code, 1)
      assert.ok(stderr.includes(why), `${why}: ${stderr}`)
      assert.ok(!stderr.includes(input))
    }
    assert.equal((await runSql(env, 'select from users')).length, 2)
  })

  test('verify lets somebody log in who must be verified, and says so once', async () => {
    const held = await somebody()
    assert.equal(await run(held.env, 'users', 'verify', held.email), `${held.email} is verified now\n`)
    assert.equal(await run(held.env, 'users', 'verify', held.id), `${held.email} is verified, and was before\n`)
    assert.equal(JSON.parse(await run(held.env, 'users', 'verify', held.id, '--json')).email_verified, true)
    await onServer({ ...held.env, AUTH_REQUIRE_VERIFIED_EMAIL: 'true' }, async (server) =>
      assert.equal((await logIn(server, held, held.password)).status, 200),
    )
  })
})

suite('cerrojo users set-password', () => {
  test('sets it with the cost of the environment, for any form of Unicode, and ends all sessions', async () => {
    const held = await somebody(2)
    const { env, email } = held
    const password = 'pi\u00f1as 1234'
    const told = await fed(
      { ...env, AUTH_BCRYPT_ROUNDS: '5' },
      `${password.normalize('NFD')}\r\n`,
      'users',
      'set-password',
      email,
    )
    assert.equal(told, `set the password of ${email}; ended 2 sessions\n`)
    const [row] = await runSql(env, 'select password_hash from users')
    assert.match(row?.password_hash as string, /^\$2b\$05\$/)
    assert.ok(bcrypt.compareSync(password, row?.password_hash as string))
    await assertEnded(held)
    await onServer(env, async (server) => {
      assert.equal((await logIn(server, held, held.password)).status, 401)
      assert.equal((await logIn(server, held, password)).status, 200)
    })
  })

  test('leaves the sessions alone when it is told to, and everything when the password breaks a rule', async () => {
    const held = await somebody(1)
    const { env, email } = held
    const { code, stderr } = await feed(env, 'short 1', 'users', 'set-password', email)
    assert.deepEqual([code, stderr], [1, 'cerrojo: password must have at least 8 characters\n'])
    const told = await fed(env, NEW_PASSWORD, 'users', 'set-password', email, '--keep-sessions', '--json')
    assert.equal(JSON.parse(told).ended_sessions, 0)
    await onServer(env, async (server) => {
      assert.equal((await refresh(server, held.tokens[0]?.refresh_token as string)).status, 200)
      assert.equal((await logIn(server, held, NEW_PASSWORD)).status, 200)
    })
  })

  test("of one user ends nobody else's sessions", async () => {
    const held = await somebody(1)
    const other = await somebody(1, held.env)
    await fed(held.env, NEW_PASSWORD, 'users', 'set-password', held.email)
    await assertEnded(held)
    await onServer(held.env, async (server) => {
      assert.equal((await refresh(server, other.tokens[0]?.refresh_token as string)).status, 200)
    })
  })
})

suite('cerrojo users disable, enable and delete', () => {
  test('a disabled user is refused as with a wrong password, and logs in anew when enabled', async () => {
    const held = await somebody(2)
    const { env, email } = held
    assert.equal(await run(env, 'users', 'disable', email), `${email} is disabled now; ended 2 sessions\n`)
    const [before] = await runSql(env, 'select disabled_at from users')
    assert.equal(await run(env, 'users', 'disable', email), `${email} is disabled, and was before; ended 0 sessions\n`)
    assert.deepEqual((await runSql(env, 'select disabled_at from users'))[0], before)
    assert.match(await run(env, 'users', 'show', email), /^disabled +\d{4}-\S+Z$/m)
    await onServer(env, async (server) =>
      assert.equal((await logIn(server, held, held.password)).body.error.code, 'AUTH_INVALID_CREDENTIALS'),
    )
    assert.equal(await run(env, 'users', 'enable', email), `${email} is enabled now\n`)
    assert.equal(await run(env, 'users', 'enable', email), `${email} is enabled, and was before\n`)
    await onServer(env, async (server) => assert.equal((await logIn(server, held, held.password)).status, 200))
    await assertEnded(held)
  })

  test('delete wants to be told yes, and takes everything of theirs and nothing of others', async () => {
    const held = await somebody(2)
    const other = await somebody(1, held.env)
    const { env, email, id } = held
    assert.equal(
      await refused(env, 'users', 'delete', email),
      `cerrojo: this deletes ${email} (${id}) and 2 sessions, for good; if that is meant, say --yes\n`,
    )
    assert.equal((await runSql(env, 'select from users')).length, 2)
    assert.equal(await run(env, 'users', 'delete', email, '--yes'), `deleted ${email}, ${id}; ended 2 sessions\n`)
    assert.deepEqual(await runSql(env, 'select email from users'), [{ email: other.email }])
    assert.deepEqual(await runSql(env, 'select user_id from refresh_tokens'), [{ user_id: other.id }])
    await onServer(env, async (server) => {
      assert.equal((await logIn(server, held, held.password)).status, 401)
      assert.equal((await me(server, held.tokens[0]?.access_token as string)).body.error.code, 'AUTH_TOKEN_REVOKED')
      assert.equal((await server.call('POST', '/auth/register', { body: held })).status, 201)
    })
  })
})

suite('cerrojo users export', () => {
  test('tells everything that is stored of a person, but no hash and no secret', async () => {
    const held = await somebody(1)
    const { env, email, id } = held
    const exported = JSON.parse(await run(env, 'users', 'export', email))
    const [user] = await runSql(env, 'select * from users')
    const [session] = await runSql(env, 'select * from refresh_tokens')
    const { sessions, password, ...own } = exported
    assert.deepEqual([own.id, own.email, password], [id, email, 'bcrypt of cost 4'])
    assert.deepEqual(Object.keys({ ...own, password_hash: '' }).sort(), Object.keys(user as object).sort())
    const untold = { user_id: '', token_hash: '', parent_hash: '', rotation_salt: '', attempt_hash: '' }
    const { state, ...stored } = sessions[0]
    assert.equal(state, 'live')
    assert.deepEqual(Object.keys({ ...stored, ...untold }).sort(), Object.keys(session as object).sort())
    assert.equal(stored.ip, '127.0.0.1')
    const text = JSON.stringify(exported)
    for (const secret of [user?.password_hash, Buffer.from(session?.token_hash as Buffer).toString('hex')])
      assert.ok(!text.includes(secret as string))
  })

  test('says so of a hash that no password fits', async () => {
    const held = await somebody()
    await runSql(held.env, `update users set password_hash = 'x'`)
    assert.equal(
      JSON.parse(await run(held.env, 'users', 'export', held.email)).password,
      'something that no password fits',
    )
  })
})

suite('cerrojo users, at a terminal', () => {
  test('a password is asked for twice and not shown', async () => {
    const held = await somebody(1)
    const terminal = atTerminal(held.env, 'users', 'set-password', held.email)
    await terminal.answer('New password: ', `${NEW_PASSWORD}\r`)
    await terminal.answer('once more: ', `${NEW_PASSWORD}\r`)
    const { code, screen } = await terminal.end()
    assert.equal(code, 0, screen)
    assert.ok(screen.includes(`set the password of ${held.email}; ended 1 session\r\n`), screen)
    assert.ok(!screen.includes(NEW_PASSWORD))
    await onServer(held.env, async (server) => assert.equal((await logIn(server, held, NEW_PASSWORD)).status, 200))
  })

  test('two that differ change nothing, nor does who gives up', async () => {
    const held = await somebody(1)
    const differing = atTerminal(held.env, 'users', 'set-password', held.email)
    await differing.answer('New password: ', `${NEW_PASSWORD}\r`)
    await differing.answer('once more: ', `${NEW_PASSWORD}9\r`)
    const { code, screen } = await differing.end()
    assert.deepEqual([code, /cerrojo: the two passwords differ; nothing was changed/.test(screen)], [1, true], screen)
    for (const key of ['\u0003', '\u0004']) {
      const left = atTerminal(held.env, 'users', 'set-password', held.email)
      await left.answer('New password: ', key)
      const gone = await left.end()
      assert.deepEqual([gone.code, /cerrojo: given up; nothing was changed/.test(gone.screen)], [1, true], gone.screen)
    }
    await onServer(held.env, async (server) => assert.equal((await logIn(server, held, held.password)).status, 200))
  })

  test('delete asks, and anything but yes leaves the user', async () => {
    const held = await somebody()
    const no = atTerminal(held.env, 'users', 'delete', held.email)
    await no.answer('Type yes', 'y\r')
    assert.equal((await no.end()).code, 1)
    assert.equal((await runSql(held.env, 'select from users')).length, 1)
    const yes = atTerminal(held.env, 'users', 'delete', held.email)
    await yes.answer('Type yes', 'yes\r')
    assert.equal((await yes.end()).code, 0)
    assert.equal((await runSql(held.env, 'select from users')).length, 0)
  })
})

test('while a server holds the embedded database, one sentence says to stop it', async (t) => {
  if (onPostgres) return t.skip('PostgreSQL serves several at once')
  const server = await startServer()
  assert.match(
    await refused(server.env, 'users', 'find', 'a'),
    /Stop the other process first: .* in use by process \d+/,
  )
})

test('a database that is away is told as that, without its password', async (t) => {
  if (!onPostgres) return t.skip('the embedded database is never away')
  const env = { DATABASE_URL: 'postgres://somebody:hidden@127.0.0.1:1/none', DATABASE_START_TIMEOUT_SEC: '0' }
  const told = await refused(env, 'users', 'find', 'a')
  assert.match(told, /DATABASE_URL names cannot be used: .*ECONNREFUSED/)
  assert.ok(!told.includes('hidden'))
})
