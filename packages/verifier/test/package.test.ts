/** The package as an outside project gets it: packed, installed, imported and type-checked. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { promisify } from 'node:util'

const run = promisify(execFile)
const root = join(import.meta.dirname, '..')
const tool = (name: string) => join(root, 'node_modules/.bin', name)
const { version, dependencies, devDependencies } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'))

const folder = await mkdtemp(join(tmpdir(), 'cerrojo-package-'))
after(() => rm(folder, { recursive: true, force: true }))
await run('npm', ['pack', '--pack-destination', folder], { cwd: root })
const tarball = join(folder, `cerrojo-verifier-${version}.tgz`)
await writeFile(join(folder, 'package.json'), JSON.stringify({ type: 'module', private: true }))
const install = (...packages: string[]) =>
  run('npm', ['install', '--no-audit', '--no-fund', ...packages], { cwd: folder })

/** What README does not show; its own code is compiled in readme.test.ts. */
const CONSUMER = `
import express from 'express'
import Fastify from 'fastify'
import { Hono } from 'hono'
import { type Auth, authenticate, createRemoteVerifier, createVerifier, VerifierError } from '@cerrojo/verifier'
import type { VerifierErrorCode, VerifierOptions } from '@cerrojo/verifier'
import { requireToken as expressToken } from '@cerrojo/verifier/express'
import { requireToken as fastifyToken } from '@cerrojo/verifier/fastify'
import { requireToken as honoToken } from '@cerrojo/verifier/hono'
import { requireToken as nodeToken } from '@cerrojo/verifier/node'

const issuer = { issuer: 'a', audience: 'b', jwksUrl: new URL('https://auth.example/jwks.json') }
const key = { kty: 'EC', kid: 'k', use: 'enc', alg: 'ECDH-ES+A256KW', d: 'd' }
const verifier = createVerifier({ ...issuer, decryptionKeys: async () => [key], maxCachedTokens: 100 })
const options: VerifierOptions[] = [{ keysFile: './keys.json' }, { ...issuer, decryptionKeys: [key] }]
// @ts-expect-error no decryption keys
options.push(issuer)
// @ts-expect-error both of them
options.push({ ...issuer, keysFile: './keys.json', decryptionKeys: [] })
const remote = createRemoteVerifier({ url: 'http://localhost:3000' })

for (const each of [verifier, remote]) {
  Fastify().get('/', { onRequest: fastifyToken(each, { optional: true }) }, async (request) => request.auth?.email)
  // @ts-expect-error it may be nobody
  Fastify().get('/', { onRequest: fastifyToken(each) }, async (request) => request.auth.userId)
  express().get('/', expressToken(each), (request, response) => void response.json(request.auth?.expiresAt))
  new Hono().get('/', honoToken(each), (context) => context.text(context.get('auth')?.userId ?? ''))
  void nodeToken
}

const result = await authenticate(verifier, undefined)
if (!result.refusal || result.refusal.status !== 401) throw new Error('it let nobody in')
const anonymous = await authenticate(verifier, null, { optional: true })
const auth: Auth | undefined = anonymous.auth
const error = await verifier.verify('').catch((error: unknown) => auth ?? error)
if (!(error instanceof VerifierError)) throw new Error('not its error')
const code: VerifierErrorCode = error.code
console.log(code)
`

test('the tarball holds what was compiled, its source, the README and the license', async () => {
  const { stdout } = await run('tar', ['-tzf', tarball])
  const files = stdout.trim().split('\n')
  for (const name of ['README.md', 'LICENSE', 'package.json']) assert.ok(files.includes(`package/${name}`), name)
  const others = files.filter(
    (name) => !/^package\/(README\.md|LICENSE|package\.json|dist\/\w+\.(d\.ts|js)(\.map)?|src\/\w+\.ts)$/.test(name),
  )
  assert.deepEqual(others, [])
})

test('publint finds nothing', async () => {
  const { stdout } = await run(tool('publint'), [tarball, '--strict'])
  assert.match(stdout, /All good!/)
})

test('its types resolve as its code does, also by the rules of old resolvers', async () => {
  // Plain ES modules: require() gets them from Node 20.19 on.
  await run(tool('attw'), [tarball, '--ignore-rules', 'cjs-resolves-to-esm']).catch((error) =>
    assert.fail(error.stdout),
  )
})

test('it brings jose and nothing else, and works without any framework', async () => {
  await install(tarball)
  const installed = (await readdir(join(folder, 'node_modules'))).filter((name) => !name.startsWith('.'))
  assert.deepEqual(installed.sort(), ['@cerrojo', ...Object.keys(dependencies)])
  for (const entry of ['', '/node', '/hono', '/express', '/fastify'])
    await run(process.execPath, ['--input-type=module', '-e', `await import('@cerrojo/verifier${entry}')`], {
      cwd: folder,
    })
  await run(process.execPath, ['-p', "require('@cerrojo/verifier/package.json').version"], { cwd: folder })
})

test('an error is traced to its line in the source', async () => {
  await install(tarball)
  const script = "import { createVerifier } from '@cerrojo/verifier'; createVerifier({ keysFile: './none.json' })"
  const options = ['--enable-source-maps', '--input-type=module', '-e', script]
  const { stderr } = await run(process.execPath, options, { cwd: folder }).catch((error) => error)
  assert.match(stderr, /verifier[\\/]src[\\/]verifier\.ts:\d+/)
})

for (const moduleResolution of ['nodenext', 'bundler'])
  test(`an outside project compiles against it strictly with ${moduleResolution}, and runs`, async () => {
    const frameworks = ['express', 'fastify', 'hono', '@types/express', '@types/node']
    await install(tarball, ...frameworks.map((name) => `${name}@${devDependencies[name]}`))
    await writeFile(join(folder, 'consumer.ts'), CONSUMER)
    const kind = [
      '--module',
      moduleResolution === 'bundler' ? 'esnext' : 'nodenext',
      '--moduleResolution',
      moduleResolution,
    ]
    const strictness = ['--strict', '--exactOptionalPropertyTypes', '--noUncheckedIndexedAccess', '--target', 'es2022']
    await run(tool('tsc'), [...kind, ...strictness, '--types', 'node', 'consumer.ts'], { cwd: folder }).catch((error) =>
      assert.fail(error.stdout),
    )
    const { stdout } = await run(process.execPath, ['consumer.js'], { cwd: folder })
    assert.equal(stdout, 'AUTH_TOKEN_INVALID\n')
  })
