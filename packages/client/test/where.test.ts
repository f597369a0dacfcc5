/** docs/where.md, row by row: its settings let a page log in, and what is wrong looks as it says. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import type { BrowserContext, Page } from 'playwright-core'
import { isThere } from '../../../test/support/certificates.ts'
import { linesOf } from '../../../test/support/log.ts'
import {
  type Environment,
  freshEnvironment,
  type RunningProcess,
  registerSomebody,
  type Server,
  startProcess,
  startServer,
} from '../../../test/support/server.ts'
import type { AuthClient } from '../src/types.ts'
import { launchChromium, openProfile, withChromium } from './support/chromium.ts'
import { memoryStore, openClient } from './support/clients.ts'
import { eventually } from './support/expect.ts'
import { startFront, type Way } from './support/front.ts'

declare global {
  var auth: AuthClient
}

interface Row {
  name: string
  /** Those of the row, with the page's origin as the page of documents writes it. */
  settings: Environment
  /** The variables that are other ones when it is wrong; undefined for one that is left out. */
  wrong: Record<string, string | undefined>
  /** What is wrong looks like. */
  looks: string
}

interface Place {
  /** Origin of the page, as the settings name it; a port of its own comes in place of the one there. */
  page: string
  /** Origin of the module, when it is not the page's. */
  auth?: string
  way: Way
  /** In front of the module's paths. */
  prefix?: string
  hasStore?: boolean
}

const PLACES: Record<string, Place> = {
  'one origin': { page: 'https://app.example.com', way: 'proxy' },
  'one origin, under a prefix': { page: 'https://app.example.com', way: 'proxy', prefix: '/api' },
  'another subdomain': { page: 'https://app.example.com', auth: 'https://auth.example.com', way: 'proxy' },
  'apps on two subdomains': { page: 'https://app.example.com', auth: 'https://auth.example.com', way: 'proxy' },
  'another site, by cookie': { page: 'https://app.example.net', auth: 'https://auth.example.com', way: 'proxy' },
  'another site, by body': {
    page: 'https://app.example.net',
    auth: 'https://auth.example.com',
    way: 'proxy',
    hasStore: true,
  },
  'Vite’s proxy, as a string': { page: 'http://localhost:5173', way: 'Vite, string' },
  'Vite’s proxy, `changeOrigin: false`': { page: 'http://localhost:5173', way: 'Vite, object' },
  'Next’s rewrites': { page: 'http://localhost:3001', way: 'Next' },
  'localhost, another port': { page: 'http://localhost:5173', auth: 'http://localhost:3000', way: 'Vite, object' },
  'a web view': { page: 'https://localhost', auth: 'https://auth.example.com', way: 'proxy', hasStore: true },
}
const MAPPED = '--host-resolver-rules=MAP * 127.0.0.1'
const OTHER_SITE = 'another site, by cookie'
const TWO_APPS = 'apps on two subdomains'
/** No page, so no browser either. */
const NATIVE = 'native apps and servers'

const table = readFileSync(join(import.meta.dirname, '../../../docs/where.md'), 'utf8').match(/^\| \*\*.*$/gm) ?? []
const rows = table.map((line): Row => {
  const [, name = '', settings = '', wrong = '', looks = ''] = line.split('|').map((cell) => cell.trim())
  return { name: name.replaceAll('**', ''), settings: variablesIn(settings), wrong: variablesIn(wrong), looks }
})

/** One without a value is undefined. */
function variablesIn(cell: string): Record<string, string> {
  return Object.fromEntries([...cell.matchAll(/`(AUTH_\w+)(?:=(.*?))?`/g)].map(([, name, value]) => [name, value]))
}

function rowOf(name: string): Row {
  const row = rows.find((row) => row.name === name)
  assert.ok(row, `docs/where.md has a row for ${name}`)
  return row
}

/** The settings of a row, or the wrong ones. */
function environmentOf({ settings, wrong }: Row, kind: 'right' | 'wrong', withPort: (text: string) => string) {
  const all = Object.entries(kind === 'right' ? settings : { ...settings, ...wrong })
  return Object.fromEntries(all.flatMap(([name, value]) => (value === undefined ? [] : [[name, withPort(value)]])))
}

