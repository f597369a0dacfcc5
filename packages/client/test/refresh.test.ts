import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import {
  freshEnvironment,
  newCredentials,
  runSql,
  sessionIdOf,
  startProcess,
  startServer,
} from '../../../test/support/server.ts'
import type { AuthClientError } from '../src/errors.ts'
import type { AuthChange, AuthClient } from '../src/types.ts'
import { memoryStore, openBrowser, openClient, registerAndLogIn } from './support/clients.ts'
import { eventually, fails } from './support/expect.ts'
import { type Fault, startProxy } from './support/proxy.ts'

const REFRESH = '/auth/token/refresh'
const server = await startServer({ AUTH_RATE_LIMIT_REFRESH: '0' })

/** A client behind a network of its own, logged in. */
async function loggedIn(options = {}) {
  const proxy = await startProxy(server.url)
  const store = memoryStore()
  const client = openClient({ baseUrl: proxy.url, store, ...options })
  const { tokens, credentials } = await registerAndLogIn(client)
  /** What the coming refreshes meet, in order; the later ones pass. */
  const refreshesMeet = (...faults: (Fault | undefined)[]) => {
    proxy.decide = ({ path }) => (path === REFRESH ? faults.shift() : undefined)
  }
  return { proxy, store, client, tokens, credentials, refreshesMeet }
}

const keysOf = (seen: { headers: NodeJS.Dict<string | string[]> }[]) =>
  seen.map(({ headers }) => headers['idempotency-key'])

