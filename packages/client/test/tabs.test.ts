import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { startServer } from '../../../test/support/server.ts'
import type { AuthChange, AuthClient } from '../src/types.ts'
import { type Browser, type Locks, memoryStore, openBrowser, openClient, registerAndLogIn } from './support/clients.ts'
import { eventually, fails } from './support/expect.ts'
import { type Fault, startProxy } from './support/proxy.ts'

type FaultName = 'lose request' | 'lose answer' | 'cut answer' | 'late' | 'slow' | 500 | 503 | undefined

const REFRESH = '/auth/token/refresh'
const LOGOUT = '/auth/logout'
const server = await startServer({ AUTH_REFRESH_TRANSPORT: 'cookie', AUTH_COOKIE_SECURE: 'false' })

/** Two tabs of one browser, logged in in the first of them. */
async function twoTabs(locks?: Locks) {
  const proxy = await startProxy(server.url)
  const browser = openBrowser(proxy.url, locks)
  const [one, other] = [browser.openTab(), browser.openTab()]
  const told = new Promise((resolve) => other.onAuthChange(resolve))
  const { tokens, credentials } = await registerAndLogIn(one)
  await told
  return { proxy, browser, one, other, tokens, credentials }
}

/** What is left of a logout in another tab whose message is late. */
function rememberLogout({ storage }: Browser): void {
  for (const key of storage.keys()) if (!key.endsWith(':lease')) storage.set(key, 'null')
}

async function staysLoggedIn(...tabs: AuthClient[]): Promise<void> {
  for (const tab of tabs) {
    await tab.refresh()
    assert.ok(await tab.me())
  }
}

