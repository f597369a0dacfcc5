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

const CONSUMER = `
import { createServer } from 'node:http'
import express from 'express'
import Fastify from 'fastify'
import { Hono } from 'hono'
import { type AccessClaims, authenticate, createVerifier, VerifierError, type VerifierErrorCode } from '@cerrojo/verifier'
import { requireToken as expressToken } from '@cerrojo/verifier/express'
import { verifierPlugin } from '@cerrojo/verifier/fastify'
import { requireToken as honoToken } from '@cerrojo/verifier/hono'
import { requireToken as nodeToken } from '@cerrojo/verifier/node'

const required = { issuer: 'auth-mvp', audience: 'auth-mvp-clients', jwksUrl: new URL('https://auth.example/jwks.json') }
const verifier = createVerifier({ ...required, keysDir: './keys', maxCachedTokens: 100 })
createVerifier({ ...required, decryptionKeys: [{ kty: 'EC', kid: 'k', use: 'enc', alg: 'ECDH-ES+A256KW', d: 'd' }] })
// @ts-expect-error no decryption keys
const withoutKeys = () => createVerifier(required)
// @ts-expect-error both kinds of decryption keys
const withBoth = () => createVerifier({ ...required, keysDir: './keys', decryptionKeys: [] })

const app = Fastify()
await app.register(verifierPlugin, { verifier })
app.get('/', { preHandler: app.requireToken }, async (request) => request.claims?.sub)
// @ts-expect-error claims may be null
app.get('/null', async (request) => request.claims.sub)
express().get('/', expressToken(verifier), (request, response) => void response.json(request.claims?.exp))
new Hono().get('/', honoToken(verifier), (context) => context.text(context.get('claims').sub))
createServer(async (request, response) => {
  const claims: AccessClaims | undefined = await nodeToken(verifier, request, response)
  response.end(claims?.sid)
})

const result = await authenticate(verifier, undefined)
if (!('refusal' in result) || result.refusal.status !== 401) throw new Error('it let nobody in')
const error = await verifier.verify('').catch((error: unknown) => error)
if (!(error instanceof VerifierError)) throw new Error('not its error')
const code: VerifierErrorCode = error.code
console.log(code)
`

test('the tarball holds what was compiled, the README and the license', async () => {
  const { stdout } = await run('tar', ['-tzf', tarball])
  const files = stdout.trim().split('\n')
  for (const name of ['README.md', 'LICENSE', 'package.json']) assert.ok(files.includes(`package/${name}`), name)
  const others = files.filter(
    (name) => !/^package\/(README\.md|LICENSE|package\.json|dist\/\w+(\.d\.ts|\.js))$/.test(name),
  )
  assert.deepEqual(others, [])
})

test('publint finds nothing', async () => {
  const { stdout } = await run(tool('publint'), [tarball, '--strict'])
  assert.match(stdout, /All good!/)
})

test('its types resolve as its code does', async () => {
  // Plain ES modules: require() gets them from Node 20.19 on, older resolution knows no exports at all.
  await run(tool('attw'), [tarball, '--profile', 'esm-only'])
})

test('it brings jose and nothing else, and works without any framework', async () => {
  await install(tarball)
  const installed = (await readdir(join(folder, 'node_modules'))).filter((name) => !name.startsWith('.'))
  assert.deepEqual(installed.sort(), ['@cerrojo', ...Object.keys(dependencies)])
  for (const entry of ['', '/node', '/hono', '/express', '/fastify'])
    await run(process.execPath, ['--input-type=module', '-e', `await import('@cerrojo/verifier${entry}')`], {
      cwd: folder,
    })
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