suite('a refresh', () => {
  for (const fault of [
    { kind: 'lose request' },
    { kind: 'lose answer' },
    { kind: 'cut answer' },
    { kind: 'answer', status: 500 },
    { kind: 'answer', status: 503, headers: { 'retry-after': '0' } },
    { kind: 'answer', status: 200, body: '<html>please sign in to this hotel</html>' },
  ] satisfies Fault[])
    test(`is repeated with the same key after: ${JSON.stringify(fault)}`, async () => {
      const { client, proxy, refreshesMeet } = await loggedIn()
      refreshesMeet(fault, fault)
      const { access_token } = await client.refresh()
      assert.equal(await client.getAccessToken(), access_token)
      const keys = keysOf(proxy.of(REFRESH))
      assert.equal(keys.length, 3)
      assert.equal(new Set(keys).size, 1)
      assert.match(String(keys[0]), /^[!-~]{16,128}$/)
      assert.ok(await client.me())
      await client.refresh()
      assert.notEqual(keysOf(proxy.of(REFRESH)).at(-1), keys[0], 'the next refresh has a key of its own')
    })

  test('that gets no answer in time is repeated with the same key', async () => {
    const { proxy, store, refreshesMeet } = await loggedIn()
    refreshesMeet({ kind: 'hold answer', until: new Promise(() => {}) })
    await openClient({ baseUrl: proxy.url, store, requestTimeoutSeconds: 1 }).refresh()
    assert.equal(new Set(keysOf(proxy.of(REFRESH))).size, 1)
    assert.equal(proxy.of(REFRESH).length, 2)
  })

  test('that never gets an answer fails after as many tries as were asked for, and the session lives on', async () => {
    const { client, proxy, refreshesMeet } = await loggedIn({ attempts: 2 })
    refreshesMeet({ kind: 'lose answer' }, { kind: 'lose answer' })
    await assert.rejects(client.refresh(), fails('CLIENT_NETWORK', { status: 0 }))
    assert.equal(proxy.of(REFRESH).length, 2)
    assert.ok(await client.getAccessToken(), 'the token at hand is still valid')
    await client.refresh()
    assert.equal(new Set(keysOf(proxy.of(REFRESH))).size, 1, 'and the repetition is one, however late')
  })

  test('whose answer was lost is repeated with the same key after a restart', async () => {
    const { client, proxy, store, refreshesMeet } = await loggedIn({ attempts: 1 })
    refreshesMeet({ kind: 'lose answer' })
    await assert.rejects(client.refresh(), fails('CLIENT_NETWORK'))
    client.dispose()
    const restarted = openClient({ baseUrl: proxy.url, store })
    assert.ok(await restarted.getAccessToken())
    assert.equal(new Set(keysOf(proxy.of(REFRESH))).size, 1)
    assert.ok(await restarted.me())
  })

  test('is one, however many ask for it', async () => {
    const { client, proxy } = await loggedIn()
    const answers = await Promise.all(Array.from({ length: 20 }, () => client.refresh()))
    assert.equal(new Set(answers).size, 1)
    assert.equal(proxy.of(REFRESH).length, 1)
  })

  test('answered 429 rests as long as it is told, without asking again, and ends nothing', async (context) => {
    const { client, proxy, refreshesMeet } = await loggedIn()
    const body = JSON.stringify({ error: { code: 'AUTH_RATE_LIMIT', message: 'slow down' } })
    refreshesMeet({ kind: 'answer', status: 429, headers: { 'retry-after': '600' }, body })
    const now = Date.now
    let laterMs = 0
    context.mock.method(Date, 'now', () => now() + laterMs)
    await assert.rejects(client.refresh(), fails('AUTH_RATE_LIMIT', { status: 429, retryAfterSeconds: 600 }))
    laterMs = 300_000
    await assert.rejects(client.refresh(), ({ status, retryAfterSeconds }: AuthClientError) => {
      return status === 429 && Number(retryAfterSeconds) <= 300
    })
    assert.equal(proxy.of(REFRESH).length, 1)
    assert.ok(await client.getAccessToken())
    laterMs = 600_000
    await client.refresh()
    assert.equal(proxy.of(REFRESH).length, 2)
  })

  test('answered 429 holds no other login back', async () => {
    const { client, proxy, credentials, refreshesMeet } = await loggedIn()
    const body = JSON.stringify({ error: { code: 'AUTH_RATE_LIMIT', message: 'slow down' } })
    refreshesMeet({ kind: 'answer', status: 429, headers: { 'retry-after': '60' }, body })
    await assert.rejects(client.refresh(), fails('AUTH_RATE_LIMIT'))
    await client.login(credentials)
    await client.refresh()
    assert.equal(proxy.of(REFRESH).length, 2)
  })

  test('does not wait long for a server that asks for it, but says how long', async () => {
    const { client, proxy, refreshesMeet } = await loggedIn()
    refreshesMeet({ kind: 'answer', status: 503, headers: { 'retry-after': '120' } })
    await assert.rejects(client.refresh(), fails('CLIENT_BAD_ANSWER', { status: 503, retryAfterSeconds: 120 }))
    assert.equal(proxy.of(REFRESH).length, 1)
  })

  test('comes by itself before the token expires, whatever the wall clock says', async (context) => {
    const briefly = await startProcess(await freshEnvironment({ AUTH_ACCESS_TTL_SEC: '1' }))
    const proxy = await startProxy(briefly.url)
    const client = openClient({ baseUrl: proxy.url })
    const { tokens } = await registerAndLogIn(client)
    const now = Date.now
    let setBackMs = 7 * 86_400_000
    context.mock.method(Date, 'now', () => now() - setBackMs)
    await eventually(() => assert.ok(proxy.of(REFRESH).length > 0))
    await eventually(async () => assert.notEqual(await client.getAccessToken(), tokens.access_token))
    setBackMs *= 2
    proxy.decide = () => ({ kind: 'lose request' })
    await eventually(() => assert.rejects(client.getAccessToken(), fails('CLIENT_NETWORK')))
  })
})

suite('an access token', () => {
  test('that expired while the machine slept is not handed out', async (context) => {
    const { client, proxy, tokens } = await loggedIn()
    assert.equal(await client.getAccessToken(), tokens.access_token)
    // In its sleep the monotonic clock stands still, and timers with it.
    const now = Date.now
    context.mock.method(Date, 'now', () => now() + tokens.expires_in * 1000)
    assert.notEqual(await client.getAccessToken(), tokens.access_token)
    assert.equal(proxy.of(REFRESH).length, 1)
  })
})

