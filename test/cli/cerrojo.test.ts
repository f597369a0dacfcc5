import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmod, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { type Environment, freshEnvironment, logInSomebody, me, refresh, startServer } from '../support/server.ts'

const COMMAND = join(import.meta.dirname, '../../cli/cerrojo.ts')
const newSecret = () => randomBytes(32).toString('base64url')

interface Result {
  code: number
  stdout: string
  stderr: string
}

function cerrojo(env: Environment, ...words: string[]): Promise<Result> {
  return new Promise((resolve) => {
    const options = { env: { PATH: process.env.PATH, ...env }, cwd: env.AUTH_KEYS_DIR }
    execFile(process.execPath, [COMMAND, ...words], options, (error, stdout, stderr) =>
      resolve({ code: error ? Number(error.code) : 0, stdout, stderr }),
    )
  })
}

/** Runs a command that must succeed. */
async function run(env: Environment, ...words: string[]): Promise<string> {
  const { code, stdout, stderr } = await cerrojo(env, ...words)
  assert.deepEqual([code, stderr], [0, ''])
  return stdout
}

async function states(env: Environment): Promise<string[]> {
  const keys: { use: string; state: string }[] = JSON.parse(await run(env, 'keys', 'list', '--json'))
  return keys.map(({ use, state }) => `${use} ${state}`)
}

async function contents(env: Environment): Promise<Record<string, string>[]> {
  const folder = env.AUTH_KEYS_DIR as string
  return Promise.all(
    (await readdir(folder)).map(async (name) => JSON.parse(await readFile(join(folder, name), 'utf8'))),
  )
}

suite('cerrojo keys', () => {
  test('list shows a table of every key, its state and its times, and no private member', async () => {
    const env = await freshEnvironment()
    const table = await run(env, 'keys', 'list')
    assert.match(table, /^USE +KID +ALG +STATE +SINCE +UNTIL\nsig +[\w-]{43} +ES256 +active +\d{4}-\S+Z +-\n/)
    assert.equal(table.trimEnd().split('\n').length, 4)
    for (const { d } of await contents(env)) assert.ok(!table.includes(d as string))
  })

  test('rotate makes a next key of each use, or of one, and refuses to make two', async () => {
    const env = await freshEnvironment()
    await run(env, 'keys', 'rotate', '--use', 'sig')
    assert.deepEqual(await states(env), ['sig active', 'sig next', 'enc active', 'enc_front active'])
    assert.match((await cerrojo(env, 'keys', 'rotate')).stderr, /^cerrojo: the next sig key is made already.*\n$/)
    await run(env, 'keys', 'rotate', '--use', 'enc')
    assert.equal((await states(env)).filter((state) => state.endsWith('next')).length, 2)
  })

  test('rotate --now makes a key active at once and deletes the old ones; sessions live on', async () => {
    const server = await startServer({ AUTH_JWKS_CACHE_TTL_SEC: '1' })
    const before = await logInSomebody(server)
    const told = await run(server.env, 'keys', 'rotate', '--now')
    assert.match(told, /every access token made before is refused/)
    assert.deepEqual(await states(server.env), ['sig active', 'enc active', 'enc_front active'])
    let last = 200
    while (last === 200) last = (await me(server, before.access_token)).status
    assert.equal(last, 401)
    const after = await refresh(server, before.refresh_token)
    assert.equal((await me(server, after.body.access_token)).status, 200)
  })

  test('rotate --alg makes a key of another algorithm and says what else to set', async () => {
    const env = await freshEnvironment()
    assert.match(await run(env, 'keys', 'rotate', '--use', 'sig', '--alg', 'RS256'), /set RS256 in the environment/)
    assert.match(await run(env, 'keys', 'list'), /RS256 +next/)
  })

  test('export gives the private enc keys and the address of the JWKS, and nothing else', async () => {
    const env = await freshEnvironment()
    const exported = JSON.parse(await run(env, 'keys', 'export', '--url', 'https://auth.example.com'))
    assert.deepEqual(Object.keys(exported), ['jwksUrl', 'decryptionKeys'])
    assert.equal(exported.jwksUrl, 'https://auth.example.com/.well-known/jwks.json')
    assert.deepEqual(
      exported.decryptionKeys.map(({ use, d }: Record<string, string>) => [use, typeof d]),
      [['enc', 'string']],
    )
  })

  test('encrypt puts every key at rest under the secret, and the server starts with it alone', async () => {
    const env = await freshEnvironment()
    const secured = { ...env, AUTH_KEYS_SECRET: newSecret() }
    assert.match(await run(secured, 'keys', 'encrypt'), /^encrypted 3 key files/)
    for (const file of await contents(env)) assert.ok(file.ciphertext && !('d' in file))
    const folder = env.AUTH_KEYS_DIR as string
    for (const name of await readdir(folder)) assert.equal((await stat(join(folder, name))).mode & 0o777, 0o600)
    await run(secured, 'keys', 'rotate', '--use', 'sig')
    assert.ok((await contents(env)).every((file) => file.ciphertext))

    const server = await startServer(secured)
    assert.equal((await me(server, (await logInSomebody(server)).access_token)).status, 200)
    for (const wrong of [env, { ...env, AUTH_KEYS_SECRET: newSecret() }])
      await assert.rejects(startServer(wrong), /^Error: The key file .*-\d\.json cannot be read/)
  })

  test('rekey changes the secret while a server runs that knows both', async () => {
    const env = await freshEnvironment({ AUTH_JWKS_CACHE_TTL_SEC: '1' })
    const [first, second] = [newSecret(), newSecret()]
    await run({ ...env, AUTH_KEYS_SECRET: first }, 'keys', 'encrypt')
    const both = { ...env, AUTH_KEYS_SECRET: second, AUTH_KEYS_SECRET_PREVIOUS: first }
    const server = await startServer(both)
    const { access_token } = await logInSomebody(server)
    assert.match(await run(both, 'keys', 'rekey'), /^encrypted 3 key files/)
    const keysAfter = JSON.parse(await run({ ...env, AUTH_KEYS_SECRET: second }, 'keys', 'list', '--json'))
    assert.equal(keysAfter.length, 3)
    assert.equal((await me(server, access_token)).status, 200)
    assert.equal((await cerrojo({ ...env, AUTH_KEYS_SECRET: first }, 'keys', 'list')).code, 1)
  })

  test('a secret may stand in a file, and is never printed', async () => {
    const env = await freshEnvironment()
    const secret = newSecret()
    const path = join(env.AUTH_DATA_DIR as string, 'secret')
    await writeFile(path, `${secret}\n`)
    await run({ ...env, AUTH_KEYS_SECRET_FILE: path }, 'keys', 'encrypt')
    assert.equal((await cerrojo({ ...env, AUTH_KEYS_SECRET: secret }, 'keys', 'list')).code, 0)
    const { stderr } = await cerrojo({ ...env, AUTH_KEYS_SECRET: `${secret}x` }, 'keys', 'list')
    assert.match(stderr, /AUTH_KEYS_SECRET must be 32 random bytes/)
    assert.ok(!stderr.includes(secret))
  })
})

