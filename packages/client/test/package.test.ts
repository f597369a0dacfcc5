/** The package as an outside project gets it: packed, installed, imported, type-checked, bundled. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'
import { newCredentials, startServer } from '../../../test/support/server.ts'
import { documentationIn } from './support/hover.ts'

const run = promisify(execFile)
const root = join(import.meta.dirname, '..')
const bin = (name: string) => join(root, 'node_modules/.bin', name)
const LARGEST_BYTES = { '@cerrojo/client': 6 * 1024, '@cerrojo/client/es': 6.25 * 1024 }

const folder = await mkdtemp(join(tmpdir(), 'cerrojo-client-'))
after(() => rm(folder, { recursive: true, force: true }))
const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', folder], { cwd: root })
const described = JSON.parse(stdout.slice(stdout.search(/^[[{]/m)))
const { filename, files } = Array.isArray(described) ? described[0] : Object.values(described)[0]
const tarball = join(folder, filename)
await writeFile(join(folder, 'package.json'), '{ "name": "outside", "private": true, "type": "module" }')
await run('npm', ['install', '--no-audit', '--no-fund', '--offline', tarball], { cwd: folder })

const typeCheck = async (text: string, ...options: string[]) => {
  await writeFile(join(folder, 'outside.ts'), text)
  return run(bin('tsc'), ['--strict', '--noEmit', ...options, 'outside.ts'], { cwd: folder })
}

suite('the package', () => {
  test('holds its compiled files, their types, a README and a licence, and no more', () => {
    const others = files
      .map(({ path }: { path: string }) => path)
      .filter((path: string) => !/^dist\/(cjs\/)?[a-z]+\.(js|d\.ts)$/.test(path))
    assert.deepEqual(others.sort(), ['LICENSE', 'README.md', 'dist/cjs/package.json', 'package.json'])
  })

  test('depends on nothing, and installs nothing along', async () => {
    const { packages } = JSON.parse(await readFile(join(folder, 'package-lock.json'), 'utf8'))
    assert.deepEqual(Object.keys(packages), ['', 'node_modules/@cerrojo/client'])
  })

  test('is imported without touching anything of a page', async () => {
    const script = `
      const before = Object.keys(globalThis).join()
      const { createAuthClient, AuthClientError } = await import('@cerrojo/client')
      const es = await import('@cerrojo/client/es')
      const client = createAuthClient({ baseUrl: 'http://127.0.0.1:9', attempts: 1 })
      const error = await client.login({ email: 'a@example.com', password: 'secret' }).catch((error) => error)
      console.log(error instanceof AuthClientError && es.AuthClientError === AuthClientError, error.code)
      console.log(before === Object.keys(globalThis).join())`
    const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script], { cwd: folder })
    assert.deepEqual(stdout.trim().split('\n'), ['true CLIENT_NETWORK', 'true'])
  })

  test('lets Node end although a refresh is planned', async () => {
    const { url } = await startServer()
    const script = `
      const { createAuthClient } = await import('@cerrojo/client')
      const client = createAuthClient({ baseUrl: '${url}' })
      const credentials = ${JSON.stringify(newCredentials())}
      await client.register(credentials)
      console.log((await client.login(credentials)).token_type)`
    const started = run(process.execPath, ['--input-type=module', '-e', script], { cwd: folder, timeout: 60_000 })
    assert.equal((await started).stdout, 'Bearer\n')
  })

  test('works where there is no WebCrypto and no btoa, and sends no credentials that it cannot encrypt', async () => {
    const { url } = await startServer()
    const script = `
      const { getRandomValues } = crypto
      const native = { crypto: { getRandomValues: getRandomValues.bind(crypto) }, btoa: undefined }
      for (const [name, value] of Object.entries(native))
        Object.defineProperty(globalThis, name, { value })
      const { createAuthClient } = await import('@cerrojo/client')
      let text = null
      const store = { load: () => text, save: (next) => { text = next }, clear: () => { text = null } }
      const client = createAuthClient({ baseUrl: '${url}', store })
      const credentials = ${JSON.stringify(newCredentials())}
      await client.register(credentials)
      await client.login(credentials)
      await client.refresh()
      console.log((await client.me()).email === credentials.email)
      console.log(await client.login({ ...credentials, encrypt: true }).catch((error) => error.code))`
    const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script], { cwd: folder })
    assert.deepEqual(stdout.trim().split('\n'), ['true', 'CLIENT_CANNOT_ENCRYPT'])
  })

  test('gives its types to a strict project, and catches a wrong call', async () => {
    const good = `
      import { type AuthChange, AuthClientError, createAuthClient, type TokenStore } from '@cerrojo/client'
      import { eachToken } from '@cerrojo/client/connections'
      import { encriptarDatos, refrescar } from '@cerrojo/client/es'
      const store: TokenStore = { load: () => null, save: () => {}, clear: () => {} }
      const client = createAuthClient({ baseUrl: '', encrypt: true, store, requestTimeoutSeconds: 5 })
      const unsubscribe: () => void = client.onAuthChange((change: AuthChange) => console.log(change.reason))
      export const token: Promise<string | null> = client.getAccessToken()
      export const kid: Promise<string> = encriptarDatos({}).then((data) => data.__front_enc__.kid)
      export const seconds: Promise<number> = refrescar().then((tokens) => tokens.expires_in)
      export const wait = (error: AuthClientError): number | undefined => error.retryAfterSeconds
      export const stop: () => void = eachToken(client, (token, signal) => console.log(token.length, signal))
      unsubscribe()`
    const check = (text: string) => typeCheck(text, '--module', 'nodenext', '--lib', 'es2022,dom')
    await check(good)
    await assert.rejects(check(`${good}\ncreateAuthClient({ baseUrl: 1 })`))
    await assert.rejects(check(`${good}\nclient.fetch({ url: 1 })`))
  })

  test('needs no DOM library for its types, though they are checked themselves', async () => {
    const text = `
      import { createAuthClient } from '@cerrojo/client'
      export * from '@cerrojo/client/es'
      export const token: Promise<string | null> = createAuthClient({ baseUrl: '' }).getAccessToken()`
    await typeCheck(text, '--module', 'nodenext', '--lib', 'es2022', '--skipLibCheck', 'false')
  })

  test('is found by the old ways of TypeScript and of Node, and by Jest', async () => {
    const text = `
      import { createAuthClient } from '@cerrojo/client'
      import { refrescar } from '@cerrojo/client/es'
      export const token: Promise<string | null> = createAuthClient({ baseUrl: '' }).getAccessToken()
      export const seconds: Promise<number> = refrescar().then((tokens) => tokens.expires_in)`
    await writeFile(join(folder, 'old.ts'), text)
    const old = ['--module', 'commonjs', '--moduleResolution', 'node10', '--lib', 'es2022', '--strict', '--noEmit']
    await run(process.execPath, [join(root, 'node_modules/typescript-5/bin/tsc'), ...old, 'old.ts'], { cwd: folder })
    const script = `
      const { AuthClientError, createAuthClient } = require('@cerrojo/client')
      console.log(require('@cerrojo/client/es').AuthClientError === AuthClientError, typeof createAuthClient)`
    const options = ['--no-experimental-require-module', '--input-type=commonjs', '-e', script]
    assert.equal((await run(process.execPath, options, { cwd: folder })).stdout, 'true function\n')
  })

  test('shows its documentation wherever a mouse rests on a method or an option', async () => {
    const undocumented = (type: string) => documentationIn(folder, type).filter(({ text }) => text === '')
    assert.ok(documentationIn(folder, 'AuthClient').length >= 13)
    assert.deepEqual(undocumented('AuthClient'), [])
    assert.deepEqual(undocumented('AuthClientOptions'), [])
  })

  test('is found without fault by publint and attw', async () => {
    await run(bin('publint'), ['--strict', tarball])
    await run(bin('attw'), [tarball])
  })

  test('is small, minified and gzipped', async (context) => {
    for (const [entry, largestBytes] of Object.entries(LARGEST_BYTES)) {
      const { outputFiles } = await build({
        stdin: { contents: `export * from '${entry}'`, resolveDir: folder },
        bundle: true,
        minify: true,
        format: 'esm',
        write: false,
      })
      const { length } = gzipSync(outputFiles[0]?.contents as Uint8Array, { level: 9 })
      context.diagnostic(`${entry}: ${length} bytes`)
      assert.ok(length <= largestBytes, `${entry} has ${length} bytes`)
    }
  })
})