suite('a session', () => {
  for (const status of [400, 401, 403, 404, 429, 500, 503])
    test(`does not end when somebody answers ${status} to a refresh`, async () => {
      const { client, proxy, refreshesMeet } = await loggedIn({ attempts: 1 })
      refreshesMeet({ kind: 'answer', status, headers: { 'retry-after': '0' } })
      await assert.rejects(client.refresh(), fails('CLIENT_BAD_ANSWER', { status }))
      await eventually(() => client.refresh())
      assert.ok(await client.me())
      assert.equal(proxy.of(REFRESH).length, 2)
    })

  test('that was revoked ends, and says why', async () => {
    const { client, store, tokens } = await loggedIn()
    const states: unknown[] = []
    client.onAuthChange((state) => states.push(state))
    await server.call('POST', '/auth/logout', { body: { refresh_token: tokens.refresh_token } })
    await assert.rejects(client.refresh(), fails('AUTH_TOKEN_REVOKED', { status: 401 }))
    assert.equal(await client.getAccessToken(), null)
    assert.equal(store.text, null)
    assert.deepEqual(states, [{ kind: 'ended', reason: 'AUTH_TOKEN_REVOKED' }])
  })

  test('that gave way to another login does not come back with a late answer, whatever that is', async () => {
    for (const isRevoked of [false, true]) {
      const { client, proxy, store, tokens, refreshesMeet } = await loggedIn()
      const states: unknown[] = []
      client.onAuthChange((state) => states.push(state))
      const held = Promise.withResolvers<void>()
      refreshesMeet({ kind: 'hold answer', until: held.promise })
      if (isRevoked) await server.call('POST', '/auth/logout', { body: { refresh_token: tokens.refresh_token } })
      const refused = assert.rejects(client.refresh(), fails('CLIENT_ABORTED'))
      await eventually(() => assert.ok(proxy.of(REFRESH)[0]?.status))
      const { credentials } = await registerAndLogIn(openClient({ baseUrl: proxy.url, store }))
      held.resolve()
      await refused
      assert.deepEqual(states, [{ kind: 'ended' }])
      assert.equal((await client.me()).email, credentials.email)
    }
  })

  test('that has expired ends', async () => {
    const { client, tokens } = await loggedIn()
    const sql = 'update refresh_tokens set expires_at = now() where id = $1'
    await runSql(server.env, sql, [sessionIdOf(tokens.refresh_token as string)])
    await assert.rejects(client.refresh(), fails('AUTH_TOKEN_EXPIRED'))
    assert.equal(await client.getAccessToken(), null)
  })

  test('that never was answers null without asking the server, and an explicit refresh says so', async () => {
    const proxy = await startProxy(server.url)
    const client = openBrowser(proxy.url).openTab()
    assert.equal(await client.getAccessToken(), null)
    assert.equal(proxy.seen.length, 0)
    await assert.rejects(client.refresh(), fails('AUTH_REFRESH_NOT_FOUND'))
    assert.equal(await client.getAccessToken(), null)
    assert.equal(proxy.seen.length, 1)
  })
})

suite('a logout', () => {
  test('beats a refresh in flight: no token appears afterwards', async () => {
    for (const where of ['hold request', 'hold answer'] as const) {
      const { client, proxy, store, refreshesMeet } = await loggedIn()
      const held = Promise.withResolvers<void>()
      refreshesMeet({ kind: where, until: held.promise })
      const refreshing = client.refresh()
      const refused = assert.rejects(refreshing, fails('CLIENT_ABORTED'))
      await eventually(() => assert.equal(proxy.of(REFRESH).length, 1))
      const leaving = client.logout()
      assert.equal(await client.getAccessToken(), null)
      held.resolve()
      await Promise.all([leaving, refused])
      assert.equal(await client.getAccessToken(), null)
      assert.equal(store.text, null)
    }
  })

  test('beats a login in flight', async () => {
    const { client, proxy, store, credentials } = await loggedIn()
    const held = Promise.withResolvers<void>()
    proxy.decide = ({ path }) => (path === '/auth/login' ? { kind: 'hold answer', until: held.promise } : undefined)
    const refused = assert.rejects(client.login(credentials), fails('CLIENT_ABORTED'))
    await eventually(() => assert.equal(proxy.of('/auth/login').length, 2))
    await Promise.all([client.logout(), refused])
    held.resolve()
    assert.equal(await client.getAccessToken(), null)
    assert.equal(store.text, null)
  })

  test('is repeated until the server has heard it, and revokes the session there', async () => {
    const { client, proxy, tokens } = await loggedIn()
    const faults: (Fault | undefined)[] = [{ kind: 'lose request' }, { kind: 'answer', status: 503 }]
    proxy.decide = () => faults.shift()
    await client.logout()
    const answer = await server.call('POST', REFRESH, { body: { refresh_token: tokens.refresh_token } })
    assert.equal(answer.body.error.code, 'AUTH_TOKEN_REVOKED')
  })

  test('asked for twice at once happens once', async () => {
    const { client, tokens } = await loggedIn()
    await Promise.all([client.logout(), client.logout()])
    const answer = await server.call('POST', REFRESH, { body: { refresh_token: tokens.refresh_token } })
    assert.equal(answer.body.error.code, 'AUTH_TOKEN_REVOKED')
  })

  test('outlives the page that asked for it', async () => {
    const requests: Request[] = []
    const { client } = await loggedIn({
      fetch: (input: string, init: RequestInit) => {
        requests.push(new Request(input, init))
        return fetch(input, init)
      },
    })
    await client.logout()
    assert.deepEqual(
      requests.filter(({ keepalive }) => keepalive).map(({ url }) => new URL(url).pathname),
      ['/auth/logout'],
    )
  })

  test('that the server cannot hear still logs out here, and says so', async () => {
    const { client, proxy } = await loggedIn({ attempts: 2 })
    proxy.decide = () => ({ kind: 'lose request' })
    await assert.rejects(client.logout(), fails('CLIENT_NETWORK'))
    assert.equal(await client.getAccessToken(), null)
  })
})

