/** README's code, as it stands there: it compiles strictly, and does what it says, in each framework. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import type { RequestListener } from 'node:http'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { serve } from '@hono/node-server'
import { NestFactory } from '@nestjs/core'
import { logInSomebody, me } from '../../../test/support/server.ts'
import { startModule } from './support/module.ts'

const root = join(import.meta.dirname, '..')
const module = await startModule()
const { access_token: token } = await logInSomebody(module.server)
const userId = (await me(module.server, token)).body.id

/** What README leaves to its readers. */
const notesOf = (userId: string) => [`a note of ${userId}`]
Object.assign(globalThis, { token, notesOf })
const GLOBALS = `
declare const token: string
declare function notesOf(userId: string): string[]
declare function readSecret(name: string): Promise<string>
`

const folder = await mkdtemp(join(tmpdir(), 'cerrojo-readme-'))
after(() => rm(folder, { recursive: true, force: true }))
await compile()

/** A project of somebody who has pasted all of it; compiled into `out`. */
async function compile(): Promise<void> {
  const readme = await readFile(join(root, 'README.md'), 'utf8')
  const blocks = [...readme.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, code = '']) => code)
  assert.ok(blocks.length >= 10)
  for (const [index, code] of blocks.entries()) {
    const path = join(folder, /^\/\/ (\S+\.ts)\n/.exec(code)?.[1] ?? `block-${index}.ts`)
    await mkdir(dirname(path), { recursive: true })
    await writeFile(path, code.replaceAll('https://auth.example.com', module.server.url))
  }
  await writeFile(join(folder, 'globals.d.ts'), GLOBALS)
  await writeFile(join(folder, 'package.json'), '{"type":"module"}')
  await writeFile(
    join(folder, 'tsconfig.json'),
    JSON.stringify({
      compilerOptions: {
        strict: true,
        exactOptionalPropertyTypes: true,
        noUncheckedIndexedAccess: true,
        noUnusedLocals: false,
        module: 'nodenext',
        target: 'es2022',
        types: ['node'],
        experimentalDecorators: true,
        emitDecoratorMetadata: true,
        skipLibCheck: true,
        outDir: 'out',
        rootDir: '.',
      },
      exclude: ['node_modules', 'out'],
    }),
  )
  await installHere()
  await tsc('-p', folder)
}

/** What is installed here, and the package itself, built. */
async function installHere(): Promise<void> {
  const modules = join(folder, 'node_modules')
  const itself = join(modules, '@cerrojo/verifier')
  await mkdir(itself, { recursive: true })
  for (const name of await readdir(join(root, 'node_modules')))
    if (!name.startsWith('.')) await symlink(join(root, 'node_modules', name), join(modules, name), 'junction')
  await cp(join(root, 'package.json'), join(itself, 'package.json'))
  await tsc('-p', join(root, 'tsconfig.build.json'), '--outDir', join(itself, 'dist'))
}

async function tsc(...words: string[]): Promise<void> {
  const compiler = join(root, 'node_modules/typescript/bin/tsc')
  await promisify(execFile)(process.execPath, [compiler, ...words]).catch((error) => assert.fail(error.stdout))
}

const load = (path: string) => import(pathToFileURL(join(folder, 'out', path)).href)

async function listening(server: ReturnType<typeof createServer>): Promise<string> {
  after(() => server.close())
  if (!server.listening) await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

const RUNNING: Record<string, () => Promise<string>> = {
  express: async () => listening(createServer((await load('express.js')).app)),
  async fastify() {
    const { app } = await load('fastify.js')
    after(() => app.close())
    return app.listen({ host: '127.0.0.1', port: 0 })
  },
  async hono() {
    const { app } = await load('hono.js')
    const server = serve({ fetch: app.fetch, hostname: '127.0.0.1', port: 0 })
    await new Promise((resolve) => server.once('listening', resolve))
    return listening(server as ReturnType<typeof createServer>)
  },
  node: async () => listening((await load('node.js')).server),
  async nest() {
    const app = await NestFactory.create((await load('nest.js')).AppModule, { logger: false })
    await app.listen(0, '127.0.0.1')
    after(() => app.close())
    return app.getUrl()
  },
  async next() {
    const { GET } = await load('app/notes/route.js')
    const handle: RequestListener = async (request, response) => {
      const headers = new Headers(request.headers as Record<string, string>)
      const answer: Response = await GET(new Request('http://localhost/notes', { headers }))
      response.writeHead(answer.status, Object.fromEntries(answer.headers)).end(await answer.text())
    }
    return listening(createServer(handle))
  },
}

for (const [framework, start] of Object.entries(RUNNING))
  test(`the code for ${framework} gives notes to who shows a good token, and refuses who shows none`, async () => {
    const url = `${await start()}/notes`
    const granted = await fetch(url, { headers: { authorization: `Bearer ${token}` } })
    assert.equal(granted.status, 200)
    assert.deepEqual(await granted.json(), notesOf(userId))
    const refused = await fetch(url)
    assert.equal(refused.status, 401)
    assert.equal(refused.headers.get('www-authenticate'), 'Bearer realm="auth"')
    assert.equal(((await refused.json()) as { error: { code: string } }).error.code, 'AUTH_TOKEN_INVALID')
  })

test('what there is more does as it says', async () => {
  const url = await listening(createServer((await load('more.js')).app))
  const headers = { authorization: `Bearer ${token}` }
  const statusOf = async (path: string, init: RequestInit) => (await fetch(`${url}${path}`, init)).status
  assert.deepEqual(await (await fetch(`${url}/feed`)).json(), [])
  assert.deepEqual(await (await fetch(`${url}/feed`, { headers })).json(), notesOf(userId))
  assert.equal(await statusOf('/feed', { headers: { authorization: 'Bearer nonsense' } }), 401)
  assert.equal(await statusOf('/friends', { headers }), 403, 'whose email nobody has verified')
  assert.equal(await statusOf('/own', {}), 401)
})
