/** The Chromium of this machine, without which tests in it are skipped. */
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { after } from 'node:test'
import { type Browser, type BrowserContext, chromium } from 'playwright-core'

const folders = (process.env.PATH ?? '').split(delimiter)
const executablePath = folders.map((folder) => join(folder, 'chromium')).find((path) => existsSync(path))

/** An option for suites. */
export const withChromium = { skip: !executablePath && 'there is no chromium on the PATH' }

const ARGUMENTS = ['--no-sandbox', '--disable-background-networking']
/** Until it has started, on a slow machine. */
const PATIENCE_MS = 120_000

/** Closed when the test file ends. */
export async function launchChromium(...more: string[]): Promise<Browser> {
  const args = [...ARGUMENTS, ...more]
  const browser = await chromium.launch({ executablePath: executablePath as string, args, timeout: PATIENCE_MS })
  after(() => browser.close())
  return browser
}

/** A window of a new profile that allows third-party cookies, which the other contexts, private windows, do not. */
export async function openProfile(...more: string[]): Promise<BrowserContext> {
  const folder = await mkdtemp(join(tmpdir(), 'cerrojo-profile-'))
  await mkdir(join(folder, 'Default'))
  const preferences = { profile: { cookie_controls_mode: 0, block_third_party_cookies: false } }
  await writeFile(join(folder, 'Default/Preferences'), JSON.stringify(preferences))
  const context = await chromium.launchPersistentContext(folder, {
    executablePath: executablePath as string,
    args: [...ARGUMENTS, ...more],
    ignoreHTTPSErrors: true,
    timeout: PATIENCE_MS,
  })
  context.on('close', () => rm(folder, { recursive: true, force: true, maxRetries: 10 }))
  return context
}
