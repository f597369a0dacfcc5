import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { loadConfig } from '../../src/config.ts'
import type { Database } from '../../src/db/database.ts'
import { readSecrets } from '../../src/keys/secret.ts'
import { age, openStore, readKeys, replaceKey, USES } from '../support/keys.ts'
import { type Environment, freshEnvironment, logInSomebody, me, runSql, startServer } from '../support/server.ts'

const newSecret = () => randomBytes(32).toString('base64url')
const fileOf = (env: Environment) => join(env.AUTH_DATA_DIR as string, 'keys-secret')

/** A database without keys, and no secret yet. */
async function withoutKeys(env: Environment = {}): Promise<Environment> {
  const fresh = await freshEnvironment(env)
  await runSql(fresh, 'delete from keys')
  await rm(fileOf(fresh), { force: true })
  return fresh
}

/** Why a server does not start. */
async function refusal(env: Environment): Promise<string> {
  const error = await startServer(env).then(
    () => assert.fail('it started'),
    (error) => error,
  )
  return error.message
}

suite('the secret', () => {
  test('is made once, in a file that only its owner reads, when nothing is set', async () => {
    const env = await withoutKeys()
    if (env.DATABASE_URL) await rm(env.AUTH_DATA_DIR as string, { recursive: true }) // the embedded database is there
    const server = await startServer(env)
    const secret = await readFile(fileOf(env), 'utf8')
    assert.match(secret, /^[\w-]{43}$/)
    assert.equal((await stat(fileOf(env))).mode & 0o777, 0o600)
    if (env.DATABASE_URL) assert.equal((await stat(env.AUTH_DATA_DIR as string)).mode & 0o777, 0o700)
    const { access_token } = await logInSomebody(server)
    await server.close()

    const again = await startServer(env)
    assert.equal((await me(again, access_token)).status, 200)
    assert.equal(await readFile(fileOf(env), 'utf8'), secret)
  })

  test('of two installations is not the same', async () => {
    const secrets = await Promise.all(
      [1, 2].map(async () => {
        const env = await withoutKeys()
        await startServer(env)
        return readFile(fileOf(env), 'utf8')
      }),
    )
    assert.notEqual(secrets[0], secrets[1])
  })

  test('that is set is the one, and no file is made', async () => {
    const env = await withoutKeys({ AUTH_KEYS_SECRET: newSecret() })
    await startServer(env)
    assert.equal((await readKeys(env)).length, 4) // which opens them with it
    assert.ok(!(await readdir(env.AUTH_DATA_DIR as string)).includes('keys-secret'))
  })

  test('that is set leaves the data folder alone, where it cannot be written', async (t) => {
    const env = await withoutKeys({ AUTH_KEYS_SECRET: newSecret() })
    if (!env.DATABASE_URL) return t.skip('the embedded database is in it')
    const server = await startServer({ ...env, AUTH_DATA_DIR: '/dev/null/data' })
    assert.equal((await me(server, (await logInSomebody(server)).access_token)).status, 200)
  })

  test('that cannot be written keeps the module from starting, which says what to do', async (t) => {
    const env = await withoutKeys()
    if (!env.DATABASE_URL) return t.skip('the embedded database could not be written either')
    const message = await refusal({ ...env, AUTH_DATA_DIR: '/dev/null/data' })
    assert.match(
      message,
      /^The secret for the keys cannot be written \(ENOTDIR.*\): set AUTH_KEYS_SECRET to .*AUTH_DATA_DIR$/,
    )
  })

  test('is not made anew when the database has keys, so that it can be restored', async () => {
    const env = await freshEnvironment()
    const secret = await readFile(fileOf(env), 'utf8')
    await rm(fileOf(env))
    const message = await refusal(env)
    assert.ok(
      message.includes(`does not open with the secret from ${fileOf(env)}, which does not exist: copy`),
      message,
    )
    assert.ok(!(await readdir(env.AUTH_DATA_DIR as string)).includes('keys-secret'))
    await writeFile(fileOf(env), `${secret}\n`)
    await startServer(env)
  })

  test('that is wrong is named by where it came from, with what to do, and is not shown', async () => {
    const env = await freshEnvironment()
    const wrong = newSecret()
    const path = join(env.AUTH_DATA_DIR as string, 'mounted')
    await writeFile(path, wrong)
    for (const [change, source] of [
      [{ AUTH_KEYS_SECRET: wrong }, 'AUTH_KEYS_SECRET'],
      [{ AUTH_KEYS_SECRET_FILE: path }, `AUTH_KEYS_SECRET_FILE (${path})`],
    ] as const) {
      const message = await refusal({ ...env, ...change, AUTH_KEYS_SECRET_PREVIOUS: newSecret() })
      assert.ok(
        message.includes(`does not open with the secret from ${source}: copy AUTH_KEYS_SECRET, or the file`),
        message,
      )
      assert.match(message, /"cerrojo keys reset --yes"/)
      assert.ok(!message.includes(wrong))
    }
    await writeFile(fileOf(env), wrong)
    assert.ok((await refusal(env)).includes(`does not open with the secret from ${fileOf(env)}: copy`))
  })

  test('of before opens the keys as well, and those made next too, until they are sealed anew', async () => {
    const env = await freshEnvironment()
    const before = await readFile(fileOf(env), 'utf8')
    await age(env, 91 * 24 * 60 * 60)
    const server = await startServer({ ...env, AUTH_KEYS_SECRET: newSecret(), AUTH_KEYS_SECRET_PREVIOUS: before })
    const keys = await readKeys({ ...env, AUTH_KEYS_SECRET: before })
    for (const use of USES) assert.equal(keys.filter((key) => key.use === use).length, 2)
    assert.equal((await me(server, (await logInSomebody(server)).access_token)).status, 200)
  })

  test('of before is not what a key is left under that was being made when all others were sealed anew', async () => {
    const server = await startServer()
    const before = await readFile(fileOf(server.env), 'utf8')
    const env = { ...server.env, AUTH_KEYS_SECRET: newSecret(), AUTH_KEYS_SECRET_PREVIOUS: before }
    await age(server.env, 91 * 24 * 60 * 60)
    let inserts = 0
    const rows: Database['rows'] = async (texts, ...values) => {
      if (texts[0]?.includes('insert into keys') && inserts++ === 0)
        for (const key of await readKeys(server.env)) await replaceKey(env, key, {})
      return server.database.rows(texts, ...values)
    }
    await openStore({ env, database: { ...server.database, rows } })
    assert.equal((await readKeys(env)).length, 7, 'all open with the new one alone')
    assert.equal(inserts, 2)
  })

  test('that a file must hold, and does not, is asked for', async () => {
    const env = await withoutKeys()
    for (const content of ['', 'too short', newSecret() + newSecret()]) {
      await writeFile(fileOf(env), content)
      assert.match(await refusal(env), /keys-secret must hold 32 bytes in base64url: restore it, or delete it/)
    }
    await rm(fileOf(env))
    await mkdir(fileOf(env))
    assert.match(await refusal(env), /EISDIR/)
  })

  test('that another process is just writing is waited for', async () => {
    const config = loadConfig(await withoutKeys())
    const path = join(config.dataDir, 'keys-secret')
    const whole = newSecret()
    await writeFile(path, '')
    const reading = readSecrets(config, true)
    await pause(100)
    await writeFile(path, whole.slice(0, 20))
    await pause(100)
    await writeFile(path, whole)
    const { sealingKeys } = await reading
    assert.deepEqual(sealingKeys, (await readSecrets(config, false)).sealingKeys)
    assert.equal(sealingKeys.length, 1)
  })

  test('is one, when many processes make it at once in one folder', async () => {
    for (let round = 0; round < 20; round++) {
      const config = loadConfig({ AUTH_DATA_DIR: join((await freshEnvironment()).AUTH_DATA_DIR as string, 'new') })
      const read = await Promise.all(Array.from({ length: 10 }, () => readSecrets(config, true)))
      assert.equal(new Set(read.map(({ sealingKeys }) => sealingKeys[0]?.toString('hex'))).size, 1)
    }
  })
})
