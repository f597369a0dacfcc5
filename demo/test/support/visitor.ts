/** The demo and a browser for a test file, and visitors: each has cookies, storage and tabs of its own. */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { after, suite, test } from 'node:test'
import {
  type Browser,
  type BrowserContext,
  type BrowserContextOptions,
  chromium,
  type Page,
  type Request,
} from 'playwright-core'
import { newCredentials } from '../../../test/support/server.ts'
import { type Demo, startDemo } from '../../server.ts'

export const REFRESH = '/auth/token/refresh'

/** Quick hashing and no limits. */
const SETTINGS = {
  AUTH_BCRYPT_ROUNDS: '4',
  AUTH_RATE_LIMIT_LOGIN: '0',
  AUTH_RATE_LIMIT_REGISTER: '0',
  AUTH_RATE_LIMIT_REFRESH: '0',
  AUTH_RATE_LIMIT_FAILURES: '0',
}
const PATIENCE_MS = 60_000
/** What Chromium calls an error after every session's end: the page asks both servers until they refuse. */
const REFUSED_AT_THE_END = /^\/(notes\/claims|greeting): .* status of 401/

const folders = (process.env.PATH ?? '').split(delimiter)
const executablePath = folders.map((folder) => join(folder, 'chromium')).find((path) => existsSync(path))

export interface Place {
  demo: Demo
  browser: Browser
}

export interface Visitor {
  context: BrowserContext
  credentials: { email: string; password: string }
  /** The requests of all tabs so far to one path, oldest first. */
  of(path: string): Request[]
  /** Opens the page in a new tab, and waits until it knows whether somebody is logged in. */
  open(): Promise<Page>
  /** Opens it and registers, which logs in, and waits until everything is shown. */
  enter(): Promise<Page>
}

interface VisitOptions extends BrowserContextOptions {
  /** What the test itself makes Chromium log, since that calls each failed request an error: "/path: text". */
  causes?: RegExp[]
}

type Visit = (name: string, options: VisitOptions, body: (visitor: Visitor, place: Place) => Promise<void>) => void

/** Tests that share one demo and one browser; skipped where there is no Chromium. */
export function inChromium(name: string, define: (visit: Visit) => void): void {
  suite(name, { skip: !executablePath && 'there is no chromium on the PATH' }, async () => {
    if (!executablePath) return
    const folder = await mkdtemp(join(tmpdir(), 'cerrojo-demo-'))
    const demo = await startDemo({ folder, port: 0, settings: SETTINGS })
    const browser = await chromium.launch({
      executablePath,
      args: ['--no-sandbox', '--disable-background-networking'],
      timeout: 2 * PATIENCE_MS,
    })
    after(async () => {
      await browser.close()
      await demo.close()
      await rm(folder, { recursive: true, force: true, maxRetries: 10 })
    })
    const place = { demo, browser }
    define((name, options, body) => {
      test(name, () => withVisitor(place, options, body))
    })
  })
}

/** A visit in which Chromium logs an error that the test does not cause, or warns, fails. */
export async function withVisitor(
  place: Place,
  { causes = [], ...options }: VisitOptions,
  body: (visitor: Visitor, place: Place) => Promise<void>,
): Promise<void> {
  const context = await place.browser.newContext(options)
  context.setDefaultTimeout(PATIENCE_MS)
  const problems: string[] = []
  const isExpected = (problem: string) => [REFUSED_AT_THE_END, ...causes].some((cause) => cause.test(problem))
  const requests: Request[] = []
  context.on('request', (request) => requests.push(request))
  context.on('weberror', (error) => problems.push(error.error().message))
  context.on('console', (message) => {
    const problem = `${URL.parse(message.location().url)?.pathname}: ${message.text()}`
    if (/error|warning/.test(message.type()) && !isExpected(problem)) problems.push(problem)
  })

  const credentials = newCredentials()
  const visitor: Visitor = {
    context,
    credentials,
    of: (path) => requests.filter((request) => new URL(request.url()).pathname === path),
    async open() {
      const tab = await context.newPage()
      await tab.goto(place.demo.url)
      await tab.locator('#state:is([data-state=in], [data-state=out])').waitFor()
      return tab
    },
    async enter() {
      const tab = await visitor.open()
      await fillIn(tab, credentials)
      await press(tab, 'Create account')
      await loggedIn(tab)
      return tab
    },
  }
  try {
    await body(visitor, place)
  } finally {
    await context.close()
  }
  assert.deepEqual(problems, [], 'in the console')
}

export async function fillIn(tab: Page, { email, password }: { email: string; password: string }): Promise<void> {
  await tab.getByLabel('Email').fill(email)
  await tab.getByLabel('Password').fill(password)
}

/** Clicks, and waits until the button has done its work or is gone. */
export async function press(tab: Page, name: string): Promise<void> {
  const button = tab.getByRole('button', { name, exact: true })
  await button.click()
  await button.and(tab.locator('[aria-busy=true]')).waitFor({ state: 'hidden' })
}

/** Waits for what the page tells, also to those who do not see it. */
export async function status(tab: Page, text: string | RegExp): Promise<void> {
  await tab.getByRole('status').filter({ hasText: text }).waitFor()
}

/** Waits until the page shows everything that it shows after a login. */
export async function loggedIn(tab: Page): Promise<void> {
  await tab.locator('#state').filter({ hasText: 'Logged in' }).waitFor()
  await tab.locator('#user dd').last().waitFor()
  await tab.locator('#claims dd').last().waitFor()
  await tab.locator('#notes li').first().waitFor()
}

export async function loggedOut(tab: Page): Promise<void> {
  await tab.locator('#state').filter({ hasText: 'Logged out' }).waitFor()
  await tab.getByRole('button', { name: 'Log in', exact: true }).waitFor()
}

/** A value of the account, the outer header or the inner claims, by its name; waits until it is shown. */
export async function fact(tab: Page, list: 'user' | 'header' | 'claims', name: string): Promise<string> {
  const term = tab.locator(`#${list} dt`).filter({ hasText: new RegExp(`^${name}$`) })
  return (await term.locator('+ dd').textContent()) as string
}

/** The Idempotency-Keys of requests. */
export function keysOf(requests: Request[]): Promise<(string | null)[]> {
  return Promise.all(requests.map((request) => request.headerValue('idempotency-key')))
}
