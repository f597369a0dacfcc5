/** The package as an outside project gets it, on the oldest Node that it promises to run on. */
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { promisify } from 'node:util'
import { freePort } from '../support/cluster.ts'
import { outsideEnvironment } from '../support/outside.ts'
import { call, newCredentials } from '../support/server.ts'
import { until } from '../support/wait.ts'

const ROOT = join(import.meta.dirname, '../..')
const manifest = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8'))
const PINNED = Object.keys(manifest.optionalDependencies)
const OLDEST_NODE = PINNED.find((name) => name.endsWith(`${process.platform}-${process.arch}`))
const PACKAGES = [
  ...[`${OLDEST_NODE}@22.13.0`, '@types/node@22.20.5', 'typescript@5.9.3'],
  ...['publint@0.3.25', '@arethetypeswrong/cli@0.18.5'],
  ...['fastify@5.12.8', 'express@5.3.0', 'hono@4.13.19', '@hono/node-server@2.1.8'],
]
const IS_UNREACHABLE = /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|ERR_SOCKET_TIMEOUT/

const folder = await mkdtemp(join(tmpdir(), 'cerrojo-package-'))
after(() => rm(folder, { recursive: true, force: true, maxRetries: 10 }))
const outside = join(folder, 'outside')
const binaries = join(outside, 'node_modules/.bin')
const env = {
  ...outsideEnvironment(),
  PATH: `${join(outside, 'node_modules', OLDEST_NODE ?? '', 'bin')}:${outsideEnvironment().PATH}`,
  AUTH_BCRYPT_ROUNDS: '4',
  AUTH_REFRESH_TRANSPORT: 'cookie',
}
const run = (command: string, ...args: string[]) => promisify(execFile)(command, args, { cwd: outside, env })

/** Packs a copy: while npm packs, another manifest stands in the place of ours. */
async function pack(): Promise<string> {
  const copy = join(folder, 'copy')
  const needed = ['src', 'cli', 'admin', 'migrations', 'scripts', 'tsconfig.json', 'tsconfig.build.json']
  for (const name of [...needed, 'README.md', 'LICENSE'])
    await cp(join(ROOT, name), join(copy, name), { recursive: true })
  await writeFile(join(copy, 'package.json'), JSON.stringify(manifest))
  await symlink(join(ROOT, 'node_modules'), join(copy, 'node_modules'))
  await promisify(execFile)('npm', ['pack', '--pack-destination', folder], { cwd: copy })
  const afterwards = await readFile(join(copy, 'package.json'), 'utf8')
  assert.deepEqual(JSON.parse(afterwards), manifest, 'our own manifest is back in its place')
  return join(folder, `cerrojo-${manifest.version}.tgz`)
}

/** @returns why not, when the registry cannot be reached */
async function install(packages: string[]): Promise<string | false> {
  await mkdir(outside)
  await writeFile(join(outside, 'package.json'), '{ "name": "outside", "private": true, "type": "module" }')
  const options = ['--no-audit', '--no-fund', '--prefer-offline', '--fetch-retries=0']
  try {
    await promisify(execFile)('npm', ['install', ...options, ...packages], { cwd: outside, env: outsideEnvironment() })
    return false
  } catch (error) {
    if (IS_UNREACHABLE.test((error as { stderr: string }).stderr))
      return 'the registry cannot be reached, so there is nothing to install the package with'
    throw error
  }
}

const tarball = await pack()
const skip = await install([tarball, ...PACKAGES])
await cp(join(process.env.CERROJO_TEST_TEMPLATE as string, 'with-keys'), join(outside, 'data'), { recursive: true })

