/** Statements in whatever a client may say: refused, or taken for the text that it is. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { newVictim, type Target } from '../support/hostile.ts'
import { me, refresh } from '../support/server.ts'

const STATEMENTS = ["' or '1'='1", "'; drop table users; --", "\\'; select pg_sleep(30); --", "' union select null --"]

export default function attack(target: Target): void {
  test('as an email', async () => {
    for (const statement of STATEMENTS)
      for (const email of [statement, `${statement}@example.invalid`])
        target.assertRefused(await target.call('POST', '/auth/login', { body: { email, password: 'aZ7aZ7aZ7' } }), 400)
  })

  test('as an email without a space, which is somebody whom nobody knows', async () => {
    for (const name of ['$1', "'or'1'='1'--", "'||pg_sleep(30)--", '%', '_'.repeat(10)]) {
      const body = { ...newVictim(), email: `${name}@example.invalid` }
      target.assertRefused(await target.call('POST', '/auth/login', { body }), 401, 'AUTH_INVALID_CREDENTIALS')
    }
  })

  test('as a password', async () => {
    const body = { email: target.user.email, password: STATEMENTS[0] }
    target.assertRefused(await target.call('POST', '/auth/login', { body }), 401, 'AUTH_INVALID_CREDENTIALS')
  })

  test('as a token, an idempotency key, a query or a header', async () => {
    for (const statement of STATEMENTS) {
      target.assertRefused(await refresh(target, statement), 401, 'AUTH_REFRESH_NOT_FOUND')
      target.assertRefused(await me(target, statement), 401, 'AUTH_TOKEN_INVALID')
      const body = { refresh_token: statement }
      target.assertRefused(await target.call('POST', '/auth/logout', { body }), 401, 'AUTH_REFRESH_NOT_FOUND')
      const query = `/.well-known/jwks.json?use=${encodeURIComponent(statement)}`
      target.assertRefused(await target.call('GET', query), 400)
      target.assertRefused(await refresh(target, 'A'.repeat(64), statement.slice(0, 15)), 400)
    }
    const key = "'or'1'='1';--------"
    const session = await target.logIn()
    assert.equal((await refresh(target, session.refresh_token, key)).status, 200, 'a key is any text')
    const headers = { 'user-agent': STATEMENTS[1] as string }
    assert.equal((await target.call('POST', '/auth/login', { body: target.user, headers })).status, 200)
  })
}
