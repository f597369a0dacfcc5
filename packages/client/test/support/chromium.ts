/** The Chromium of this machine, without which tests in it are skipped. */
import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { after } from 'node:test'
import { type Browser, chromium } from 'playwright-core'

const folders = (process.env.PATH ?? '').split(delimiter)
const executablePath = folders.map((folder) => join(folder, 'chromium')).find((path) => existsSync(path))

/** An option for suites. */
export const withChromium = { skip: !executablePath && 'there is no chromium on the PATH' }

/** Closed when the test file ends. */
export async function launchChromium(...more: string[]): Promise<Browser> {
  const args = ['--no-sandbox', '--disable-background-networking', ...more]
  const browser = await chromium.launch({ executablePath: executablePath as string, args })
  after(() => browser.close())
  return browser
}
