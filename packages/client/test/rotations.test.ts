/** What costs a rotation, and what need not. */
import assert from 'node:assert/strict'
import { suite, type TestContext, test } from 'node:test'
import { startServer } from '../../../test/support/server.ts'
import { memoryStore, openBrowser, openClient, registerAndLogIn } from './support/clients.ts'
import { eventually } from './support/expect.ts'
import { startProxy } from './support/proxy.ts'

const REFRESH = '/auth/token/refresh'
/** For which a page waits for the other ones. */
const ANSWER_MS = 100
const server = await startServer({ AUTH_REFRESH_TRANSPORT: 'cookie', AUTH_COOKIE_SECURE: 'false' })
const inBody = await startServer()

/** As if the machine slept for so long. */
function sleep(context: TestContext, seconds: number): void {
  const now = Date.now
  context.mock.method(Date, 'now', () => now() + seconds * 1000)
}

/** Has each page give the others all the time that they need to answer it, as this machine may be slow. */
function waitForAnswers(context: TestContext): void {
  const { setTimeout } = globalThis
  const patient = (work: () => void, ms?: number) =>
    ms === ANSWER_MS ? setTimeout(work, 60_000).unref() : setTimeout(work, ms)
  context.mock.method(globalThis, 'setTimeout', patient as typeof setTimeout)
}

suite('no rotation is spent', () => {
  test('on forty new pages while one is open', async (context) => {
    waitForAnswers(context)
    const proxy = await startProxy(server.url)
    const browser = openBrowser(proxy.url)
    const { tokens } = await registerAndLogIn(browser.openTab())
    for (let page = 1; page <= 40; page++) {
      const opened = browser.openTab()
      assert.equal(await opened.getAccessToken(), tokens.access_token)
      assert.ok(await opened.me())
      opened.dispose()
    }
    assert.equal(proxy.of(REFRESH).length, 0)
  })

  test('on a page that slept while another one refreshed', async (context) => {
    waitForAnswers(context)
    const proxy = await startProxy(server.url)
    const browser = openBrowser(proxy.url)
    const awake = browser.openTab()
    await registerAndLogIn(awake)
    const asleep = browser.openTab()
    const old = await asleep.getAccessToken()
    sleep(context, 898)
    const { access_token } = await awake.refresh()
    assert.notEqual(access_token, old)
    assert.equal(await asleep.getAccessToken(), access_token)
    assert.equal(proxy.of(REFRESH).length, 1)
  })

  test('on an endpoint that refuses fresh tokens for reasons of its own, beyond the first', async (context) => {
    const proxy = await startProxy(inBody.url)
    const client = openClient({ baseUrl: proxy.url, store: memoryStore() })
    await registerAndLogIn(client)
    proxy.decide = ({ path }) => (path.startsWith('/broken') ? { kind: 'answer', status: 401 } : undefined)
    for (let poll = 1; poll <= 40; poll++) {
      assert.equal((await client.fetch(`${proxy.url}/broken?since=${poll}`)).status, 401)
      if (poll % 4 === 0) sleep(context, 60)
    }
    assert.equal(proxy.of(REFRESH).length, 1)
  })

  test('on forty endpoints that do so at once, beyond the first', async () => {
    const proxy = await startProxy(inBody.url)
    const client = openClient({ baseUrl: proxy.url, store: memoryStore() })
    await registerAndLogIn(client)
    proxy.decide = ({ path }) => (path.startsWith('/broken') ? { kind: 'answer', status: 401 } : undefined)
    for (let number = 1; number <= 40; number++) await client.fetch(`${proxy.url}/broken/${number}`)
    assert.equal(proxy.of(REFRESH).length, 1)
  })
})

suite('a rotation is spent', () => {
  test('on an endpoint again once it has taken a token', async (context) => {
    const proxy = await startProxy(inBody.url)
    const client = openClient({ baseUrl: proxy.url, store: memoryStore() })
    await registerAndLogIn(client)
    let status = 401
    proxy.decide = ({ path }) => (path === '/notes' ? { kind: 'answer', status } : undefined)
    await client.fetch(`${proxy.url}/notes`)
    status = 200
    assert.equal((await client.fetch(`${proxy.url}/notes`)).status, 200)
    status = 401
    sleep(context, 60)
    await client.fetch(`${proxy.url}/notes`)
    assert.equal(proxy.of(REFRESH).length, 2)
  })

  test('on a page alone, as its token is nowhere but in memory', async () => {
    const proxy = await startProxy(server.url)
    const browser = openBrowser(proxy.url)
    const one = browser.openTab()
    await registerAndLogIn(one)
    one.dispose()
    assert.ok(await browser.openTab().getAccessToken())
    assert.equal(proxy.of(REFRESH).length, 1)
  })

  test('on a new page when the open one has a token that is about to end', async (context) => {
    const proxy = await startProxy(server.url)
    const browser = openBrowser(proxy.url)
    const { tokens } = await registerAndLogIn(browser.openTab())
    sleep(context, tokens.expires_in - 2)
    assert.notEqual(await browser.openTab().getAccessToken(), tokens.access_token)
    await eventually(() => assert.equal(proxy.of(REFRESH).length, 1))
  })
})

suite('another tab hands over no token', () => {
  test('of a session that was logged out while it was asked', async () => {
    const proxy = await startProxy(server.url)
    const browser = openBrowser(proxy.url)
    await registerAndLogIn(browser.openTab())
    const opened = browser.openTab()
    const token = opened.getAccessToken()
    await opened.logout()
    assert.equal(await token, null)
    assert.equal(await opened.getAccessToken(), null)
  })

  test('that stays in its memory alone', async () => {
    const browser = openBrowser(inBody.url)
    await registerAndLogIn(browser.openTab())
    assert.equal(await browser.openTab().getAccessToken(), null)
  })
})
