/** Browsers and native apps as they are: what they lack, forbid and drop. */
import assert from 'node:assert/strict'
import { suite, type TestContext, test } from 'node:test'
import { newCredentials, startServer } from '../../../test/support/server.ts'
import { type Browser, memoryStore, openBrowser, openClient, registerAndLogIn } from './support/clients.ts'
import { eventually, fails } from './support/expect.ts'
import { startProxy } from './support/proxy.ts'

const REFRESH = '/auth/token/refresh'
const server = await startServer({ AUTH_REFRESH_TRANSPORT: 'cookie', AUTH_COOKIE_SECURE: 'false' })

const refuse = () => {
  throw new DOMException('The operation is insecure.', 'SecurityError')
}
const STORAGES: Record<string, (browser: Browser) => Browser['localStorage']> = {
  'is forbidden': () => ({ getItem: refuse, setItem: refuse, removeItem: refuse }),
  'is missing': () => null as never,
  'is full': ({ localStorage }) => ({ ...localStorage, setItem: refuse }),
}

suite('a browser whose localStorage', () => {
  for (const [fault, storage] of Object.entries(STORAGES)) {
    test(`${fault} stays logged in, reloaded or not`, async () => {
      const proxy = await startProxy(server.url)
      const browser = openBrowser(proxy.url)
      browser.localStorage = storage(browser)
      const tab = browser.openTab()
      await registerAndLogIn(tab)
      await tab.refresh()
      await tab.refresh()
      tab.dispose()
      const reloaded = browser.openTab()
      assert.ok(await reloaded.getAccessToken())
      await reloaded.refresh()
      assert.ok(await reloaded.me())
    })

    test(`${fault} keeps its other tabs logged in, in turns`, async () => {
      const browser = openBrowser(server.url)
      browser.localStorage = storage(browser)
      const [one, other] = [browser.openTab(), browser.openTab()]
      const told = new Promise((resolve) => other.onAuthChange(resolve))
      await registerAndLogIn(one)
      await told
      for (const tab of [one, other, other, one]) {
        await tab.refresh()
        assert.ok(await tab.me())
      }
    })

    test(`${fault} logs out, and asks the server once who is there when nobody is`, async () => {
      const proxy = await startProxy(server.url)
      const browser = openBrowser(proxy.url)
      browser.localStorage = storage(browser)
      const tab = browser.openTab()
      await registerAndLogIn(tab)
      await tab.logout()
      assert.equal(await tab.getAccessToken(), null)
      const reloaded = browser.openTab()
      for (let time = 1; time <= 3; time++) assert.equal(await reloaded.getAccessToken(), null)
      assert.equal(proxy.of(REFRESH).length, 1)
    })
  }

  test('was full holds nothing that is out of date', async () => {
    const browser = openBrowser(server.url)
    const { localStorage } = browser
    const tab = browser.openTab()
    await registerAndLogIn(tab)
    browser.localStorage = { ...localStorage, setItem: refuse }
    await tab.refresh()
    assert.deepEqual([...browser.storage], [])
    browser.localStorage = localStorage
    await tab.refresh()
    tab.dispose()
    const reloaded = browser.openTab()
    assert.ok(await reloaded.getAccessToken())
  })

  test('is emptied under an open page keeps that page logged in', async () => {
    const browser = openBrowser(server.url)
    const [one, other] = [browser.openTab(), browser.openTab()]
    const told = new Promise((resolve) => other.onAuthChange(resolve))
    await registerAndLogIn(one)
    await told
    browser.storage.clear()
    for (const tab of [other, one]) await tab.refresh()
    assert.ok(await other.me())
  })
})

suite('a page', () => {
  async function inTheBackground(context: TestContext) {
    const proxy = await startProxy(server.url)
    const browser = openBrowser(proxy.url)
    const tab = browser.openTab({ attempts: 1 })
    await registerAndLogIn(tab)
    const now = Date.now
    let sleptMs = 0
    context.mock.method(Date, 'now', () => now() + sleptMs)
    const sleep = (seconds: number) => {
      sleptMs += seconds * 1000
    }
    return { proxy, browser, tab, sleep }
  }

  test('that wakes refreshes if it is time, and only then', async (context) => {
    const { proxy, browser, sleep } = await inTheBackground(context)
    sleep(600)
    browser.wake()
    sleep(300)
    assert.equal(proxy.of(REFRESH).length, 0)
    browser.wake()
    await eventually(() => assert.equal(proxy.of(REFRESH).at(-1)?.status, 200))
    browser.wake()
    assert.equal(proxy.of(REFRESH).length, 1)
  })

  test('that was opened offline goes on when the network is back, without being asked', async (context) => {
    const { proxy, browser, tab } = await inTheBackground(context)
    tab.dispose()
    proxy.decide = () => ({ kind: 'lose request' })
    const opened = browser.openTab({ attempts: 1 })
    const entered = new Promise((resolve) => opened.onAuthChange(resolve))
    await assert.rejects(opened.getAccessToken(), fails('CLIENT_NETWORK'))
    proxy.decide = () => undefined
    browser.wake()
    assert.equal(((await entered) as { kind: string }).kind, 'loggedIn')
  })

  test('that is disposed of wakes no more', async (context) => {
    const { proxy, browser, tab, sleep } = await inTheBackground(context)
    tab.dispose()
    sleep(900)
    browser.wake()
    await browser.openTab().getAccessToken()
    assert.equal(proxy.of(REFRESH).length, 1)
  })
})

suite('a native app', () => {
  test('without any random numbers sends nothing, and says what is missing', async (context) => {
    const proxy = await startProxy(server.url)
    const client = openClient({ baseUrl: proxy.url, store: memoryStore() })
    context.mock.getter(globalThis, 'crypto', () => undefined)
    await assert.rejects(client.login(newCredentials()), fails('CLIENT_UNSUPPORTED'))
    assert.equal(proxy.seen.length, 0)
  })

  test('whose keychain fails gets the one error of this package, with its cause', async () => {
    const cause = new Error('the device is locked')
    const store = { ...memoryStore(), load: () => Promise.reject(cause) }
    await assert.rejects(openClient({ baseUrl: server.url, store }).getAccessToken(), (error: Error) => {
      assert.equal(error.cause, cause)
      return fails('CLIENT_STORE')(error)
    })
  })
})
