/** What happens to a session in real tabs, with real cookies, on a network that fails. */
import assert from 'node:assert/strict'
import { setTimeout as pause } from 'node:timers/promises'
import type { Page } from 'playwright-core'
import { until } from '../../test/support/wait.ts'
import { fact, inChromium, keysOf, loggedIn, loggedOut, press, REFRESH, status } from './support/visitor.ts'

const ROUNDS = 50

inChromium('a session', (visit) => {
  visit('stays in two tabs that refresh at once, over and over', {}, async (visitor) => {
    const one = await visitor.enter()
    const other = await visitor.open()
    await loggedIn(other)
    const session = await fact(one, 'claims', 'sid')
    for (let round = 1; round <= ROUNDS; round++) await Promise.all([one, other].map(refreshIn))
    for (const tab of [one, other]) {
      await press(tab, 'Who am I?')
      await status(tab, visitor.credentials.email)
      assert.equal(await fact(tab, 'claims', 'sid'), session)
    }
    const answers = await Promise.all(visitor.of(REFRESH).map((request) => request.response()))
    assert.ok(answers.length >= ROUNDS)
    assert.deepEqual([...new Set(answers.map((answer) => answer?.status()))], [200])
  })

  visit('survives a reload, and many', {}, async (visitor) => {
    const tab = await visitor.enter()
    const session = await fact(tab, 'claims', 'sid')
    await tab.getByLabel('New note').fill('Still here')
    await press(tab, 'Add note')
    for (let round = 1; round <= 5; round++) {
      await tab.reload()
      await loggedIn(tab)
      assert.equal(await fact(tab, 'claims', 'sid'), session)
    }
    assert.match((await tab.locator('#notes').textContent()) ?? '', /Still here/)
  })

  const cut = /^\/auth\/token\/refresh: .*ERR_CONTENT_LENGTH_MISMATCH/
  visit('repeats with the same key a refresh whose answer was cut off', { causes: [cut] }, async (visitor) => {
    const tab = await visitor.enter()
    const session = await fact(tab, 'claims', 'sid')
    const before = await cookieOf(tab)
    await tab.evaluate(() => fetch('/auth/demo-only/cut-next-answer', { method: 'POST' }))
    await press(tab, 'Refresh now')
    await status(tab, 'There is a new access token')
    const requests = visitor.of(REFRESH)
    const [key, again] = await keysOf(requests)
    assert.equal(requests.length, 2)
    assert.ok(requests[0]?.failure(), 'the first was cut off')
    assert.ok(key)
    assert.equal(key, again)
    assert.notEqual(await cookieOf(tab), before)

    await press(tab, 'Refresh now')
    assert.notEqual((await keysOf(visitor.of(REFRESH)))[2], key, 'and the next one has a key of its own')
    assert.equal(await fact(tab, 'claims', 'sid'), session)
  })

  const unreachable = /^\/(auth\/token\/refresh|notes): .*ERR_INTERNET_DISCONNECTED/
  visit('waits while offline, and goes on when back', { causes: [unreachable] }, async (visitor) => {
    const tab = await visitor.enter()
    const session = await fact(tab, 'claims', 'sid')
    await visitor.context.setOffline(true)
    await tab.locator('#state').filter({ hasText: 'Offline' }).waitFor()
    await status(tab, 'You are offline.')
    await press(tab, 'Refresh now')
    await status(tab, 'No answer came. Nothing is lost: try again.')

    await visitor.context.setOffline(false)
    await status(tab, 'You are online again.')
    await loggedIn(tab)
    await press(tab, 'Refresh now')
    await status(tab, 'There is a new access token')
    assert.equal(await fact(tab, 'claims', 'sid'), session)
  })

  const failed = /^\/auth\/(token\/refresh|logout): .*(ERR_FAILED|status of 503)/
  visit('shows the token that came after an outage', { causes: [failed] }, async (visitor) => {
    const { clock } = visitor.context
    await clock.install()
    const tab = await visitor.enter()
    const id = await fact(tab, 'header', 'jti')
    await tab.route(`**${REFRESH}`, (route) => route.abort())
    await clock.fastForward('02:05')
    await tab.locator('#time-left').filter({ hasText: 'ended' }).waitFor()
    await until('four tries', () => visitor.of(REFRESH).length >= 4)

    await tab.unroute(`**${REFRESH}`)
    await until('the next token', async () => {
      await clock.fastForward('00:09') // less than a request may take
      await pause(300)
      return (await fact(tab, 'header', 'jti')) !== id
    })
  })

  visit('is not said to be over while the server gives no answer', { causes: [failed] }, async (visitor) => {
    const tab = await visitor.enter()
    const body = JSON.stringify({ error: { code: 'AUTH_UNAVAILABLE', message: 'Try again' } })
    await tab.route(`**${REFRESH}`, (route) => route.fulfill({ status: 503, body }))
    const refused = tab.waitForResponse(`**${REFRESH}`)
    await tab.reload()
    await refused
    assert.equal(await tab.locator('#state').textContent(), 'Loading')
    await tab.locator('#state').filter({ hasText: 'No answer' }).waitFor()
    await status(tab, 'Try again (AUTH_UNAVAILABLE)')

    await tab.unroute(`**${REFRESH}`)
    await tab.reload()
    await loggedIn(tab)
  })

  visit('ends here though the server hears nothing of it', { causes: [failed] }, async (visitor) => {
    const tab = await visitor.enter()
    await tab.route('**/auth/logout', (route) => route.abort())
    await press(tab, 'Log out')
    await loggedOut(tab)
    await status(tab, 'You are logged out here, but the server could not be told')
  })

  visit('tells no story of a lost answer when another tab was quicker', { causes: [cut] }, async (visitor) => {
    const other = await visitor.enter()
    const gate = Promise.withResolvers<void>()
    await other.route(`**${REFRESH}`, async (route) => {
      const response = await route.fetch()
      await gate.promise
      await route.fulfill({ response })
    })
    const one = await visitor.open()
    await loggedIn(one)
    const before = await cookieOf(one)
    const refreshed = refreshIn(other)
    await until('the answer that is held', async () => (await cookieOf(one)) !== before)

    const button = one.getByRole('button', { name: 'Drop the answer of a refresh' })
    await button.click()
    await one.waitForFunction(async () => (await navigator.locks.query()).pending?.length)
    gate.resolve()
    await refreshed
    await status(one, 'Another tab refreshed first')
    assert.equal(await one.locator('.steps li').count(), 0)

    await button.click()
    await status(one, 'An answer was lost, and the retry succeeded.')
  })

  visit('ends in all tabs at once', {}, async (visitor) => {
    const one = await visitor.enter()
    const other = await visitor.open()
    await loggedIn(other)
    await press(one, 'Log out')
    for (const tab of [one, other]) {
      await loggedOut(tab)
      await status(tab, 'You are logged out, in every tab.')
      assert.equal(await tab.locator('#claims').isVisible(), false)
    }
    await other.reload()
    await loggedOut(other)
  })

  visit('begins in all tabs at once', {}, async (visitor) => {
    const other = await visitor.open()
    await loggedOut(other)
    const one = await visitor.enter()
    await loggedIn(other)
    assert.equal(await fact(other, 'claims', 'sid'), await fact(one, 'claims', 'sid'))
  })

  visit('leaves no token in any storage', {}, async (visitor) => {
    const tokens: string[] = []
    visitor.context.on('response', async (response) => {
      if (!/\/auth\/(login|token\/refresh)$/.test(response.url())) return
      assert.equal(response.headers()['cache-control'], 'no-store')
      tokens.push((await response.json()).access_token)
    })

    async function nothingStored(tab: Page, tokensSoFar: number): Promise<void> {
      assert.equal(tokens.length, tokensSoFar)
      const [cookie, ...others] = await visitor.context.cookies(`${tab.url()}auth/`)
      assert.ok(cookie)
      assert.deepEqual(others, [])
      assert.deepEqual(
        { httpOnly: cookie.httpOnly, sameSite: cookie.sameSite, path: cookie.path },
        { httpOnly: true, sameSite: 'Strict', path: '/auth' },
      )
      const stored = await storedIn(tab)
      assert.match(stored, /cerrojo:/, 'the key of the next refresh is there to be found')
      for (const secret of [...tokens, cookie.value].flatMap((token) => token.split('.')))
        assert.ok(!stored.includes(secret))
    }

    const tab = await visitor.enter()
    await nothingStored(tab, 1)
    await press(tab, 'Refresh now')
    await nothingStored(tab, 2)
    await tab.reload()
    await loggedIn(tab)
    await nothingStored(tab, 3)
  })
})

