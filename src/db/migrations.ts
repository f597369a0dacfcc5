/** Brings the schema up to date, by numbered files of SQL. */
import { readdir, readFile } from 'node:fs/promises'
import { StartError } from '../config.ts'

/** Answers the rows of the last statement in the text. */
type Run = (text: string) => Promise<{ rows: unknown[] }>

const MIGRATIONS = new URL('../../migrations/', import.meta.url)
const MIGRATION_LOCK = 420261122

export async function migrationFiles(): Promise<string[]> {
  return (await readdir(MIGRATIONS)).filter((name) => name.endsWith('.sql')).sort()
}

/**
 * Asks before it changes anything, so that a role without the right to do so can run the module. Migrations only add,
 * so an older version runs on a newer schema, except after one that is called `….breaking.sql`.
 * @throws {StartError} when a newer version has made such a change
 */
export async function migrate(run: Run): Promise<void> {
  const { rows } = await run(`select to_regclass('schema_migrations') is not null as is_there`)
  const [{ is_there }] = rows as [{ is_there: boolean }]
  const known = await migrationFiles()
  const applied = is_there ? await appliedMigrations(run) : []
  const breaking = applied.find((name) => name.endsWith('.breaking.sql') && !known.includes(name))
  if (breaking) throw new StartError(`A newer version has changed the database (${breaking}); start that version`)
  if (known.some((name) => !applied.includes(name))) await applyInTurn(run, known)
}

/** In one transaction, one node after the other: whoever comes second finds the work done. */
async function applyInTurn(run: Run, known: string[]): Promise<void> {
  await run(`
    begin isolation level read committed;
    set local lock_timeout = 0;
    select pg_advisory_xact_lock(${MIGRATION_LOCK});
    create table if not exists schema_migrations (file_name text primary key)`)
  const applied = await appliedMigrations(run)
  for (const fileName of known.filter((name) => !applied.includes(name))) {
    await run(await readFile(new URL(fileName, MIGRATIONS), 'utf8'))
    await run(`insert into schema_migrations values ('${fileName}')`)
  }
  await run('commit')
}

export async function appliedMigrations(run: Run): Promise<string[]> {
  const { rows } = await run('select file_name from schema_migrations')
  return (rows as { file_name: string }[]).map(({ file_name }) => file_name)
}
