import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { cerrojo, feed, refused, run } from '../support/command.ts'
import {
  type Environment,
  freshEnvironment,
  me,
  refresh,
  registerSomebody,
  runSql,
  sessionIdOf,
  startServer,
} from '../support/server.ts'

interface Held {
  access_token: string
  refresh_token: string
}

/** Two users with two sessions each, and no server. */
async function twoUsers(): Promise<{ env: Environment; emails: [string, string]; sessions: [Held, Held, Held, Held] }> {
  const server = await startServer()
  const people = [await registerSomebody(server), await registerSomebody(server)]
  const sessions = []
  for (const body of people)
    for (const _ of [1, 2]) sessions.push((await server.call('POST', '/auth/login', { body })).body)
  await server.close()
  const emails = people.map(({ email }) => email)
  return { env: server.env, emails, sessions } as Awaited<ReturnType<typeof twoUsers>>
}

/** Which of the sessions still refresh; those that do not must be revoked, for /auth/me too. */
async function living(env: Environment, sessions: Held[]): Promise<number[]> {
  const server = await startServer(env)
  const alive: number[] = []
  for (const [index, { access_token, refresh_token }] of sessions.entries()) {
    const looked = await me(server, access_token)
    const answer = await refresh(server, refresh_token)
    assert.equal(looked.status, answer.status)
    if (answer.status === 200) alive.push(index)
    else for (const { body } of [looked, answer]) assert.equal(body.error.code, 'AUTH_TOKEN_REVOKED')
  }
  await server.close()
  return alive
}

suite('cerrojo sessions end', () => {
  test('ends the one session that is named, once', async () => {
    const { env, sessions } = await twoUsers()
    const id = sessionIdOf(sessions[0].refresh_token)
    assert.equal(await run(env, 'sessions', 'end', id), 'ended 1 session\n')
    assert.equal(await run(env, 'sessions', 'end', id.toUpperCase()), 'ended 0 sessions; 1 had ended before\n')
    assert.deepEqual(await living(env, sessions), [1, 2, 3])
    const unknown = randomUUID()
    assert.equal(await refused(env, 'sessions', 'end', unknown), `cerrojo: there is no session ${unknown}\n`)
    assert.match(await refused(env, 'sessions', 'end', 'x'), /the id of a session must be a UUID/)
  })

  test('ends all of one user, by email or by id', async () => {
    const { env, emails, sessions } = await twoUsers()
    assert.equal(await run(env, 'sessions', 'end', '--user', emails[0]), `ended 2 sessions of ${emails[0]}\n`)
    const [user] = await runSql(env, 'select id from users where email = $1', [emails[0]])
    const again = await run(env, 'sessions', 'end', '--user', user?.id as string, '--json')
    assert.deepEqual(JSON.parse(again), { ended: 0 })
    assert.match(await refused(env, 'sessions', 'end', '--user', 'nobody@example.com'), /there is no user/)
    assert.deepEqual(await living(env, sessions), [2, 3])
  })

  test('ends those of a list, and tells of those that ended before and of those that there are not', async () => {
    const { env, sessions } = await twoUsers()
    const ids = sessions.slice(0, 3).map(({ refresh_token }) => sessionIdOf(refresh_token)) as [string, string, string]
    await run(env, 'sessions', 'end', ids[0])
    const list = `${ids[0]}\r\n${ids[1].toUpperCase()}\n\n${ids[1]}\n${randomUUID()}\n`
    const { code, stdout } = await feed(env, list, 'sessions', 'end', '--ids', '-')
    assert.deepEqual([code, stdout], [0, 'ended 1 session; 1 had ended before; 1 unknown\n'])
    const path = join(env.AUTH_DATA_DIR as string, 'ids')
    await writeFile(path, ids[2])
    assert.deepEqual(JSON.parse(await run(env, 'sessions', 'end', '--ids', path, '--json')), { ended: 1, unknown: 0 })
    assert.deepEqual(await living(env, sessions), [3])
  })

  test('of a list with something else in it ends none', async () => {
    const { env, sessions } = await twoUsers()
    const list = `${sessionIdOf(sessions[0].refresh_token)}\nnull\n`
    const { code, stderr } = await feed(env, list, 'sessions', 'end', '--ids', '-')
    assert.deepEqual([code, stderr], [1, 'cerrojo: the id of a session must be a UUID, but number 2 is none\n'])
    const missing = await refused(env, 'sessions', 'end', '--ids', '/no/such/file')
    assert.match(missing, /no such file or directory/)
    assert.deepEqual(await living(env, sessions), [0, 1, 2, 3])
  })

  test("ends everybody's when that is meant", async () => {
    const { env, sessions } = await twoUsers()
    assert.match(await refused(env, 'sessions', 'end', '--all'), /logs everybody out.*; if that is meant, say --yes/)
    const many = `insert into refresh_tokens (id, user_id, token_hash, expires_at, ends_at)
                  select gen_random_uuid(), (select id from users limit 1), '', now() + interval '1 day',
                         now() + interval '1 day'
                    from generate_series(1, 2500)`
    await runSql(env, many)
    assert.equal(await run(env, 'sessions', 'end', '--all', '--yes'), 'ended 2,504 sessions\n')
    assert.deepEqual(JSON.parse(await run(env, 'sessions', 'end', '--all', '--yes', '--json')), { ended: 0 })
    assert.deepEqual(await living(env, sessions), [])
  })

  test('wants to be told which, and one thing at a time', async () => {
    const env = await freshEnvironment()
    for (const words of [[], ['--all', '--user', 'a@example.com'], [randomUUID(), '--ids', '-']]) {
      const { code, stderr } = await cerrojo(env, 'sessions', 'end', ...words)
      assert.deepEqual([code, /takes one of: a session id, --user/.test(stderr)], [1, true], stderr)
    }
  })
})
