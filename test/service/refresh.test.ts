import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { logInSomebody, me, newIdempotencyKey, refresh, startServer } from '../support/server.ts'

const server = await startServer()

suite('a refresh token', () => {
  test('is replaced at every refresh, and the new one refreshes again', async () => {
    const { refresh_token: first } = await logInSomebody(server)
    const seen = new Set([first])
    let token = first
    for (let rotation = 1; rotation <= 10; rotation++) {
      const answer = await refresh(server, token)
      assert.equal(answer.status, 200)
      token = answer.body.refresh_token
      assert.match(token, /^[A-Za-z0-9_-]{64}$/)
      assert.equal(token.slice(0, 21), first.slice(0, 21), 'its first 16 bytes stay')
      assert.equal((await me(server, answer.body.access_token)).status, 200)
      seen.add(token)
    }
    assert.equal(seen.size, 11)
  })

  test('shown again after it was used revokes the session for everyone', async () => {
    const { refresh_token: stolen } = await logInSomebody(server)
    const answer = await refresh(server, stolen)
    const again = await refresh(server, stolen)
    assert.deepEqual([again.status, again.body.error.code], [401, 'AUTH_TOKEN_REVOKED'])
    const successor = await refresh(server, answer.body.refresh_token)
    assert.deepEqual([successor.status, successor.body.error.code], [401, 'AUTH_TOKEN_REVOKED'])
    const access = await me(server, answer.body.access_token)
    assert.deepEqual([access.status, access.body.error.code], [401, 'AUTH_TOKEN_REVOKED'])
  })

  test('of fifty refreshes at once without a key exactly one succeeds, and the session is revoked', async () => {
    const { refresh_token: token } = await logInSomebody(server)
    const answers = await Promise.all(Array.from({ length: 50 }, () => refresh(server, token)))
    const granted = answers.filter(({ status }) => status === 200)
    assert.equal(granted.length, 1)
    for (const answer of answers.filter(({ status }) => status !== 200))
      assert.deepEqual([answer.status, answer.body.error.code], [401, 'AUTH_TOKEN_REVOKED'])
    assert.equal((await refresh(server, granted[0]?.body.refresh_token)).body.error.code, 'AUTH_TOKEN_REVOKED')
  })

  test('fifty refreshes at once with one key all get the same successor, which is live', async () => {
    const { refresh_token: token } = await logInSomebody(server)
    const key = newIdempotencyKey()
    const answers = await Promise.all(Array.from({ length: 50 }, () => refresh(server, token, key)))
    assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([200]))
    const successors = new Set(answers.map(({ body }) => body.refresh_token))
    assert.equal(successors.size, 1)
    assert.equal(new Set(answers.map(({ body }) => body.access_token)).size, 50, 'each with an access token of its own')
    assert.equal((await refresh(server, [...successors][0])).status, 200)
  })
})
