/** The embedded database, for one process, in a folder. */
import { existsSync } from 'node:fs'
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { PGlite } from '@electric-sql/pglite'
import { StartError } from '../config.ts'
import type { Engine } from './database.ts'
import { migrate } from './migrations.ts'

/** @throws {StartError} when another process has the folder open */
export async function openEmbedded(dataDir: string): Promise<Engine> {
  await mkdir(dataDir, { recursive: true, mode: 0o700 })
  const lock = await lockFolder(dataDir)
  const folder = join(dataDir, 'postgres')
  if (!existsSync(folder)) {
    // Made aside and renamed when whole, so that a first start cut short leaves nothing to trip over.
    const unfinished = `${folder}.unfinished`
    await rm(unfinished, { recursive: true, force: true })
    await (await PGlite.create(unfinished)).close()
    await rename(unfinished, folder)
  }
  const database = await PGlite.create(folder)
  await migrate(async (text) => (await database.exec(text)).at(-1) ?? { rows: [] })
  const close = async () => {
    await database.close()
    lock.close()
  }
  return { isEmbedded: true, run: (text, values) => database.query(text, values), close }
}

/** Two processes would ruin the embedded database. SQLite holds the kernel's lock, which ends with its process. */
async function lockFolder(dataDir: string): Promise<DatabaseSync> {
  const holderFile = join(dataDir, 'process-id')
  const lock = new DatabaseSync(join(dataDir, 'lock'), { timeout: 0 })
  try {
    lock.exec('begin exclusive')
  } catch {
    const holder = await readFile(holderFile, 'utf8').catch(() => 'unknown')
    throw new StartError(`The embedded database in ${dataDir} is in use by process ${holder}`)
  }
  await writeFile(holderFile, String(process.pid))
  return lock
}