test('docs/where.md has a row for each case here, and each of its rows is run', () => {
  assert.deepEqual(rows.map(({ name }) => name).sort(), [...Object.keys(PLACES), NATIVE].sort())
})

const skip = withChromium.skip || (!isThere('openssl') && 'openssl is not installed')

suite('a page on', { skip }, async () => {
  if (skip) return
  const browser = await launchChromium(MAPPED)
  /** It blocks third-party cookies, unlike a window of a profile. */
  const newPrivateWindow = () => browser.newContext({ ignoreHTTPSErrors: true })

  /** The fronts of a place, and how an origin of the page of documents is called here. */
  async function build({ page, auth, way, prefix }: Place) {
    const pages = await startFront(new URL(page).protocol, way, prefix)
    const module = auth ? await startFront(new URL(auth).protocol, way) : pages
    const withPort = (text: string) =>
      text.replace(/https?:\/\/[\w.]+(:\d+)?/g, (origin) =>
        origin === 'http://127.0.0.1:3000' ? module.target : `${origin.replace(/:\d+$/, '')}:${pages.port}`,
      )
    const baseUrl = auth ? `${auth.replace(/:\d+$/, '')}:${module.port}` : (prefix ?? '')
    return { pages, module, baseUrl, withPort }
  }

  async function open(context: BrowserContext, origin: string, baseUrl: string, hasStore = false): Promise<Page> {
    const page = await context.newPage()
    await page.goto(`${origin}/?${new URLSearchParams({ baseUrl, ...(hasStore && { store: '' }) })}`)
    await ready(page)
    return page
  }

  /** The whole of a visit in a browser. */
  async function visit(
    context: BrowserContext,
    place: Place,
    { pages, module, baseUrl, withPort }: Site,
    server: Server,
  ) {
    pages.target = module.target = server.url
    const credentials = await registerSomebody(server)
    const page = await open(context, withPort(place.page), baseUrl, place.hasStore)
    try {
      return await outcomeOf(page, credentials)
    } finally {
      await context.close()
    }
  }
  type Site = Awaited<ReturnType<typeof build>>

  for (const [name, place] of Object.entries(PLACES).filter(([name]) => name !== TWO_APPS)) {
    const openWindow = () => (name === OTHER_SITE ? openProfile(MAPPED) : newPrivateWindow())

    test(`${name} logs in, reloads, and logs out, with the settings of its row`, async () => {
      const site = await build(place)
      const server = await startServer(environmentOf(rowOf(name), 'right', site.withPort))
      assert.equal(await visit(await openWindow(), place, site, server), 'works')
    })

    test(`${name} with the wrong settings looks as its row says`, async () => {
      const row = rowOf(name)
      const site = await build(place)
      const server = await startProcess(await freshEnvironment(environmentOf(row, 'wrong', site.withPort)))
      assert.equal(await visit(await openWindow(), place, site, server), row.looks.replaceAll('`', '').split(';')[0])
      const expected = /expected `(.*?)`/.exec(row.looks)?.[1]
      const told = expected ? [{ seen: site.withPort(place.page), expected: site.withPort(expected) }] : []
      await eventually(() => assert.deepEqual(refusalsOf(server), told))
    })
  }

  for (const [kind, end] of [
    ['right', 'may refresh at once'],
    ['wrong', 'lose it without grace'],
  ] as const)
    test(`${TWO_APPS} share a session, and ${end}`, async () => {
      const place = PLACES[TWO_APPS] as Place
      const row = rowOf(TWO_APPS)
      const { pages, module, baseUrl, withPort } = await build(place)
      const server = await startProcess(await freshEnvironment(environmentOf(row, kind, withPort)))
      pages.target = module.target = server.url
      const context = await newPrivateWindow()
      const one = await open(context, withPort(place.page), baseUrl)
      const other = await open(context, withPort('https://shop.example.com'), baseUrl)
      const credentials = await registerSomebody(server)
      await one.evaluate((credentials) => auth.login(credentials), credentials)
      await other.evaluate(() => auth.refresh())

      const both = Promise.withResolvers<void>()
      let waiting = 0
      module.hold = async (request) => {
        if (request !== 'POST /auth/token/refresh') return
        if (++waiting === 2) both.resolve()
        await both.promise
      }
      const refresh = (page: Page) =>
        page.evaluate(() =>
          auth.refresh().then(
            () => 'works',
            ({ code }) => code,
          ),
        )
      const ends = await Promise.all([refresh(one), refresh(other)])
      module.hold = async () => {}
      if (kind === 'right') {
        assert.deepEqual(ends, ['works', 'works'])
        for (const page of [one, other, one]) assert.equal(await refresh(page), 'works')
      } else {
        assert.ok(
          ends.some((end) => row.looks.includes(`\`${end}\``)),
          String(ends),
        )
        await eventually(() => assert.ok(linesOf(server).some(({ event }) => row.looks.includes(`\`${event}\``))))
      }
      await context.close()
    })

  test('another site finds nobody after a reload in a window that blocks third-party cookies', async () => {
    const place = PLACES[OTHER_SITE] as Place
    const site = await build(place)
    const server = await startServer(environmentOf(rowOf(OTHER_SITE), 'right', site.withPort))
    const context = await newPrivateWindow()
    assert.equal(await visit(context, place, site, server), 'reload: AUTH_REFRESH_NOT_FOUND')
  })

  test('file:// cannot log in', async () => {
    const server = await startServer({ AUTH_CORS_ORIGINS: 'http://localhost:5173' })
    const front = await startFront('http:', 'proxy')
    const page = await browser.newPage()
    await page.goto(`file://${import.meta.filename}`)
    const login = async ([code = '', baseUrl = '']: string[]) => {
      const { createAuthClient } = await import(code)
      return createAuthClient({ baseUrl, attempts: 1 })
        .login({ email: 'ada@example.com', password: 'correct horse 7' })
        .catch((error: { code: string }) => error.code)
    }
    const code = await page.evaluate(login, [`http://localhost:${front.port}/dist/index.js`, server.url])
    assert.equal(code, 'CLIENT_NETWORK')
    await page.close()
  })
})