/** Clicks from within, since a tab in the background takes its time for a mouse. */
function refreshIn(tab: Page): Promise<void> {
  return tab.getByRole('button', { name: 'Refresh now' }).evaluate(
    (button: HTMLElement) =>
      new Promise((resolve) => {
        const observer = new MutationObserver(() => {
          if (button.ariaBusy === 'true') return
          observer.disconnect()
          resolve()
        })
        observer.observe(button, { attributeFilter: ['aria-busy'] })
        button.click()
      }),
  )
}

async function cookieOf(tab: Page): Promise<string | undefined> {
  const [cookie] = await tab.context().cookies(`${tab.url()}auth/`)
  return cookie?.value
}

/** All that a script of this origin could read, now or later; databases, caches and workers there are none. */
async function storedIn(tab: Page): Promise<string> {
  const { readable, others } = await tab.evaluate(async () => ({
    readable: [{ ...localStorage }, { ...sessionStorage }, document.cookie, location.href, name, history.state],
    others: [
      await indexedDB.databases(),
      await caches.keys(),
      await navigator.serviceWorker.getRegistrations(),
      await Array.fromAsync((await navigator.storage.getDirectory()).keys()),
    ],
  }))
  assert.deepEqual(others, [[], [], [], []])
  return JSON.stringify(readable)
}
