/** The README's recipe for React Native, with a keychain and an app of the test's own. */
import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { startServer } from '../../../test/support/server.ts'
import type { AuthClient } from '../src/types.ts'
import { registerAndLogIn } from './support/clients.ts'
import { eventually } from './support/expect.ts'
import { startProxy } from './support/proxy.ts'
import { examples } from './support/readme.ts'

const REFRESH = '/auth/token/refresh'
const PACKAGES = {
  'react-native-get-random-values': '',
  'expo-secure-store': `
    export let items = new Map()
    export const device = { isLocked: false }
    const whileOpen = async (work) => {
      if (device.isLocked) throw new Error('the device is locked')
      return work()
    }
    export const getItemAsync = (key) => whileOpen(() => items.get(key) ?? null)
    export const setItemAsync = (key, text) => whileOpen(() => void items.set(key, text))
    export const deleteItemAsync = (key) => whileOpen(() => void items.delete(key))`,
  'react-native': `
    export const AppState = Object.assign(new EventTarget(), {
      addEventListener(event, listener) {
        EventTarget.prototype.addEventListener.call(AppState, event, ({ detail }) => listener(detail))
      },
      become: (next) => AppState.dispatchEvent(new CustomEvent('change', { detail: next })),
    })`,
}

const server = await startServer()
const proxy = await startProxy(server.url)
const folder = await mkdtemp(join(tmpdir(), 'cerrojo-native-'))
after(() => rm(folder, { recursive: true, force: true }))
const urlOf = (path: string) => pathToFileURL(join(folder, path)).href
for (const [name, text] of Object.entries(PACKAGES)) {
  await mkdir(join(folder, 'node_modules', name), { recursive: true })
  await writeFile(join(folder, 'node_modules', name, 'index.js'), text)
  await writeFile(join(folder, 'node_modules', name, 'package.json'), '{ "type": "module", "exports": "./index.js" }')
}
await mkdir(join(folder, 'node_modules/@cerrojo'))
await symlink(join(import.meta.dirname, '..'), join(folder, 'node_modules/@cerrojo/client'))
const recipe = examples.get('auth.native.ts')?.replace('https://auth.example.com', proxy.url)
await writeFile(join(folder, 'auth.native.ts'), recipe as string)
const { device } = await import(urlOf('node_modules/expo-secure-store/index.js'))
const { AppState } = await import(urlOf('node_modules/react-native/index.js'))

let starts = 0
/** The app, started anew with the same keychain. */
async function start(): Promise<AuthClient> {
  const { auth } = await import(`${urlOf('auth.native.ts')}?${++starts}`)
  after(() => auth.dispose())
  return auth
}

suite('an app of React Native', () => {
  test('stays logged in when it is started again, and is not logged out by a locked device', async () => {
    const first = await start()
    const { credentials } = await registerAndLogIn(first)
    first.dispose()
    const second = await start()
    device.isLocked = true
    // Of the compiled package, whose class is another than that of src.
    await assert.rejects(second.getAccessToken(), { name: 'AuthClientError', code: 'CLIENT_STORE' })
    device.isLocked = false
    assert.equal((await second.me()).email, credentials.email)
  })

  test('refreshes when it comes back from the background, if it is time', async (context) => {
    const auth = await start()
    await registerAndLogIn(auth)
    AppState.become('active')
    const before = proxy.of(REFRESH).length
    const now = Date.now
    context.mock.method(Date, 'now', () => now() + 900_000)
    AppState.become('background')
    AppState.become('active')
    await eventually(() => assert.equal(proxy.of(REFRESH).length, before + 1))
    await auth.logout()
    assert.equal(await auth.getAccessToken(), null)
  })
})
