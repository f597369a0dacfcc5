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

const run = promisify(execFile)
const root = join(import.meta.dirname, '..')
const bin = (name: string) => join(root, 'node_modules/.bin', name)
const LARGEST_BYTES = 6 * 1024

const folder = await mkdtemp(join(tmpdir(), 'cerrojo-client-'))
after(() => rm(folder, { recursive: true, force: true }))
const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', folder], { cwd: root })
const described = JSON.parse(stdout.slice(stdout.search(/^[[{]/m)))
const { filename, files } = Array.isArray(described) ? described[0] : Object.values(described)[0]
const tarball = join(folder, filename)
await writeFile(join(folder, 'package.json'), '{ "name": "outside", "private": true, "type": "module" }')
await run('npm', ['install', '--no-audit', '--no-fund', '--offline', tarball], { cwd: folder })

suite('the package', () => {
  test('holds its compiled files, their types, a README and a licence, and no more', () => {
    const others = files
      .map(({ path }: { path: string }) => path)
      .filter((path: string) => !/^dist\/[a-z]+\.(js|d\.ts)$/.test(path))
    assert.deepEqual(others.sort(), ['LICENSE', 'README.md', 'package.json'])
  })

  test('depends on nothing', async () => {
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
    const started = run(process.execPath, ['--input-type=module', '-e', script], { cwd: folder, timeout: 20_000 })
    assert.equal((await started).stdout, 'Bearer\n')
  })

  test('gives its types to a strict project, and catches a wrong call', async () => {
    const good = `
      import { AuthClientError, createAuthClient, type AuthState, type TokenStore } from '@cerrojo/client'
      import { encriptarDatos, refrescar } from '@cerrojo/client/es'
      const store: TokenStore = { load: () => null, save: () => {}, clear: () => {} }
      const client = createAuthClient({ baseUrl: '', encrypt: true, store, requestTimeoutSeconds: 5 })
      const unsubscribe: () => void = client.onAuthChange((state: AuthState) => console.log(state.reason))
      export const token: Promise<string | null> = client.getAccessToken()
      export const kid: Promise<string> = encriptarDatos({}).then((data) => data.__front_enc__.kid)
      export const seconds: Promise<number> = refrescar().then((tokens) => tokens.expires_in)
      export const wait = (error: AuthClientError): number | undefined => error.retryAfterSeconds
      unsubscribe()`
    const check = (text: string) =>
      writeFile(join(folder, 'outside.ts'), text).then(() =>
        run(bin('tsc'), ['--strict', '--noEmit', '--module', 'nodenext', '--lib', 'es2022,dom', 'outside.ts'], {
          cwd: folder,
        }),
      )
    await check(good)
    await assert.rejects(check(`${good}\ncreateAuthClient({ baseUrl: 1 })`))
  })

  test('is found without fault by publint and attw', async () => {
    await run(bin('publint'), ['--strict', tarball])
    await run(bin('attw'), ['--profile', 'esm-only', tarball])
  })

  test('is small, minified and gzipped', async (context) => {
    for (const entry of ['@cerrojo/client', '@cerrojo/client/es']) {
      const { outputFiles } = await build({
        stdin: { contents: `export * from '${entry}'`, resolveDir: folder },
        bundle: true,
        minify: true,
        format: 'esm',
        write: false,
      })
      const { length } = gzipSync(outputFiles[0]?.contents as Uint8Array, { level: 9 })
      context.diagnostic(`${entry}: ${length} bytes`)
      assert.ok(length <= LARGEST_BYTES, `${entry} has ${length} bytes`)
    }
  })
})
