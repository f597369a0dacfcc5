/** The module as it was before its second edition, taken from this repository's history: what was won must stay won. */
import { execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { FAMILY_SQL } from '../generator/sessions.ts'
import { type ServerProcess, startServer } from './children.ts'
import { BCRYPT_ROUNDS, fillTables, LIMITS_OFF, type Stage } from './stage.ts'

export const FIRST_EDITION = '117dc48'
const ROOT = join(import.meta.dirname, '../..')
/** It found a session by the hash of its family; its tokens may be any 48 bytes, so ours will do. */
const COLUMNS = { family_hash: `sha256(${FAMILY_SQL})`, expires_at: "now() + interval '14 days'" }

/** @returns undefined, and says so, where the history is not there, as in a zip or a shallow clone */
export async function startFirstEdition(stage: Stage, sessions: number): Promise<ServerProcess | undefined> {
  const folder = join(stage.folder, 'first-edition')
  mkdirSync(folder)
  try {
    const archive = execFileSync('git', ['archive', FIRST_EDITION], { cwd: ROOT, stdio: 'pipe', maxBuffer: 2 ** 30 })
    execFileSync('tar', ['-x', '-C', folder], { input: archive })
  } catch {
    stage.progress(`SKIPPED: the first edition, as git finds no commit ${FIRST_EDITION} here; a full clone has it`)
    return undefined
  }
  execFileSync('npm', ['ci', '--omit=dev'], { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] })
  const databaseUrl = await stage.createDatabase('first_edition')
  const server = await startServer(process.execPath, ['--max-semi-space-size=4', join(folder, 'src/main.ts')], {
    ...LIMITS_OFF,
    DATABASE_URL: databaseUrl,
    AUTH_KEYS_DIR: join(folder, 'keys'),
    PORT: '0',
    AUTH_BCRYPT_ROUNDS: String(BCRYPT_ROUNDS),
  })
  await fillTables(databaseUrl, sessions, COLUMNS)
  return server
}