suite('fetch', () => {
  test('adds the token, and after a 401 repeats once with a new one, body and all', async () => {
    const { client, proxy, tokens } = await loggedIn()
    const proxyAnswers = [401, 200]
    proxy.decide = ({ path }) =>
      path === '/notes' ? { kind: 'answer', status: proxyAnswers.shift() as number } : undefined
    const response = await client.fetch(`${proxy.url}/notes`, { method: 'POST', body: '{"note":"hello"}' })
    assert.equal(response.status, 200)
    const [first, second] = proxy.of('/notes')
    assert.equal(first?.headers.authorization, `Bearer ${tokens.access_token}`)
    assert.equal(second?.headers.authorization, `Bearer ${await client.getAccessToken()}`)
    assert.notEqual(first?.headers.authorization, second?.headers.authorization)
    assert.deepEqual([first?.body, second?.body], [{ note: 'hello' }, { note: 'hello' }])
  })

  test('hands a second 401 on, and one refresh serves all who got the first', async () => {
    const { client, proxy, tokens } = await loggedIn()
    const old = `Bearer ${tokens.access_token}`
    proxy.decide = ({ path, headers }) => {
      if (path === '/never') return { kind: 'answer', status: 401 }
      return path === '/old' ? { kind: 'answer', status: headers.authorization === old ? 401 : 200 } : undefined
    }
    const responses = await Promise.all(Array.from({ length: 10 }, () => client.fetch(`${proxy.url}/old`)))
    assert.deepEqual(new Set(responses.map(({ status }) => status)), new Set([200]))
    assert.equal(proxy.of(REFRESH).length, 1)
    assert.equal((await client.fetch(`${proxy.url}/never`)).status, 401)
    assert.equal(proxy.of('/never').length, 1, 'another token than the new one would fare no better')
  })

  test('hands a 401 on when no other token can be had for now', async () => {
    const { client, proxy } = await loggedIn({ attempts: 1 })
    proxy.decide = ({ path }) =>
      path === REFRESH ? { kind: 'lose request' } : { kind: 'answer', status: 401, body: 'who are you?' }
    const response = await client.fetch(`${proxy.url}/never`)
    assert.equal(await response.text(), 'who are you?')
    assert.deepEqual([proxy.of('/never').length, proxy.of(REFRESH).length], [1, 1])
  })

  test('sends no token when nobody is logged in, and hands a 401 on', async () => {
    const proxy = await startProxy(server.url)
    const client = openClient({ baseUrl: proxy.url })
    const response = await client.fetch(`${proxy.url}/auth/me`)
    assert.equal(response.status, 401)
    assert.deepEqual(
      proxy.seen.map(({ headers }) => headers.authorization),
      [undefined],
    )
  })
})

