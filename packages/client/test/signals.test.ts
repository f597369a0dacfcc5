import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { startServer } from '../../../test/support/server.ts'
import type { AuthClient, Waiting } from '../src/types.ts'
import { memoryStore, openClient, registerAndLogIn } from './support/clients.ts'
import { eventually, fails } from './support/expect.ts'
import { startProxy } from './support/proxy.ts'

const REFRESH = '/auth/token/refresh'
const server = await startServer()

/** A client that has to refresh first, at a server that takes the request and never answers. */
async function hanging() {
  const proxy = await startProxy(server.url)
  const store = memoryStore()
  await registerAndLogIn(openClient({ baseUrl: server.url, store }))
  const client = openClient({ baseUrl: proxy.url, store })
  const held = Promise.withResolvers<void>()
  proxy.decide = ({ path }) =>
    path === '/notes' ? { kind: 'answer', status: 200 } : { kind: 'hold request', until: held.promise }
  return { proxy, client, goOn: held.resolve }
}

suite('a signal', () => {
  for (const [name, call] of [
    ['getAccessToken', (client, waiting) => client.getAccessToken(waiting)],
    ['me', (client, waiting) => client.me(waiting)],
    ['refresh', (client, waiting) => client.refresh(waiting)],
    ['login', (client, waiting) => client.login({ email: 'a@example.com', password: 'correct horse 7' }, waiting)],
  ] satisfies [string, (client: AuthClient, waiting: Waiting) => Promise<unknown>][]) {
    test(`ends the waiting of ${name}`, async () => {
      const { proxy, client } = await hanging()
      const leaving = new AbortController()
      const refused = assert.rejects(call(client, { signal: leaving.signal }), (error: Error) => {
        assert.equal(error.cause, leaving.signal.reason)
        return fails('CLIENT_ABORTED')(error)
      })
      await eventually(() => assert.equal(proxy.seen.length, 1))
      leaving.abort(new Error('the visitor has left'))
      await refused
    })

    test(`that is over already lets ${name} send nothing`, async () => {
      const { proxy, client } = await hanging()
      await assert.rejects(call(client, { signal: AbortSignal.abort() }), fails('CLIENT_ABORTED'))
      assert.equal(proxy.seen.length, 0)
    })
  }

  test('of one who waits takes nothing from the others', async () => {
    const { proxy, client, goOn } = await hanging()
    const leaving = new AbortController()
    const refused = assert.rejects(client.getAccessToken({ signal: leaving.signal }), fails('CLIENT_ABORTED'))
    const token = client.getAccessToken()
    await eventually(() => assert.equal(proxy.of(REFRESH).length, 1))
    leaving.abort()
    await refused
    goOn()
    assert.ok(await token)
    assert.equal(proxy.of(REFRESH).length, 1)
  })

  test('ends a fetch that waits for its token, with the reason that the standard one gives', async () => {
    const { proxy, client } = await hanging()
    const leaving = new AbortController()
    const refused = assert.rejects(client.fetch(`${proxy.url}/notes`, { signal: leaving.signal }), {
      name: 'AbortError',
    })
    await eventually(() => assert.equal(proxy.of(REFRESH).length, 1))
    leaving.abort()
    await refused
    assert.equal(proxy.of('/notes').length, 0)
  })

  test('ends a fetch whose token was refused and that waits for another', async () => {
    const proxy = await startProxy(server.url)
    const client = openClient({ baseUrl: proxy.url, store: memoryStore() })
    await registerAndLogIn(client)
    proxy.decide = ({ path }) =>
      path === REFRESH ? { kind: 'hold request', until: new Promise(() => {}) } : { kind: 'answer', status: 401 }
    const leaving = new AbortController()
    const request = new Request(`${proxy.url}/notes`, { signal: leaving.signal })
    const refused = assert.rejects(client.fetch(request), { name: 'AbortError' })
    await eventually(() => assert.equal(proxy.of(REFRESH).length, 1))
    leaving.abort()
    await refused
  })

  test('of a login whose answer comes later keeps nobody logged in', async () => {
    const proxy = await startProxy(server.url)
    const store = memoryStore()
    const { credentials } = await registerAndLogIn(openClient({ baseUrl: server.url }))
    const client = openClient({ baseUrl: proxy.url, store })
    const held = Promise.withResolvers<void>()
    proxy.decide = () => ({ kind: 'hold answer', until: held.promise })
    const leaving = new AbortController()
    const refused = assert.rejects(client.login(credentials, { signal: leaving.signal }), fails('CLIENT_ABORTED'))
    await eventually(() => assert.equal(proxy.of('/auth/login')[0]?.status, 200))
    leaving.abort()
    held.resolve()
    await refused
    assert.equal(await client.getAccessToken(), null)
    assert.equal(store.text, null)
  })
})