/** Runs a server in the outside project, and asks it to end once the work is done. Answers what it printed. */
async function whileServing(command: string[], work: (url: string) => Promise<void>): Promise<string> {
  const port = await freePort()
  const [program = '', ...args] = command
  const child = spawn(program, args, { cwd: outside, env: { ...env, PORT: String(port) }, detached: true })
  const ended = once(child, 'close')
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk))
  const answers = () => fetch(`http://127.0.0.1:${port}`).then(Boolean, () => false)
  try {
    await until(`${command.join(' ')} to serve`, async () => child.exitCode !== null || (await answers()))
    assert.equal(child.exitCode, null, output)
    await work(`http://127.0.0.1:${port}`)
  } finally {
    if (child.exitCode === null) process.kill(-(child.pid as number), 'SIGTERM')
    await ended
  }
  assert.equal(await answers(), false, 'it has ended')
  return output
}

suite('the package', { skip }, () => {
  test('holds what was compiled, with types, and what that finds by path', async () => {
    const { stdout } = await run('tar', '-tzf', tarball)
    const others = stdout
      .trim()
      .split('\n')
      .map((path) => path.replace('package/', ''))
      .filter((path) => !/^dist\/(src|cli|admin)\/[\w/]+\.(js|d\.ts)$|^dist\/migrations\/\w+\.sql$/.test(path))
    const launcher = ['dist/cli/cerrojo.cjs', 'dist/package.json', 'dist/scripts/run.cjs']
    assert.deepEqual(others.sort(), ['LICENSE', 'README.md', ...launcher, 'package.json'])
  })

  test('brings no Node, which would become that of the project', async () => {
    const lock = JSON.parse(await readFile(join(outside, 'package-lock.json'), 'utf8'))
    const installed = Object.keys(lock.packages).map((path) => path.replace('node_modules/', ''))
    assert.ok(installed.includes('cerrojo') && installed.includes('bcrypt'))
    assert.deepEqual(
      installed.filter((name) => PINNED.includes(name)),
      [OLDEST_NODE],
      'the one that this test installs',
    )
  })

  test('is found without fault by publint and attw', async () => {
    await run(join(binaries, 'publint'), '--strict', tarball)
    await run(join(binaries, 'attw'), '--profile', 'esm-only', tarball)
  })

  test('gives its types to a strict project with TypeScript 5, and catches a wrong call', async () => {
    await writeFile(
      join(outside, 'typed.ts'),
      `import { buildApp, type Config, loadConfig, StartError } from 'cerrojo'
       const config: Config = loadConfig({ PORT: '0' })
       export const seconds: number = config.accessTtlSeconds
       export const status: Promise<number> = buildApp(config).then((app) => app.inject('/')).then((a) => a.statusCode)
       export const isExplained = (error: unknown): error is StartError => error instanceof StartError
       // @ts-expect-error settings are read by loadConfig
       buildApp({ PORT: '0' })`,
    )
    const options = ['--strict', '--exactOptionalPropertyTypes', '--noEmit', '--target', 'es2022', '--types', 'node']
    const checked = run(join(binaries, 'tsc'), ...options, '--module', 'nodenext', 'typed.ts')
    await checked.catch(({ stdout }) => assert.fail(stdout))
  })

  test('is imported by every name that it exports, by CommonJS too, and starts nothing by that', async () => {
    for (const name of Object.keys(manifest.exports).map((entry) => entry.replace('.', 'cerrojo')))
      if (!name.endsWith('.json')) {
        const { stdout, stderr } = await run('node', '--input-type=module', '-e', `await import('${name}')`)
        assert.deepEqual([stdout, stderr], ['', ''])
      }
    const { stdout } = await run('node', '-p', `process.version + typeof require('cerrojo').buildApp`)
    assert.equal(stdout, 'v22.13.0function\n')
  })

  test('has npx cerrojo tell its version, start a server that works, and examine it', async () => {
    assert.equal((await run('npx', 'cerrojo', '--version')).stdout, `${manifest.version}\n`)
    const output = await whileServing(['npx', 'cerrojo', 'start'], async (url) => {
      const credentials = newCredentials()
      assert.equal((await call(url, 'POST', '/auth/register', { body: credentials })).status, 201)
      assert.equal((await call(url, 'POST', '/auth/login', { body: credentials })).status, 200)
    })
    assert.match(output, new RegExp(`^Cerrojo ${manifest.version} listens on http://127.0.0.1:\\d+ and uses .*\n$`))
    assert.match((await run('npx', 'cerrojo', 'doctor')).stdout, /ok +keys +4 open/)
  })

  test('says in one sentence what to do on a Node that is too old', async () => {
    const older = join(folder, 'older.cjs')
    await writeFile(older, `Object.defineProperty(process.versions, 'node', { value: '22.12.0' })`)
    const started = run('node', '-r', older, 'node_modules/cerrojo/dist/cli/cerrojo.cjs', 'start')
    await assert.rejects(started, ({ stderr }: { stderr: string }) => {
      assert.match(stderr, /^Cerrojo needs Node 22\.13 or newer, but this is Node 22\.12\.0.*nodejs\.org.*\n$/)
      return true
    })
  })

  for (const name of ['Fastify', 'Express', 'Hono'])
    test(`serves under a prefix in a host of ${name}, by the program in docs/embedding.md`, async () => {
      const document = await readFile(join(ROOT, 'docs/embedding.md'), 'utf8')
      const [, program = ''] = new RegExp(`### ${name}\n\n\`\`\`js\n(.*?)\`\`\``, 's').exec(document) ?? []
      await writeFile(join(outside, `${name}.js`), program)
      const command = ['node', '--disable-warning=ExperimentalWarning', `${name}.js`]
      const output = await whileServing(command, async (url) => {
        const ask = (method: string, path: string, headers = {}, body?: unknown) =>
          call(url, method, `/identity${path}`, { headers, body })
        const credentials = newCredentials()
        assert.equal((await ask('POST', '/auth/register', {}, credentials)).status, 201)
        const login = await ask('POST', '/auth/login', { origin: url }, credentials)
        const cookie = login.headers.get('set-cookie') ?? ''
        assert.match(cookie, /^refresh_token=[\w-]{64}; .*Path=\/identity\/auth; HttpOnly; Secure; SameSite=Strict$/)

        const [pair = ''] = cookie.split(';')
        const refreshed = await ask('POST', '/auth/token/refresh', { cookie: pair, origin: url })
        assert.equal(refreshed.status, 200)
        const foreign = await ask('POST', '/auth/token/refresh', { cookie: pair, origin: 'https://evil.example' })
        assert.equal(foreign.body.error.code, 'AUTH_FORBIDDEN')
        const me = await ask('GET', '/auth/me', { authorization: `Bearer ${refreshed.body.access_token}` })
        assert.equal(me.body.email, credentials.email)
        assert.ok((await ask('GET', '/.well-known/jwks.json?use=sig')).body.keys.length > 0)

        const large = await ask('POST', '/auth/login', {}, { ...credentials, password: 'x'.repeat(20_000) })
        const unknown = await ask('GET', '/nowhere')
        const otherMethod = await ask('GET', '/auth/login')
        for (const [answer, status] of [
          [large, 413],
          [unknown, 404],
          [otherMethod, 405],
        ] as const) {
          assert.equal(answer.status, status)
          assert.equal(answer.body.error.code, 'AUTH_BAD_REQUEST')
        }

        const ofHost = await fetch(url)
        assert.deepEqual([ofHost.status, await ofHost.text()], [200, 'the host'])
        assert.equal(ofHost.headers.get('x-request-id'), null, 'nothing of ours is in the answers of the host')
        await assert.rejects(fetch(url.replace('127.0.0.1', '127.0.0.2')), 'it listens on this one address')
        const unknownToHost = await fetch(`${url}/auth/me`)
        assert.equal(unknownToHost.status, 404)
        assert.doesNotMatch(await unknownToHost.text(), /AUTH_/)
      })
      assert.doesNotMatch(output, /Warning/)
    })
})
