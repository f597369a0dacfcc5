/** What user interfaces and sockets are told. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { freshEnvironment, startProcess, startServer } from '../../../test/support/server.ts'
import { eachToken } from '../src/connections.ts'
import type { AuthClient, AuthState } from '../src/types.ts'
import { memoryStore, openBrowser, openClient, registerAndLogIn } from './support/clients.ts'
import { eventually, fails } from './support/expect.ts'
import { startProxy } from './support/proxy.ts'

const ME = '/auth/me'
const REFRESH = '/auth/token/refresh'
const server = await startServer()

/** What the listener of a subscription finds, one after the other. */
function watch(client: AuthClient): AuthState[] {
  const states = [client.state]
  client.subscribe(() => states.push(client.state))
  return states
}

const statusesOf = (states: AuthState[]) => states.map(({ status }) => status)

suite('state', () => {
  test('is unknown until somebody subscribes, then tells who is logged in, and of the logout', async () => {
    const proxy = await startProxy(server.url)
    const store = memoryStore()
    const { credentials } = await registerAndLogIn(openClient({ baseUrl: proxy.url, store }))
    const client = openClient({ baseUrl: proxy.url, store })
    assert.ok(await client.getAccessToken())
    assert.deepEqual(client.state, { status: 'unknown' })
    const states = watch(client)
    await eventually(() => assert.equal(client.state.status, 'loggedIn'))
    assert.ok(client.state.status === 'loggedIn' && client.state.user.email === credentials.email)
    assert.equal(client.state, client.state, 'and is one object until it changes')
    await client.logout()
    await eventually(() => assert.deepEqual(statusesOf(states), ['unknown', 'loggedIn', 'loggedOut']))
    assert.equal(proxy.of(ME).length, 1)
  })

  test('is loggedOut where nobody is, without a question to the server', async () => {
    const proxy = await startProxy(server.url)
    const client = openClient({ baseUrl: proxy.url })
    watch(client)
    await eventually(() => assert.deepEqual(client.state, { status: 'loggedOut' }))
    assert.equal(proxy.seen.length, 0)
  })

  test('says why the server ended the session', async () => {
    const client = openClient({ baseUrl: server.url, store: memoryStore() })
    const { tokens } = await registerAndLogIn(client)
    watch(client)
    await eventually(() => assert.equal(client.state.status, 'loggedIn'))
    await server.call('POST', '/auth/logout', { body: { refresh_token: tokens.refresh_token } })
    await assert.rejects(client.me(), fails('AUTH_TOKEN_REVOKED'))
    await eventually(() => assert.deepEqual(client.state, { status: 'loggedOut', reason: 'AUTH_TOKEN_REVOKED' }))
  })

  test('stays unknown while there is no answer, and tells when there is one', async () => {
    const proxy = await startProxy(server.url)
    const store = memoryStore()
    await registerAndLogIn(openClient({ baseUrl: server.url, store }))
    const client = openClient({ baseUrl: proxy.url, store, attempts: 1 })
    proxy.decide = () => ({ kind: 'lose request' })
    const states = watch(client)
    await eventually(() => assert.ok(proxy.seen.length > 0))
    proxy.decide = () => undefined
    await eventually(() => client.refresh())
    await eventually(() => assert.deepEqual(statusesOf(states), ['unknown', 'loggedIn']))
  })

  test('asks again when the server could not tell', async () => {
    const proxy = await startProxy(server.url)
    const client = openClient({ baseUrl: proxy.url, store: memoryStore() })
    await registerAndLogIn(client)
    const faults = [{ kind: 'answer', status: 503 } as const]
    proxy.decide = ({ path }) => (path === ME ? faults.shift() : undefined)
    watch(client)
    await eventually(() => assert.equal(client.state.status, 'loggedIn'))
    assert.equal(proxy.of(ME).length, 2)
  })

  test('shows nobody what belongs to another', async () => {
    const client = openClient({ baseUrl: server.url, store: memoryStore() })
    const first = await registerAndLogIn(client)
    const states = watch(client)
    await eventually(() => assert.equal(client.state.status, 'loggedIn'))
    const second = await registerAndLogIn(client)
    await eventually(() => assert.deepEqual(statusesOf(states), ['unknown', 'loggedIn', 'unknown', 'loggedIn']))
    const emails = states.flatMap((state) => (state.status === 'loggedIn' ? [state.user.email] : []))
    assert.deepEqual(emails, [first.credentials.email, second.credentials.email])
  })

  test('follows the other tabs', async () => {
    const inCookie = await startServer({ AUTH_REFRESH_TRANSPORT: 'cookie', AUTH_COOKIE_SECURE: 'false' })
    const browser = openBrowser(inCookie.url)
    const [one, other] = [browser.openTab(), browser.openTab()]
    const states = watch(other)
    await eventually(() => assert.equal(other.state.status, 'loggedOut'))
    await registerAndLogIn(one)
    await eventually(() => assert.equal(other.state.status, 'loggedIn'))
    await one.logout()
    await eventually(() => assert.deepEqual(statusesOf(states), ['unknown', 'loggedOut', 'loggedIn', 'loggedOut']))
  })

  test('tells nobody who has unsubscribed, or after dispose', async () => {
    const client = openClient({ baseUrl: server.url, store: memoryStore() })
    let calls = 0
    const unsubscribe = client.subscribe(() => calls++)
    await eventually(() => assert.equal(calls, 1))
    unsubscribe()
    await registerAndLogIn(client)
    client.subscribe(() => calls++)
    client.dispose()
    await new Promise((resolve) => setImmediate(resolve))
    assert.equal(calls, 1)
  })
})

suite('a connection', () => {
  function connect(client: AuthClient) {
    const opened: { token: string; signal: AbortSignal }[] = []
    const stop = eachToken(client, (token, signal) => opened.push({ token, signal }))
    return { opened, stop, areOver: () => opened.map(({ signal }) => signal.aborted) }
  }

  test('gets each token, and is told when the old one ends, after the next has come', async () => {
    const client = openClient({ baseUrl: server.url, store: memoryStore() })
    const { opened, areOver } = connect(client)
    const { tokens } = await registerAndLogIn(client)
    await eventually(() => assert.deepEqual(areOver(), [false]))
    const { access_token } = await client.refresh()
    await eventually(() => assert.deepEqual(areOver(), [true, false]))
    assert.deepEqual(
      opened.map(({ token }) => token),
      [tokens.access_token, access_token],
    )
    await client.logout()
    await eventually(() => assert.deepEqual(areOver(), [true, true]))
  })

  test('is told when its token expires and no other can be had', async () => {
    const briefly = await startProcess(await freshEnvironment({ AUTH_ACCESS_TTL_SEC: '2' }))
    const proxy = await startProxy(briefly.url)
    const client = openClient({ baseUrl: proxy.url, store: memoryStore(), attempts: 1 })
    proxy.decide = ({ path }) => (path === REFRESH ? { kind: 'lose request' } : undefined)
    const { areOver } = connect(client)
    await registerAndLogIn(client)
    await eventually(() => assert.deepEqual(areOver(), [true]))
    assert.ok(proxy.of(REFRESH).length > 0)
  })

  test('that is stopped is told so, and opened no more', async () => {
    const client = openClient({ baseUrl: server.url, store: memoryStore() })
    await registerAndLogIn(client)
    const { opened, stop, areOver } = connect(client)
    await eventually(() => assert.equal(opened.length, 1))
    stop()
    assert.deepEqual(areOver(), [true])
    await client.refresh()
    await client.getAccessToken()
    assert.equal(opened.length, 1)
  })
})
