/** The embedded database on a disk that fills up. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, statfsSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { loadConfig } from '../../src/config.ts'
import { openDatabase } from '../../src/db/connection.ts'
import { freshEnvironment, startServer } from '../support/server.ts'
import { until } from '../support/wait.ts'

const MEGABYTE = 1024 * 1024
const SILENT = { info() {}, warn() {}, error() {} }

/** A small file system of its own, or undefined where none can be mounted. */
function mountSmallDisk(megabytes: number): string | undefined {
  const folder = mkdtempSync(join(tmpdir(), 'cerrojo-disk-'))
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tmpfs', folder], { stdio: 'pipe' })
  } catch {
    return undefined
  }
  after(() => {
    execFileSync('umount', ['--lazy', folder])
    rmSync(folder, { recursive: true, force: true })
  })
  return folder
}

suite('the embedded database', async () => {
  test('keeps its folder to its own user', { skip: process.platform === 'win32' }, async () => {
    const { DATABASE_URL: _, ...env } = await freshEnvironment()
    const folder = join(env.AUTH_DATA_DIR as string, 'new')
    await startServer({ ...env, AUTH_DATA_DIR: folder })
    assert.equal(statSync(folder).mode & 0o777, 0o700)
  })

  test('has a thousand statements wait at most, and answers those and all that come later', async () => {
    const { DATABASE_URL: _, ...env } = await freshEnvironment()
    const database = await openDatabase(loadConfig(env), SILENT)
    after(() => database.close())
    const ask = () => database.rows`select 1 as one`
    const answers = await Promise.allSettled(Array.from({ length: 1 + 1000 + 100 }, ask))
    const refusals = answers.filter((answer) => answer.status === 'rejected')
    assert.equal(refusals.length, 100)
    for (const { reason } of refusals) {
      assert.equal(reason.code, 'AUTH_UNAVAILABLE')
      assert.match(reason.cause.message, /^1000 statements wait for the embedded database already$/)
    }
    assert.deepEqual(await ask(), [{ one: 1 }])
  })

  const disk = mountSmallDisk(110)
  test('is unavailable while its disk is full and serves when there is room again, loses nothing, and does not grow', {
    skip: disk ? false : 'no file system can be mounted here',
  }, async () => {
    if (!disk) return
    const told: string[] = []
    const log = { info() {}, warn: () => told.push('back'), error: () => told.push('away') }
    const database = await openDatabase(loadConfig({ AUTH_DATA_DIR: join(disk, 'data') }), log)
    after(() => database.close())
    await database.query({ text: 'create table counters (id int primary key, count int, weight text)', values: [] })
    await database.query({ text: `insert into counters select id, 0, '' from generate_series(0, 99) id`, values: [] })
    const { bavail, bsize } = statfsSync(disk)
    const filler = join(disk, 'filler')
    writeFileSync(filler, Buffer.alloc(bavail * bsize - 4 * MEGABYTE))

    const counts = Array.from({ length: 100 }, () => 0)
    /** Writes what cannot be compressed, so that the log of the database grows until it finds no room. */
    async function count(id: number): Promise<void> {
      const weight = randomBytes(3000).toString('hex')
      const text = 'update counters set count = count + 1, weight = $2 where id = $1'
      await database.query({ text, values: [id, weight] })
      counts[id] = (counts[id] ?? 0) + 1
    }
    for (let id = 0; ; id = (id + 1) % 100) {
      const failure = await count(id).catch((error) => error)
      if (failure) {
        assert.equal(failure.code, 'AUTH_UNAVAILABLE')
        if (failure.cause.severity === 'PANIC') break
      }
      if (id === 0) await database.query({ text: 'vacuum counters', values: [] }).catch(() => {})
    }

    const before = process.memoryUsage().rss
    for (let attempt = 1; attempt <= 20; attempt++)
      await assert.rejects(count(0), { code: 'AUTH_UNAVAILABLE' }, 'and no statement waits for ever')
    assert.ok(process.memoryUsage().rss < before + 50 * MEGABYTE)
    rmSync(filler)
    await until('the database to be back', () =>
      count(0)
        .then(() => true)
        .catch(() => false),
    )
    const { rows } = await database.query({ text: 'select count from counters order by id', values: [] })
    assert.deepEqual(
      rows.map((row) => (row as { count: number }).count),
      counts,
      'what was answered is there, no more, no less',
    )
    await until('the log to say so', async () => (await database.rows`select`) && told.at(-1) === 'back')
    assert.deepEqual(told.slice(-2), ['away', 'back'])
  })
})