suite('cerrojo', () => {
  test('explains itself, and says on one line what it did not understand', async () => {
    const env = await freshEnvironment()
    assert.match(await run(env, '--help'), /^Usage: cerrojo <command>.*Examples:/s)
    for (const words of [['fly'], ['keys'], ['keys', 'list', '--now'], ['purge', '--days', 'x'], ['--nonsense']]) {
      const { code, stdout, stderr } = await cerrojo(env, ...words)
      assert.deepEqual([code, stdout], [1, ''], words.join(' '))
      assert.match(stderr, /^cerrojo: .+\n$/)
    }
  })

  test('migrate makes the schema, and purge deletes only sessions that expired long ago', async () => {
    const env = await freshEnvironment({ AUTH_REFRESH_TTL_SEC: '1' })
    assert.match(await run(env, 'migrate'), /up to date/)
    const server = await startServer(env)
    const { refresh_token } = await logInSomebody(server)
    await server.close()
    assert.match(await run(env, 'purge'), /^deleted 0 sessions/)
    let deleted = ''
    while (!deleted.startsWith('deleted 1 session ')) deleted = await run(env, 'purge', '--days', '0')
    const after = await startServer(env)
    assert.equal((await refresh(after, refresh_token)).body.error.code, 'AUTH_REFRESH_NOT_FOUND')
  })

  test('leaves an embedded database alone that a running server holds', async (t) => {
    const env = await freshEnvironment()
    if (env.DATABASE_URL) return t.skip('PostgreSQL serves several at once')
    await startServer(env)
    const { code, stderr } = await cerrojo(env, 'purge')
    assert.deepEqual(
      [code, stderr],
      [1, `cerrojo: The embedded database in ${env.AUTH_DATA_DIR} is in use by process ${process.pid}\n`],
    )
  })

  test('doctor finds what is broken or dangerous, and its exit code tells', async () => {
    const env = await freshEnvironment({ AUTH_COOKIE_SECURE: 'false', AUTH_BCRYPT_ROUNDS: '4' })
    if (env.DATABASE_URL) await run(env, 'migrate')
    const folder = env.AUTH_KEYS_DIR as string
    await chmod(join(folder, 'sig-1.json'), 0o644)
    const report = await run(env, 'doctor')
    for (const found of [
      'others may read',
      'AUTH_COOKIE_SECURE is false',
      'AUTH_BCRYPT_ROUNDS is 4',
      'rate limit is off',
    ])
      assert.ok(report.includes(found), found)

    await writeFile(join(folder, 'sig-1.json'), '{"d":"do not print me"}')
    const { code, stdout } = await cerrojo(env, 'doctor', '--json')
    assert.equal(code, 1)
    const findings: { level: string; about: string }[] = JSON.parse(stdout)
    assert.ok(findings.some(({ level, about }) => level === 'broken' && about === 'keys'))
    assert.ok(!stdout.includes('do not print me'))
    const unreachable = { ...env, DATABASE_URL: 'postgres://somebody:hidden@127.0.0.1:1/none' }
    const down = await cerrojo(unreachable, 'doctor')
    assert.equal(down.code, 1)
    assert.ok(!`${down.stdout}${down.stderr}`.includes('hidden'))
  })
})
