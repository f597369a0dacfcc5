/** A resource server on another machine, whose keys come by one file alone, through rotations. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { findPostgres, startCluster } from '../../../test/support/cluster.ts'
import { readKeys, replaceKey } from '../../../test/support/keys.ts'
import { freshEnvironment, logInSomebody, refresh, startProcess } from '../../../test/support/server.ts'
import { until } from '../../../test/support/wait.ts'

const COMMAND = join(import.meta.dirname, '../../../cli/cerrojo.ts')
const RESOURCE_SERVER = join(import.meta.dirname, 'support/resource_server.ts')

/** A program that runs until the tests end. */
function start(env: Record<string, string>, ...words: string[]) {
  const program = spawn(process.execPath, words, { cwd: tmpdir(), env: { PATH: process.env.PATH, ...env } })
  after(() => program.kill('SIGKILL'))
  const told = { output: '', errors: '' }
  program.stdout.on('data', (chunk) => {
    told.output += chunk
  })
  program.stderr.on('data', (chunk) => {
    told.errors += chunk
  })
  return told
}

/** @returns when it has ended well */
async function cerrojo(env: Record<string, string>, ...words: string[]): Promise<void> {
  const program = spawn(process.execPath, [COMMAND, ...words], { env: { PATH: process.env.PATH, ...env } })
  assert.deepEqual(await once(program, 'exit'), [0, null])
}

const kidOf = (token: string): string =>
  JSON.parse(Buffer.from(token.split('.')[0] as string, 'base64url').toString()).kid

suite('a resource server', { skip: findPostgres() ? false : 'PostgreSQL is not installed' }, () => {
  test('takes every token through three rotations, by nothing but the file that is kept for it', async () => {
    const cluster = await startCluster()
    after(() => cluster.remove())
    const env = {
      ...(await freshEnvironment()),
      DATABASE_URL: cluster.url,
      AUTH_KEYS_SECRET: randomBytes(32).toString('base64url'),
      AUTH_JWKS_CACHE_TTL_SEC: '1',
    }
    const issuer = await startProcess(env)
    const folder = await mkdtemp(join(tmpdir(), 'cerrojo-resource-'))
    after(() => rm(folder, { recursive: true, force: true }))
    const keysFile = join(folder, 'cerrojo-keys.json')
    const watch = start(env, COMMAND, 'keys', 'export', '--url', issuer.url, '--out', keysFile, '--watch')
    await until('the file', () => watch.output !== '')
    const resource = start({}, RESOURCE_SERVER, keysFile)
    await until('the resource server', () => resource.output !== '')
    const url = resource.output.trim()

    let goesOn = true
    const seen = new Map<string, number>()
    async function show(token: string): Promise<void> {
      const response = await fetch(url, { headers: { authorization: `Bearer ${token}` } })
      assert.equal(response.status, 200, `${await response.text()} ${resource.errors} ${watch.errors}`)
      seen.set(kidOf(token), (seen.get(kidOf(token)) ?? 0) + 1)
    }
    const clients = Array.from({ length: 4 }, async () => {
      let { access_token, refresh_token } = await logInSomebody(issuer)
      const first = access_token
      while (goesOn) {
        await Promise.all([show(access_token), show(first)])
        const granted = await refresh(issuer, refresh_token)
        assert.equal(granted.status, 200)
        ;({ access_token, refresh_token } = granted.body)
      }
    })

    async function rotate(): Promise<void> {
      await cerrojo(env, 'keys', 'rotate')
      const now = Date.now() / 1000
      const next = (await readKeys(env)).filter(({ first_use }) => first_use > now)
      const enc = next.find(({ use }) => use === 'enc')
      assert.equal(next.length, 3)
      const { kid } = enc as { kid: string }
      await until('the next key in the file', async () => (await readFile(keysFile, 'utf8')).includes(kid))
      for (const key of next) await replaceKey(env, key, { first_use: Math.floor(now) }) // its days of lead are over
      await until('tokens of the next key', () => (seen.get(kid) ?? 0) > 20)
    }
    const rotations = async () => {
      for (let rotation = 0; rotation < 3; rotation++) await rotate()
      goesOn = false
    }
    await Promise.all([...clients, rotations()])
    assert.equal(seen.size, 4)
    assert.equal(resource.errors, '')
  })
})
