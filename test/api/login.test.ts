/** Logging in: the answer, what it never tells a stranger, and the hash that keeps up with the configured cost. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { assertRefused, assertSecurityHeaders } from '../support/answers.ts'
import {
  type Answer,
  freshEnvironment,
  me,
  newCredentials,
  registerSomebody,
  runSql,
  startServer,
} from '../support/server.ts'

const server = await startServer({ AUTH_ACCESS_TTL_SEC: '321' })
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
    assert.deepEqual(withoutDate(unknown), withoutDate(wrong))
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

suite('a stored hash', () => {
  test('of another cost is replaced at the next login, and only by the right password', async () => {
    const env = await freshEnvironment()
    const before = await startServer(env)
    const users = await Promise.all([registerSomebody(before), registerSomebody(before)])
    const [returning, attacked] = users as [(typeof users)[0], (typeof users)[0]]
    await before.close()

    const after = await startServer({ ...env, AUTH_BCRYPT_ROUNDS: '5' })
    const body = { ...newCredentials(), email: attacked.email }
    assertRefused(await after.call('POST', '/auth/login', { body }), 401, 'AUTH_INVALID_CREDENTIALS')
    for (let login = 1; login <= 2; login++)
      assert.equal((await after.call('POST', '/auth/login', { body: returning })).status, 200)
    await after.close()

    const rows = await runSql(env, 'select email, left(password_hash, 7) as cost from users')
    const costs = Object.fromEntries(rows.map(({ email, cost }) => [email, cost]))
    assert.deepEqual(costs, { [returning.email]: '$2b$05$', [attacked.email]: '$2b$04$' })
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

function withoutDate({ status, headers, body }: Answer) {
  return { status, body, headers: [...headers].filter(([name]) => name !== 'date') }
}
