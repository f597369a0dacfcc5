/** The embedded database, for one process, in a folder. */
import { existsSync } from 'node:fs'
import { mkdir, readFile, rename, rm, statfs, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { DatabaseSync } from 'node:sqlite'
import type { PGlite } from '@electric-sql/pglite'
import pLimit from 'p-limit'
import { StartError } from '../config.ts'
import { type Engine, MOST_WAITING } from './database.ts'
import { migrate } from './migrations.ts'

const REOPEN_INTERVAL_MS = 5000
/** Two segments of the write-ahead log: with less, opening fails, and each failure leaks 160 MiB. */
const LEAST_FREE_BYTES = 32 * 1024 * 1024

const folderIn = (dataDir: string) => join(dataDir, 'postgres')

export function isEmbeddedMade(dataDir: string): boolean {
  return existsSync(folderIn(dataDir))
}

/**
 * A full disk makes it panic, and who asks it again then waits for ever, with the whole process. So it is asked one
 * statement at a time, and after a panic opened anew, once there is room.
 * @param mayMigrate whether its schema is brought up to date
 * @throws {StartError} when another process has the folder open
 */
export async function openEmbedded(dataDir: string, { mayMigrate } = { mayMigrate: true }): Promise<Engine> {
  await mkdir(dataDir, { recursive: true, mode: 0o700 })
  const lock = await lockFolder(dataDir)
  const folder = folderIn(dataDir)
  const { PGlite } = await import('@electric-sql/pglite') // large, and of no use to who has a PostgreSQL
  if (!isEmbeddedMade(dataDir)) {
    // Made aside and renamed when whole, so that a first start cut short leaves nothing to trip over.
    const unfinished = `${folder}.unfinished`
    await rm(unfinished, { recursive: true, force: true })
    await (await PGlite.create(unfinished)).close()
    await rename(unfinished, folder)
  }
  let database: PGlite | undefined = await PGlite.create(folder)
  let openedAtMs = Number.NEGATIVE_INFINITY
  if (mayMigrate) await migrate(async (text) => (await database?.exec(text))?.at(-1) ?? { rows: [] })

  async function reopened(): Promise<PGlite> {
    if (performance.now() - openedAtMs < REOPEN_INTERVAL_MS) throw new Error('the embedded database is broken for now')
    openedAtMs = performance.now()
    const { bavail, bsize } = await statfs(folder)
    if (bavail * bsize < LEAST_FREE_BYTES) throw new Error(`the disk of ${folder} is full`)
    return PGlite.create(folder)
  }

  const inTurn = pLimit(1)
  async function ask<Answer>(work: (open: PGlite) => Promise<Answer>): Promise<Answer> {
    if (inTurn.pendingCount >= MOST_WAITING)
      throw new Error(`${MOST_WAITING} statements wait for the embedded database already`)
    return inTurn(async () => {
      database ??= await reopened()
      try {
        return await work(database)
      } catch (error) {
        if ((error as { severity?: string }).severity === 'PANIC') database = undefined
        throw error
      }
    })
  }
  return {
    isEmbedded: true,
    run: (text, values) => ask((open) => open.query(text, values)),
    transaction: (work) => ask((open) => open.transaction((own) => work((text, values) => own.query(text, values)))),
    close: () =>
      inTurn(async () => {
        await database?.close()
        lock.close()
      }),
  }
}

/** Two processes would ruin the embedded database. SQLite holds the kernel's lock, which ends with its process. */
async function lockFolder(dataDir: string): Promise<DatabaseSync> {
  const holderFile = join(dataDir, 'process-id')
  const { DatabaseSync } = await import('node:sqlite') // Node 22 and 24 warn at its import
  const lock = new DatabaseSync(join(dataDir, 'lock'), { timeout: 0 })
  try {
    lock.exec('begin exclusive')
  } catch {
    const holder = await readFile(holderFile, 'utf8').catch(() => 'unknown')
    throw new StartError(
      `Stop the other process first: the embedded database in ${dataDir} is in use by process ${holder}`,
    )
  }
  await writeFile(holderFile, String(process.pid))
  return lock
}
