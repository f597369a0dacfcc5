/** Whatever a command waits for, a signal ends it. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { COMMAND, run } from '../support/command.ts'
import { type Environment, freshEnvironment, onPostgres } from '../support/server.ts'
import { until } from '../support/wait.ts'

const ID = '00000000-0000-4000-8000-000000000000'
const HASH = `$2b$04$${'a'.repeat(53)}`

/** A database that takes connections and never says a word. */
const silent = createServer((socket) => connected.push(socket))
const connected: Socket[] = []
let silentUrl: string
before(async () => {
  await once(silent.listen(0, '127.0.0.1'), 'listening')
  silentUrl = `postgres://cerrojo@127.0.0.1:${(silent.address() as AddressInfo).port}/cerrojo`
})
after(() => {
  silent.close()
  for (const socket of connected) socket.destroy()
})

/** Runs a command, whose standard input stays open. */
function begin(env: Environment, words: string[]) {
  const child = spawn(process.execPath, [COMMAND, ...words], {
    env: { PATH: process.env.PATH, ...env },
    cwd: tmpdir(),
  })
  after(() => child.kill('SIGKILL'))
  const command = { child, told: '', exitCode: exitCodeOf(child) }
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (command.told += chunk))
  return command
}

/** As a shell has it, to which a program that a signal ends has a code too. */
async function exitCodeOf(child: ChildProcess): Promise<number> {
  const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null]
  return code ?? 128 + constants.signals[signal as NodeJS.Signals]
}

suite('a signal', () => {
  const waiting: [words: string, input: string][] = [
    ['start', ''],
    ['migrate', ''],
    ['purge', ''],
    ['keys list', ''],
    ['keys rotate', ''],
    ['keys export --out keys.json', ''],
    ['keys export --watch --out keys.json', ''],
    ['users show ada@example.com', ''],
    ['users import', `{"email":"ada@example.com","password_hash":"${HASH}"}\n`],
    [`sessions end ${ID}`, ''],
  ]
  for (const [words, input] of waiting)
    test(`ends cerrojo ${words} that waits for a database`, async () => {
      const env = { AUTH_DATA_DIR: tmpdir(), DATABASE_URL: silentUrl, DATABASE_CONNECT_TIMEOUT_SEC: '600' }
      const before = connected.length
      const { child, exitCode } = begin(env, words.split(' '))
      child.stdin.write(input)
      await until('a connection', () => connected.length > before)
      child.kill('SIGTERM')
      assert.equal(await exitCode, words === 'start' ? 0 : 143)
    })

  test('ends an import, which says how far it has come, and leaves a database in which that is true', async () => {
    const env = await freshEnvironment()
    const import_ = begin(env, ['users', 'import'])
    for (let number = 1; number <= 5000; number++)
      import_.child.stdin.write(`{"email":"user${number}@example.com","password_hash":"${HASH}"}\n`)
    import_.child.stdin.write('what no user is\n')
    await until('the line behind the first batch', () => import_.told.includes('line 5001: '))
    import_.child.kill('SIGINT')
    assert.equal(await import_.exitCode, 130)
    assert.match(import_.told, /^cerrojo: stopped by SIGINT; lines 1 to 5000 are done, of those behind/m)
    assert.match(await run(env, 'users', 'find', 'user5000@'), /user5000@example\.com/)
  })

  test('ends keys export --watch with 0 when the file is there, while the database is away too', {
    skip: onPostgres ? false : '--watch needs a PostgreSQL',
  }, async () => {
    const { DATABASE_URL: url = '', ...env } = await freshEnvironment({ AUTH_JWKS_CACHE_TTL_SEC: '1' })
    const folder = env.AUTH_DATA_DIR as string
    const urlFile = join(folder, 'url')
    await writeFile(urlFile, url)
    const out = join(folder, 'keys.json')
    const watch = begin({ ...env, DATABASE_URL_FILE: urlFile }, ['keys', 'export', '--watch', '--out', out])
    await until('the file', () => existsSync(out))
    const before = await readFile(out, 'utf8')
    const count = connected.length
    await writeFile(urlFile, silentUrl)
    await until('a look at the database', () => connected.length > count)
    watch.child.kill('SIGTERM')
    assert.equal(await watch.exitCode, 0)
    assert.equal(await readFile(out, 'utf8'), before)
    assert.deepEqual(
      (await readdir(folder)).filter((name) => name.startsWith('keys.json')),
      ['keys.json'],
    )
  })
})