suite('tabs', () => {
  for (const locks of ['Web Locks', 'leases'] as const)
    test(`that refresh at once ask the server once, and all get the answer (${locks})`, async () => {
      const { proxy, browser, one, other } = await twoTabs(locks)
      const third = browser.openTab()
      const current = await third.getAccessToken()
      for (const tab of [one, other]) await eventually(async () => assert.equal(await tab.getAccessToken(), current))
      const before = proxy.of(REFRESH).length
      const answers = await Promise.all([one, other, third].map((tab) => tab.refresh()))
      assert.equal(new Set(answers.map(({ access_token }) => access_token)).size, 1)
      assert.equal(proxy.of(REFRESH).length - before, 1)
      await staysLoggedIn(one, other, third)
    })

  test('that refresh at once where no lock can be had get the same successor', async () => {
    const { proxy, one, other } = await twoTabs('no locks')
    const both = Promise.withResolvers<void>()
    let waiting = 0
    proxy.decide = ({ path }) => {
      if (path !== REFRESH || waiting === 2) return undefined
      if (++waiting === 2) both.resolve()
      return { kind: 'hold request', until: both.promise }
    }
    await Promise.all([one.refresh(), other.refresh()])
    const [first, second] = proxy.of(REFRESH)
    assert.equal(first?.headers.cookie, second?.headers.cookie)
    assert.equal(first?.headers['idempotency-key'], second?.headers['idempotency-key'])
    assert.deepEqual([first?.status, second?.status], [200, 200])
    await staysLoggedIn(one, other, one)
  })

  test('do not wait for one that hangs', async () => {
    const { proxy, browser } = await twoTabs()
    const one = browser.openTab({ requestTimeoutSeconds: 3 })
    const asked = Promise.withResolvers<void>()
    const neverAnswers = () => {
      asked.resolve()
      return new Promise<never>(() => {})
    }
    browser
      .openTab({ fetch: neverAnswers })
      .refresh()
      .catch(() => undefined)
    await asked.promise
    await one.refresh()
    assert.equal(proxy.of(REFRESH).length, 1)
  })

  test('send nothing twice when somebody steals their turn', async () => {
    const { proxy, one } = await twoTabs()
    const held = Promise.withResolvers<void>()
    proxy.decide = ({ path }) => (path === REFRESH ? { kind: 'hold request', until: held.promise } : undefined)
    const refreshed = one.refresh()
    await eventually(() => assert.equal(proxy.of(REFRESH).length, 1))
    const { held: turns } = await navigator.locks.query()
    const turn = turns?.find(({ name }) => name?.endsWith(proxy.url)) as LockInfo
    await navigator.locks.request(turn.name as string, { steal: true }, () => undefined)
    held.resolve()
    await refreshed
    assert.equal(proxy.of(REFRESH).length, 1)
  })

  test('go on when one was closed before it got its answer', async () => {
    for (const locks of ['Web Locks', 'leases'] as const) {
      const { proxy, browser, one, other } = await twoTabs(locks)
      proxy.decide = ({ path }) => (path === REFRESH ? { kind: 'lose answer' } : undefined)
      const refused = assert.rejects(other.refresh())
      await eventually(() => assert.equal(proxy.of(REFRESH).at(-1)?.status, 200))
      other.dispose()
      await refused
      proxy.decide = () => undefined
      await staysLoggedIn(one, browser.openTab())
      const keys = proxy.of(REFRESH).map(({ headers }) => headers['idempotency-key'])
      assert.equal(keys[0], keys[1])
    }
  })

  test('all learn of a logout, and a refresh in flight in another tab brings no token back', async () => {
    for (const locks of ['Web Locks', 'leases'] as const) {
      const { proxy, browser, one, other } = await twoTabs(locks)
      const told: string[] = []
      other.onAuthChange(({ kind }) => told.push(kind))
      const held = Promise.withResolvers<void>()
      proxy.decide = ({ path }) => (path === REFRESH ? { kind: 'hold answer', until: held.promise } : undefined)
      const refused = assert.rejects(other.refresh(), fails('CLIENT_ABORTED'))
      await eventually(() => assert.equal(proxy.of(REFRESH).length, 1))
      const leaving = one.logout()
      await refused
      held.resolve()
      await leaving
      assert.deepEqual([await one.getAccessToken(), await other.getAccessToken()], [null, null])
      await eventually(() => assert.deepEqual(told, ['ended']))
      const kept = [...browser.storage].filter(([key]) => !key.endsWith(':lease'))
      assert.deepEqual(
        kept.map(([, text]) => text),
        ['null'],
      )
      assert.equal(browser.cookie.value, undefined)
    }
  })

  test('that wait for their turn when another one logs out ask no more', async () => {
    const { proxy, browser, one, other } = await twoTabs()
    const held = Promise.withResolvers<void>()
    proxy.decide = ({ path }) => (path === REFRESH ? { kind: 'hold answer', until: held.promise } : undefined)
    const refused = [one, other].map((tab) => assert.rejects(tab.refresh(), fails('CLIENT_ABORTED')))
    await eventually(() => assert.equal(proxy.of(REFRESH).length, 1))
    rememberLogout(browser)
    held.resolve()
    await Promise.all(refused)
    assert.equal(proxy.of(REFRESH).length, 1)
    assert.deepEqual([...browser.storage.values()], ['null'])
  })

  test('that still hold a session which another one has ended do not bring it back', async () => {
    const { proxy, browser, other } = await twoTabs()
    const told: string[] = []
    other.onAuthChange(({ kind }) => told.push(kind))
    rememberLogout(browser)
    await assert.rejects(other.refresh(), fails('CLIENT_ABORTED'))
    assert.equal(await other.getAccessToken(), null)
    assert.deepEqual(told, ['ended'])
    assert.equal(proxy.of(REFRESH).length, 0)
    assert.deepEqual([...browser.storage.values()], ['null'])
  })

  test('that find the session again while a logout waits for the server are logged out with it', async () => {
    const { proxy, browser, one } = await twoTabs()
    const faults: Fault[] = [{ kind: 'answer', status: 503, headers: { 'retry-after': '1' } }]
    proxy.decide = ({ path }) => (path === LOGOUT ? faults.shift() : undefined)
    const leaving = one.logout()
    await eventually(() => assert.equal(proxy.of(LOGOUT).length, 1))
    const fresh = browser.openTab()
    await fresh.refresh()
    await fresh.refresh()
    const cookie = `refresh_token=${browser.cookie.value}`
    await leaving
    assert.equal(browser.cookie.value, undefined)
    await eventually(async () => assert.equal(await fresh.getAccessToken(), null))
    await assert.rejects(browser.openTab().refresh(), fails('AUTH_REFRESH_NOT_FOUND'))
    assert.equal((await server.call('POST', REFRESH, { headers: { cookie } })).body.error.code, 'AUTH_TOKEN_REVOKED')
  })

  test('cannot bring the session back while the server has not heard of its end', async () => {
    const { proxy, browser, one, other } = await twoTabs()
    const held = Promise.withResolvers<void>()
    proxy.decide = ({ path }) => (path === LOGOUT ? { kind: 'hold request', until: held.promise } : undefined)
    const leaving = one.logout()
    assert.equal(await one.getAccessToken(), null)
    const refused = assert.rejects(one.refresh(), fails('AUTH_REFRESH_NOT_FOUND'))
    held.resolve()
    await Promise.all([leaving, refused])
    assert.deepEqual([await one.getAccessToken(), await other.getAccessToken()], [null, null])
    assert.equal(browser.cookie.value, undefined)
  })

  test('all learn why the server ended the session', async () => {
    const { browser, one, other } = await twoTabs()
    const told: AuthChange[] = []
    other.onAuthChange((state) => told.push(state))
    await server.call('POST', LOGOUT, { headers: { cookie: `refresh_token=${browser.cookie.value}` } })
    await assert.rejects(one.refresh(), fails('AUTH_TOKEN_REVOKED'))
    await eventually(() => assert.deepEqual(told, [{ kind: 'ended', reason: 'AUTH_TOKEN_REVOKED' }]))
  })

  test('that are overtaken by a login of another one hand out its token', async () => {
    const { proxy, browser, one, other } = await twoTabs('no locks')
    for (const tab of [one, other]) tab.dispose()
    const held = Promise.withResolvers<void>()
    const faults: Fault[] = [{ kind: 'hold answer', until: held.promise }]
    proxy.decide = ({ path }) => (path === REFRESH ? faults.shift() : undefined)
    const fresh = browser.openTab()
    const token = fresh.getAccessToken()
    await eventually(() => assert.equal(proxy.of(REFRESH)[0]?.status, 200))
    const told = new Promise((resolve) => fresh.onAuthChange(resolve))
    const { tokens } = await registerAndLogIn(browser.openTab())
    await told
    held.resolve()
    assert.equal(await token, tokens.access_token)
  })

  test('all learn of a login, by whomever', async () => {
    const { one, other, credentials } = await twoTabs()
    const { tokens } = await registerAndLogIn(other)
    await eventually(async () => assert.equal(await one.getAccessToken(), tokens.access_token))
    assert.notEqual((await one.me()).email, credentials.email)
  })

  test('keep no token in storage', async () => {
    const { proxy, browser, one, tokens } = await twoTabs()
    const { access_token } = await one.refresh()
    const stored = JSON.stringify([...browser.storage])
    assert.match(stored, /"key/)
    for (const secret of [access_token, tokens.access_token, browser.cookie.value as string])
      assert.ok(!stored.includes(secret))
    assert.ok(proxy.of(REFRESH).every(({ body }) => body.refresh_token === undefined))
  })

  test('that are loaded again go on with the session', async () => {
    const { browser, one } = await twoTabs()
    one.dispose()
    const reloaded = browser.openTab()
    assert.ok(await reloaded.getAccessToken())
    assert.ok(await reloaded.me())
  })

  test('find a session made by other means when told to refresh, and that too survives a lost answer', async () => {
    const { proxy, browser, one, other } = await twoTabs()
    for (const tab of [one, other]) tab.dispose()
    browser.storage.clear()
    const fresh = browser.openTab({ attempts: 1 })
    assert.equal(await fresh.getAccessToken(), null)
    const faults: Fault[] = [{ kind: 'lose answer' }]
    proxy.decide = ({ path }) => (path === REFRESH ? faults.shift() : undefined)
    await assert.rejects(fresh.refresh(), fails('CLIENT_NETWORK'))
    fresh.dispose()
    await staysLoggedIn(browser.openTab())
  })

  test('log out the session that they see, not a later one', async () => {
    const { proxy, one, other, credentials } = await twoTabs()
    const faults: Fault[] = [{ kind: 'lose request' }]
    proxy.decide = ({ path }) => (path === LOGOUT ? faults.shift() : undefined)
    const leaving = one.logout()
    const entering = other.login(credentials)
    await Promise.all([leaving, entering])
    assert.ok(await other.me())
    await staysLoggedIn(other)
  })
})

suite('tabs with a store', () => {
  async function storeTabs(load: (text: string | null) => Promise<string | null>) {
    const inBody = await startServer()
    const browser = openBrowser(inBody.url)
    const store = memoryStore()
    const one = browser.openTab({ store })
    const other = browser.openTab({ store: { ...store, clear: () => store.clear(), load: () => load(store.text) } })
    return { one, other }
  }

  test('that log out while they look whose a login is stay logged out', async () => {
    const looking = Promise.withResolvers<void>()
    const looked = Promise.withResolvers<void>()
    const { one, other } = await storeTabs(async (text) => {
      looking.resolve()
      await looked.promise
      return text
    })
    await registerAndLogIn(one)
    await looking.promise
    const leaving = other.logout()
    looked.resolve()
    await leaving
    assert.equal(await other.getAccessToken(), null)
  })

  test('bear a store that cannot be read', async () => {
    const asked = Promise.withResolvers<void>()
    const { one, other } = await storeTabs(async () => {
      asked.resolve()
      throw new Error('the keychain is locked')
    })
    await registerAndLogIn(one)
    await asked.promise
    await assert.rejects(other.getAccessToken(), fails('CLIENT_STORE'))
  })
})

suite('whatever the network and the tabs do', () => {
  const fault = fc.constantFrom<FaultName[]>(
    undefined,
    'slow',
    'slow',
    'lose request',
    'lose answer',
    'cut answer',
    'late',
    500,
    503,
  )
  const action = fc.record({
    tab: fc.nat(2),
    what: fc.constantFrom('refresh', 'refresh', 'fetch', 'reload'),
    isAwaited: fc.boolean(),
  })

  for (const locks of ['Web Locks', 'leases'] as const)
    test(`nobody is logged out (${locks})`, async () => {
      const proxy = await startProxy(server.url)
      const world = fc.asyncProperty(
        fc.array(action, { minLength: 2, maxLength: 8 }),
        fc.array(fault, { maxLength: 12 }),
        async (actions, faults) => {
          const coming = [...faults]
          proxy.decide = () => undefined
          proxy.seen.length = 0
          const browser = openBrowser(proxy.url, locks)
          const open = () => browser.openTab({ attempts: 2, requestTimeoutSeconds: 0.25 })
          await registerAndLogIn(browser.openTab())
          const tabs = [open(), open(), open()]
          proxy.decide = ({ path }) => (path === REFRESH ? faultNamed(coming.shift()) : undefined)

          const running: Promise<unknown>[] = []
          for (const { tab, what, isAwaited } of actions) {
            if (what === 'reload') {
              tabs[tab]?.dispose()
              tabs[tab] = open()
            }
            const client = tabs[tab] as AuthClient
            const done = what === 'refresh' ? client.refresh() : client.getAccessToken()
            running.push(done.catch(() => undefined))
            if (isAwaited) await running.at(-1)
          }
          await Promise.all(running)
          proxy.decide = () => undefined
          await eventually(() => staysLoggedIn(...tabs))
          for (const tab of tabs) tab.dispose()
          assert.deepEqual(
            proxy.of(REFRESH).filter(({ code }) => code),
            [],
          )
        },
      )
      await fc.assert(world, { numRuns: 40 })
    })

  test('clients that share a store stay logged in', async () => {
    const inBody = await startServer()
    const proxy = await startProxy(inBody.url)
    const world = fc.asyncProperty(fc.array(fault, { maxLength: 6 }), fc.nat(3), async (faults, rounds) => {
      const coming = [...faults]
      proxy.decide = () => undefined
      proxy.seen.length = 0
      const store = memoryStore()
      const [one, other] = [1, 2].map(() =>
        openClient({ baseUrl: proxy.url, store, attempts: 2, requestTimeoutSeconds: 0.25 }),
      ) as [AuthClient, AuthClient]
      await registerAndLogIn(openClient({ baseUrl: proxy.url, store }))
      proxy.decide = ({ path }) => (path === REFRESH ? faultNamed(coming.shift()) : undefined)
      for (let round = 0; round <= rounds; round++) {
        await one.refresh().catch(() => undefined)
        await other.refresh().catch(() => undefined)
      }
      proxy.decide = () => undefined
      await eventually(() => staysLoggedIn(one, other))
      one.dispose()
      other.dispose()
      assert.deepEqual(
        proxy.of(REFRESH).filter(({ code }) => code),
        [],
      )
    })
    await fc.assert(world, { numRuns: 20 })
  })
})

function faultNamed(name: FaultName): Fault | undefined {
  if (typeof name === 'number') return { kind: 'answer', status: name }
  if (name === 'late') return { kind: 'hold answer', until: new Promise((resolve) => setTimeout(resolve, 350)) }
  if (name === 'slow') return { kind: 'hold body', until: new Promise((resolve) => setTimeout(resolve, 100)) }
  return name && { kind: name }
}
