/** What stands between the page and the servers, here before one that answers refreshes and nothing else. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type RequestListener, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, suite, test } from 'node:test'
import { createAuthProxy } from '../proxy.ts'

suite('the proxy', async () => {
  const target = await listen((request, response) => {
    if (request.url === '/auth/token/refresh') response.end('{"access_token":"next"}')
  })
  let deeds = 0
  const pass = createAuthProxy(target.url, new Map([['deed', async () => ++deeds === 1]]))
  const front = await listen((request, response) => pass(request, response).catch(() => response.destroy()))

  const cookie = `refresh_token=${randomBytes(48).toString('base64url')}`
  const ask = async (path: string, method: string, headers: Record<string, string> = {}) =>
    (await fetch(`${front.url}/auth/${path}`, { method, headers: { cookie, ...headers } })).status
  const origin = front.url
  const refresh = () => fetch(`${origin}/auth/token/refresh`, { method: 'POST', headers: { cookie } })

  test('makes trouble for its own page only', async () => {
    assert.equal(await ask('demo-only/replay-used-token', 'POST', { origin }), 409, 'nothing is used yet')
    assert.equal((await refresh()).status, 200)

    for (const name of ['lose-next-answer', 'cut-next-answer', 'replay-used-token', 'deed']) {
      assert.equal(await ask(`demo-only/${name}`, 'GET'), 403, 'what an <img> can do')
      assert.equal(await ask(`demo-only/${name}`, 'GET', { origin }), 403)
      assert.equal(await ask(`demo-only/${name}`, 'POST'), 403)
      assert.equal(await ask(`demo-only/${name}`, 'POST', { origin: target.url }), 403, 'another port')
      assert.equal(await ask(`demo-only/${name}`, 'POST', { origin, cookie: '' }), 409)
    }
    assert.equal((await (await refresh()).json()).access_token, 'next', 'nothing is lost')

    assert.equal(await ask('demo-only/replay-used-token', 'POST', { origin }), 200)
    assert.equal(await ask('demo-only/lose-next-answer', 'POST', { origin }), 204)
    await assert.rejects(refresh().then((response) => response.text()))
    assert.equal((await (await refresh()).json()).access_token, 'next', 'once only')

    assert.equal(deeds, 0)
    assert.equal(await ask('demo-only/deed', 'POST', { origin }), 204)
    assert.equal(await ask('demo-only/deed', 'POST', { origin }), 409, 'it knows nothing of the session')
    assert.equal(await ask('demo-only/no-deed', 'POST', { origin }), 404)
  })

  test('gives up a request whose sender leaves in the middle of it', async () => {
    const upload = request(`${origin}/auth/login`, { method: 'POST', headers: { 'content-length': 1000 } })
    upload.on('error', () => {}).write('half')
    const [incoming] = (await once(target.server, 'request')) as [IncomingMessage]
    upload.destroy()
    await new Promise((resolve) => incoming.once('close', resolve))
    assert.equal(incoming.complete, false)
  })
})

/** Closed when the test file ends. */
async function listen(listener: RequestListener) {
  const server = createServer(listener)
  await once(server.listen(0, '127.0.0.1'), 'listening')
  after(() => server.close().closeAllConnections())
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
}
