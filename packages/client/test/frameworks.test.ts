/** The README's components, bundled as an application would, in real pages. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { promisify } from 'node:util'
import { build, type Plugin } from 'esbuild'
import type { Page } from 'playwright-core'
import { compile } from 'svelte/compiler'
import { compileScript, parse } from 'vue/compiler-sfc'
import { newCredentials, registerSomebody, startServer } from '../../../test/support/server.ts'
import { launchChromium, withChromium } from './support/chromium.ts'
import { startProxy } from './support/proxy.ts'
import { examples } from './support/readme.ts'

const root = join(import.meta.dirname, '..')
const COMPONENTS = ['LoginForm', 'Guarded', 'WhoAmI']
const FEWEST_LINES_TOO_MANY = 15

/** What puts the components on a page; `part` is what stands for it in each framework. */
const PAGES: Record<string, Record<string, string>> = {
  tsx: {
    'main.tsx': `
      import { StrictMode } from 'react'
      import { createRoot } from 'react-dom/client'
      import { Guarded } from './Guarded.tsx'
      import { WhoAmI } from './WhoAmI.tsx'
      createRoot(document.body).render(<StrictMode><Guarded><WhoAmI /></Guarded></StrictMode>)`,
  },
  vue: {
    'main.ts': `
      import { createApp, h } from 'vue'
      import Guarded from './Guarded.vue'
      import WhoAmI from './WhoAmI.vue'
      createApp({ render: () => h(Guarded, () => h(WhoAmI)) }).mount(document.body)`,
  },
  svelte: {
    'App.svelte': `
      <script>
        import Guarded from './Guarded.svelte'
        import WhoAmI from './WhoAmI.svelte'
      </script>
      <Guarded><WhoAmI /></Guarded>`,
    'main.ts': `
      import { mount } from 'svelte'
      import App from './App.svelte'
      mount(App, { target: document.body })`,
  },
}

const compilers: Plugin = {
  name: 'single-file components',
  setup({ onLoad }) {
    onLoad({ filter: /\.vue$/ }, async ({ path }) => {
      const { descriptor } = parse(await readFile(path, 'utf8'), { filename: path })
      return { contents: compileScript(descriptor, { id: path, inlineTemplate: true }).content, loader: 'ts' }
    })
    onLoad({ filter: /\.svelte$/ }, async ({ path }) => ({
      contents: compile(await readFile(path, 'utf8'), { filename: path, generate: 'client' }).js.code,
    }))
  },
}

/** A folder with the README's files and those of the page, and the packages that they import. */
async function project(kind: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), `cerrojo-${kind}-`))
  after(() => rm(folder, { recursive: true, force: true }))
  await mkdir(join(folder, 'node_modules/@cerrojo'), { recursive: true })
  await symlink(root, join(folder, 'node_modules/@cerrojo/client'))
  for (const name of ['react', 'react-dom', '@types', 'vue', 'svelte'])
    await symlink(join(root, 'node_modules', name), join(folder, 'node_modules', name))
  const files: Record<string, string> = {
    'auth.ts': examples.get('auth.ts') as string,
    'package.json': '{ "type": "module" }',
    ...PAGES[kind],
  }
  for (const component of COMPONENTS) files[`${component}.${kind}`] = examples.get(`${component}.${kind}`) as string
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text)
  return folder
}

async function bundle(folder: string, kind: string): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [join(folder, kind === 'tsx' ? 'main.tsx' : 'main.ts')],
    bundle: true,
    format: 'esm',
    jsx: 'automatic',
    conditions: ['svelte'],
    define: { 'process.env.NODE_ENV': '"production"' },
    plugins: [compilers],
    write: false,
    logLevel: 'error',
  })
  return (outputFiles[0] as { text: string }).text
}

suite('the README’s components', () => {
  test('are short', () => {
    for (const kind of Object.keys(PAGES))
      for (const component of COMPONENTS) {
        const lines = examples.get(`${component}.${kind}`)?.trim().split('\n')
        assert.ok(lines && lines.length < FEWEST_LINES_TOO_MANY, `${component}.${kind} has ${lines?.length} lines`)
      }
  })

  test('for React compile in a strict project', async () => {
    const folder = await project('tsx')
    const options = [
      '--strict',
      '--noEmit',
      '--jsx',
      'react-jsx',
      '--module',
      'nodenext',
      '--lib',
      'es2022,dom,dom.iterable',
    ]
    const tsc = [join(root, 'node_modules/typescript/bin/tsc'), ...options, '--allowImportingTsExtensions', 'main.tsx']
    await promisify(execFile)(process.execPath, tsc, { cwd: folder })
  })
})

suite('in Chromium, the README’s components', withChromium, async () => {
  if (withChromium.skip) return
  const server = await startServer({ AUTH_REFRESH_TRANSPORT: 'cookie', AUTH_COOKIE_SECURE: 'false' })
  const browser = await launchChromium()

  for (const kind of Object.keys(PAGES))
    test(`for ${kind} log in, stay logged in, and log out, in every tab`, async () => {
      const script = await bundle(await project(kind), kind)
      const proxy = await startProxy(server.url, async (path) => {
        if (path === '/') return { type: 'text/html', content: '<body><script type="module" src="/main.js"></script>' }
        return path === '/main.js' ? { type: 'text/javascript', content: script } : undefined
      })
      const context = await browser.newContext()
      const problems: string[] = []
      const open = async () => {
        const tab = await context.newPage()
        tab.on('pageerror', (error) => problems.push(error.message))
        await tab.goto(proxy.url)
        return tab
      }
      const { email, password } = await registerSomebody(server)
      const [one, other] = [await open(), await open()]

      await logIn(one, email, newCredentials().password)
      await one.getByRole('alert').filter({ hasText: /\w/ }).waitFor()
      await logIn(one, email, password)
      for (const tab of [one, other]) await tab.getByText(`You are ${email}.`).waitFor()
      await other.reload()
      await other.getByText(`You are ${email}.`).waitFor()
      await one.getByRole('button', { name: 'Log out' }).click()
      for (const tab of [one, other]) await tab.getByRole('button', { name: 'Log in' }).waitFor()
      assert.deepEqual(problems, [])
      await context.close()
    })
})

async function logIn(tab: Page, email: string, password: string): Promise<void> {
  await tab.locator('[type=email]').fill(email)
  await tab.locator('[type=password]').fill(password)
  await tab.getByRole('button', { name: 'Log in' }).click()
}
