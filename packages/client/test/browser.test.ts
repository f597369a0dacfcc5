/** The compiled package in headless Chromium: real tabs, cookies, locks and cryptography. */
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import type { Page } from 'playwright-core'
import { newCredentials, startServer } from '../../../test/support/server.ts'
import type { AuthChange, AuthClient } from '../src/types.ts'
import { launchChromium, withChromium } from './support/chromium.ts'
import { eventually } from './support/expect.ts'
import { type FaultyProxy, startProxy } from './support/proxy.ts'

declare global {
  var auth: AuthClient
  var states: AuthChange[]
  var refreshed: Promise<string>
}

const REFRESH = '/auth/token/refresh'

async function pages(path: string) {
  if (path === '/')
    return { type: 'text/html', content: await readFile(join(import.meta.dirname, 'support/page.html')) }
  if (!/^\/dist\/[a-z]+\.js$/.test(path)) return undefined
  return { type: 'text/javascript', content: await readFile(join(import.meta.dirname, '..', path)) }
}

suite('in Chromium', withChromium, async () => {
  if (withChromium.skip) return
  const server = await startServer({
    AUTH_REFRESH_TRANSPORT: 'cookie',
    AUTH_COOKIE_SECURE: 'false',
    AUTH_FRONT_ENC_REQUIRED: 'true',
  })
  const plain = await startServer({ AUTH_REFRESH_TRANSPORT: 'cookie', AUTH_COOKIE_SECURE: 'false' })
  // A name that is not this machine's own makes plain HTTP an insecure context: no Web Locks, no WebCrypto.
  const browser = await launchChromium('--host-resolver-rules=MAP auth.test 127.0.0.1')

  /** Two tabs, logged in in the first; `insecure` pages have no locks. */
  async function twoTabs(kind: 'secure' | 'insecure') {
    const proxy = await startProxy(kind === 'secure' ? server.url : plain.url, pages)
    const address = `http://${kind === 'secure' ? '127.0.0.1' : 'auth.test'}:${proxy.port}/`
    const context = await browser.newContext()
    const problems: string[] = []
    const open = async () => {
      const tab = await context.newPage()
      tab.on('pageerror', (error) => problems.push(error.message))
      await tab.goto(address)
      await ready(tab)
      return tab
    }
    const [one, other] = [await open(), await open()]
    assert.equal(await one.evaluate(() => navigator.locks !== undefined), kind === 'secure')
    const credentials = { ...newCredentials(), encrypt: kind === 'secure' }
    await one.evaluate(async (credentials) => {
      await auth.register(credentials)
      await auth.login(credentials)
    }, credentials)
    await eventually(async () => assert.equal(await other.evaluate(() => states.length), 1))
    return { proxy, context, open, one, other, credentials, problems, address }
  }

  for (const kind of ['secure', 'insecure'] as const) {
    test(`two tabs that refresh at once stay logged in (${kind})`, async () => {
      const { proxy, context, one, other, problems } = await twoTabs(kind)
      for (let round = 1; round <= 5; round++) {
        const asked = Promise.withResolvers<void>()
        proxy.decide = ({ path }) => (path === REFRESH ? { kind: 'hold request', until: asked.promise } : undefined)
        for (const tab of [one, other])
          await tab.evaluate(() => {
            globalThis.refreshed = auth.refresh().then(({ access_token }) => access_token)
          })
        asked.resolve()
        const answers = await Promise.all([one, other].map((tab) => tab.evaluate(() => refreshed)))
        assert.equal(new Set(answers).size, 1, 'both with one token')
      }
      for (const tab of [one, other]) assert.ok(await tab.evaluate(() => auth.me()))
      assert.equal(proxy.of(REFRESH).filter(({ status }) => status !== 200).length, 0)
      assert.equal(proxy.of(REFRESH).length, 5, 'and one request')
      assert.deepEqual(problems, [])
      await context.close()
    })

    test(`a reload keeps the session, and repeats with the same key what was cut off (${kind})`, async () => {
      const { proxy, context, one } = await twoTabs(kind)
      proxy.decide = loseAnswers
      await one.evaluate(() => void auth.refresh().catch(() => {}))
      await eventually(() => assert.equal(proxy.of(REFRESH).at(-1)?.status, 200))
      await one.reload()
      await ready(one)
      proxy.decide = () => undefined
      assert.ok(await one.evaluate(() => auth.getAccessToken()))
      assert.ok(await one.evaluate(() => auth.me()))
      assert.equal(new Set(proxy.of(REFRESH).map(({ headers }) => headers['idempotency-key'])).size, 1)
      await context.close()
    })

    test(`a logout in one tab reaches the other, and beats its refresh (${kind})`, async () => {
      const { proxy, context, one, other } = await twoTabs(kind)
      const held = Promise.withResolvers<void>()
      proxy.decide = ({ path }) => (path === REFRESH ? { kind: 'hold answer', until: held.promise } : undefined)
      const refused = other.evaluate(() => auth.refresh().catch((error) => error.code))
      await eventually(() => assert.equal(proxy.of(REFRESH).length, 1))
      await one.evaluate(() => auth.logout())
      assert.equal(await refused, 'CLIENT_ABORTED')
      held.resolve()
      for (const tab of [one, other]) {
        assert.equal(await tab.evaluate(() => auth.getAccessToken()), null)
        assert.deepEqual(await tab.evaluate(() => states.at(-1)), { kind: 'ended' })
      }
      await context.close()
    })
  }

  test('a tab that is closed mid-way takes nothing with it', async () => {
    const { proxy, context, one, other } = await twoTabs('secure')
    proxy.decide = loseAnswers
    await one.evaluate(() => void auth.refresh().catch(() => {}))
    await eventually(() => assert.equal(proxy.of(REFRESH).at(-1)?.status, 200))
    await one.close()
    proxy.decide = () => undefined
    await refreshIn(other)
    assert.ok(await other.evaluate(() => auth.me()))
    await context.close()
  })

  test('offline, the session waits until the network is back', async () => {
    const { context, one } = await twoTabs('secure')
    await context.setOffline(true)
    assert.equal(await one.evaluate(() => auth.refresh().catch((error) => error.code)), 'CLIENT_NETWORK')
    await context.setOffline(false)
    await refreshIn(one)
    assert.ok(await one.evaluate(() => auth.me()))
    await context.close()
  })

  test('a page that was opened while no answer came goes on by itself when the network is back', async () => {
    const { proxy, context, one, other } = await twoTabs('secure')
    await other.close()
    proxy.decide = ({ path }) => (path === REFRESH ? { kind: 'lose request' } : undefined)
    await one.reload()
    await ready(one)
    assert.equal(await one.evaluate(() => auth.getAccessToken().catch((error) => error.code)), 'CLIENT_NETWORK')
    proxy.decide = () => undefined
    await context.setOffline(true)
    await context.setOffline(false)
    await one.waitForFunction(() => states.at(-1)?.kind === 'loggedIn')
    await context.close()
  })

  test('no token is in any storage, and the cookie is out of reach of scripts', async () => {
    const { context, one } = await twoTabs('secure')
    const token = await refreshIn(one)
    const stored = await one.evaluate(() =>
      JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]),
    )
    assert.match(stored, /cerrojo/)
    const [cookie] = await context.cookies(`${one.url()}auth/`)
    assert.equal(cookie?.httpOnly, true)
    for (const secret of [token, cookie.value]) assert.ok(!stored.includes(secret))
    assert.deepEqual(await one.evaluate(() => indexedDB.databases()), [])
    await context.close()
  })

  test('a browser that forbids all it can keeps the session over reloads, and shows no error', async () => {
    const proxy = await startProxy(plain.url, pages)
    const context = await browser.newContext()
    await context.addInitScript(() => {
      const forbidden = () => {
        throw new DOMException('The operation is insecure.', 'SecurityError')
      }
      Object.defineProperty(globalThis, 'localStorage', { get: forbidden })
      Object.defineProperty(Navigator.prototype, 'locks', { get: forbidden })
      Object.defineProperty(globalThis, 'BroadcastChannel', { value: forbidden })
    })
    const tab = await context.newPage()
    const problems: string[] = []
    tab.on('pageerror', (error) => problems.push(error.message))
    await tab.goto(proxy.url)
    await ready(tab)
    await tab.evaluate(async (credentials) => {
      await auth.register(credentials)
      await auth.login(credentials)
    }, newCredentials())
    for (let reload = 1; reload <= 3; reload++) {
      await tab.reload()
      await ready(tab)
      assert.ok(await tab.evaluate(() => auth.getAccessToken()))
      await refreshIn(tab)
      assert.ok(await tab.evaluate(() => auth.me()))
    }
    await tab.evaluate(() => auth.logout())
    await tab.reload()
    await ready(tab)
    assert.equal(await tab.evaluate(() => auth.getAccessToken()), null)
    assert.deepEqual(problems, [])
    await context.close()
  })

  test('new pages get the token from the open one, and spend no rotation', async () => {
    const { proxy, context, open } = await twoTabs('secure')
    await context.addInitScript(() => {
      const { setTimeout } = window
      const patient = (work: () => void, ms: number) => setTimeout(work, ms === 100 ? 30_000 : ms)
      window.setTimeout = patient as typeof setTimeout // an open page of a slow machine takes its time to answer
    })
    for (let page = 1; page <= 5; page++) {
      const opened = await open()
      assert.ok(await opened.evaluate(() => auth.me()))
      await opened.close()
    }
    assert.equal(proxy.of(REFRESH).length, 0)
    await context.close()
  })

  test('what cannot be encrypted is not sent', async () => {
    const { proxy, context, one, credentials } = await twoTabs('insecure')
    const before = proxy.seen.length
    const login = (credentials: { email: string; password: string }) =>
      auth.login({ ...credentials, encrypt: true }).catch((error) => error.code)
    assert.equal(await one.evaluate(login, credentials), 'CLIENT_CANNOT_ENCRYPT')
    assert.equal(proxy.seen.length, before)
    await context.close()
  })
})

const loseAnswers: FaultyProxy['decide'] = ({ path }) => (path === REFRESH ? { kind: 'lose answer' } : undefined)

function refreshIn(tab: Page): Promise<string> {
  return tab.evaluate(() => auth.refresh().then(({ access_token }) => access_token))
}

function ready(tab: Page) {
  return tab.waitForFunction(() => globalThis.auth !== undefined)
}
