/** The two commands that go through whole tables: the purge, beside a plain delete, and the import of users. */
import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setTimeout as pause } from 'node:timers/promises'
import { promisify } from 'node:util'
import bcrypt from 'bcrypt'
import { processorMicroseconds } from '../support/processor.ts'
import { fillTables, moduleEnvironment, query, SESSION_COLUMNS, type Stage } from '../support/stage.ts'

const run = promisify(execFile)
const COMMAND = join(import.meta.dirname, '../../cli/cerrojo.ts')
const ENDED_SHARE = 0.6
/** Of the 30 days after which the purge takes them by default. */
const ENDED_SQL = `now() + interval '1 day' * case when number % 10 < ${ENDED_SHARE * 10} then -40 else 14 end`

/** Until the processes that have ended are counted with their parents. */
const REAPED_MS = 300

export interface PurgeAndImport {
  sessions: number
  ended: number
  purge: Effort
  plainDelete: Effort
  purgeOfNothing: Effort
  users: number
  importUsers: Effort
}

interface Effort {
  seconds: number
  /** Processor time of PostgreSQL, and of the command. */
  processorSeconds: number
}

export async function measurePurgeAndImport(stage: Stage): Promise<PurgeAndImport> {
  const sessions = stage.isQuick ? 100_000 : 2_000_000
  const users = stage.isQuick ? 50_000 : 400_000
  const databaseUrl = await stage.createDatabase('purge')
  await (await stage.startModule(databaseUrl)).stop()
  // Both tables alike, and nobody tidies them up meanwhile.
  await query(databaseUrl, 'alter table refresh_tokens set (autovacuum_enabled = false)')
  await fillTables(databaseUrl, sessions, { ...SESSION_COLUMNS, expires_at: ENDED_SQL })
  const twinUrl = await stage.createDatabase('purge_twin', 'purge')
  stage.progress(`two tables of ${sessions} sessions filled`)

  const effort = async (work: () => Promise<unknown>): Promise<Effort> => {
    const counted = [stage.postmasterId, process.pid]
    const [before, startedAtMs] = [processorMicroseconds(counted), performance.now()]
    await work()
    const seconds = (performance.now() - startedAtMs) / 1000
    await pause(REAPED_MS)
    return { seconds, processorSeconds: (processorMicroseconds(counted) - before) / 1e6 }
  }
  const command = (url: string, ...args: string[]) =>
    effort(() =>
      run(process.execPath, ['--max-semi-space-size=4', COMMAND, ...args], {
        env: { ...process.env, ...moduleEnvironment(url, stage.keysSecret), NODE_COMPILE_CACHE: stage.compileCache },
      }),
    )

  const plainDelete = await effort(() =>
    query(twinUrl, `delete from refresh_tokens where least(expires_at, revoked_at) < now() - interval '30 days'`),
  )
  const purge = await command(databaseUrl, 'purge')
  const [counts] = await query(databaseUrl, 'select count(*)::int as left from refresh_tokens')
  const ended = sessions * ENDED_SHARE
  if (counts.left !== sessions - ended) throw new Error(`The purge left ${counts.left} of ${sessions} sessions`)
  await query(databaseUrl, 'vacuum refresh_tokens')
  const purgeOfNothing = await command(databaseUrl, 'purge')
  const told = { purge, 'plain delete': plainDelete, 'nothing to purge': purgeOfNothing }
  stage.progress(
    Object.entries(told)
      .map(([what, { seconds }]) => `${what} ${seconds.toFixed(2)} s`)
      .join(', '),
  )

  const file = join(stage.folder, 'people.jsonl')
  await writeUsers(file, users)
  const importUsers = await command(databaseUrl, 'users', 'import', file)
  stage.progress(`${users} users imported in ${importUsers.seconds.toFixed(1)} s`)
  return { sessions, ended, purge, plainDelete, purgeOfNothing, users, importUsers }
}

async function writeUsers(file: string, users: number): Promise<void> {
  const passwordHash = bcrypt.hashSync(randomUUID(), 4)
  function* lines() {
    for (let user = 0; user < users; user++)
      yield `${JSON.stringify({ email: `imported${user}@example.com`, password_hash: passwordHash })}\n`
  }
  await pipeline(Readable.from(lines()), createWriteStream(file))
}