suite('me', () => {
  test('answers who is logged in, with a new token if the old one is refused', async () => {
    const { client, proxy, credentials } = await loggedIn()
    const answers = [{ kind: 'answer', status: 401 } as const]
    proxy.decide = ({ path }) => (path === '/auth/me' ? answers.shift() : undefined)
    const user = await client.me()
    assert.deepEqual([user.email, user.email_verified], [credentials.email, false])
    assert.equal(proxy.of(REFRESH).length, 1)
  })

  test('is refused when nobody is, and the server not asked', async () => {
    const proxy = await startProxy(server.url)
    await assert.rejects(openClient({ baseUrl: proxy.url }).me(), fails('AUTH_TOKEN_INVALID', { status: 0 }))
    assert.equal(proxy.seen.length, 0)
  })
})

suite('onAuthChange', () => {
  test('tells of logins, refreshes and logouts, and nothing after its unsubscribe', async () => {
    const { client, credentials } = await loggedIn()
    const changes: AuthChange[] = []
    const unsubscribe = client.onAuthChange((change) => changes.push(change))
    const refreshed = await client.refresh()
    await client.logout()
    const entered = await client.login(credentials)
    const told = [{ kind: 'refreshed', tokens: refreshed }, { kind: 'ended' }, { kind: 'loggedIn', tokens: entered }]
    assert.deepEqual(changes, told)
    unsubscribe()
    await client.logout()
    assert.deepEqual(changes, told)
  })

  test('calls nobody who was unsubscribed by another listener', async () => {
    const { client } = await loggedIn()
    let calls = 0
    client.onAuthChange(() => unsubscribe())
    const unsubscribe = client.onAuthChange(() => calls++)
    await client.logout()
    assert.equal(calls, 0)
  })
})

suite('dispose', () => {
  test('ends whatever is under way', async () => {
    const { proxy, store } = await loggedIn()
    for (const [path, start] of [
      ['/auth/register', (client: AuthClient) => client.register(newCredentials())],
      ['/auth/login', (client: AuthClient) => client.login(newCredentials())],
      ['/auth/me', (client: AuthClient) => client.me()],
      [REFRESH, (client: AuthClient) => client.refresh()],
      ['/auth/logout', (client: AuthClient) => client.logout()],
      ['/.well-known/jwks.json', (client: AuthClient) => client.encrypt({})],
    ] as const) {
      proxy.seen.length = 0
      proxy.decide = (seen) => (seen.path === path ? { kind: 'hold request', until: new Promise(() => {}) } : undefined)
      const client = openClient({ baseUrl: proxy.url, store })
      const refused = assert.rejects(start(client), fails('CLIENT_ABORTED'))
      await eventually(() => assert.equal(proxy.of(path).length, 1))
      client.dispose()
      await refused
    }
  })
})

suite('errors', () => {
  test('come instead of a redirect, which would take the password along', async () => {
    const { client, proxy, credentials } = await loggedIn()
    const elsewhere = await startProxy(server.url)
    proxy.decide = ({ path }) => ({ kind: 'answer', status: 307, headers: { location: elsewhere.url + path } })
    await assert.rejects(client.login(credentials), fails('CLIENT_NETWORK'))
    assert.equal(elsewhere.seen.length, 0)
  })

  test('carry what the server answered', async () => {
    const { client, credentials } = await loggedIn()
    await assert.rejects(client.register(credentials), fails('AUTH_EMAIL_TAKEN', { status: 409 }))
    const wrong = { ...credentials, password: 'wrong horse 1' }
    await assert.rejects(client.login(wrong), fails('AUTH_INVALID_CREDENTIALS', { status: 401 }))
    assert.ok(await client.getAccessToken(), 'a failed login leaves the session alone')
    const strict = await startServer({ AUTH_RATE_LIMIT_LOGIN: '1' })
    const limited = openClient({ baseUrl: strict.url })
    const { credentials: theirs } = await registerAndLogIn(limited)
    const guess = { ...theirs, password: 'wrong horse 1' }
    await assert.rejects(limited.login(guess), fails('AUTH_INVALID_CREDENTIALS', { status: 401 }))
    await assert.rejects(limited.login(guess), (error: AuthClientError) => {
      assert.ok(Number(error.retryAfterSeconds) > 0)
      return fails('AUTH_RATE_LIMIT', { status: 429 })(error)
    })
  })
})