suite(NATIVE, () => {
  const row = rowOf(NATIVE)
  const start = (kind: 'right' | 'wrong') => startServer(environmentOf(row, kind, (text) => text))

  test('log in, start anew, and log out, with the settings of their row', async () => {
    const server = await start('right')
    const options = { baseUrl: server.url, store: memoryStore() }
    const first = openClient(options)
    await first.login(await registerSomebody(server))
    first.dispose()
    const again = openClient(options)
    await again.refresh()
    assert.ok(await again.me())
    await again.logout()
    assert.equal(await again.getAccessToken(), null)
  })

  test('with the wrong settings are told so as their row says', async () => {
    const server = await start('wrong')
    const client = openClient({ baseUrl: server.url, store: memoryStore() })
    await assert.rejects(client.login(await registerSomebody(server)), ({ code }) => row.looks.includes(`\`${code}\``))
  })
})

/** @returns 'works', or the step that failed, and with which code */
async function outcomeOf(page: Page, credentials: { email: string; password: string }): Promise<string> {
  const refused = await page.evaluate(
    (credentials) =>
      auth.login(credentials).then(
        () => '',
        ({ code }) => code,
      ),
    credentials,
  )
  if (refused) return `login: ${refused}`
  await page.reload()
  await ready(page)
  const lost = await page.evaluate(() =>
    auth.refresh().then(
      () => '',
      ({ code }) => code,
    ),
  )
  if (lost) return `reload: ${lost}`
  assert.equal(await page.evaluate(() => auth.me().then(({ email }) => email)), credentials.email)
  await page.evaluate(() => auth.logout())
  await page.reload()
  await ready(page)
  assert.equal(await page.evaluate(() => auth.getAccessToken()), null)
  return 'works'
}

function ready(page: Page) {
  return page.waitForFunction(() => globalThis.auth !== undefined)
}

function refusalsOf(server: RunningProcess) {
  const lines = linesOf(server).filter(({ event }) => event === 'auth.origin_refused')
  return lines.map(({ origin_seen: seen, origin_expected: expected }) => ({ seen, expected }))
}
