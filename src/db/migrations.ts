/** Brings the schema up to date, by numbered files of SQL. */
import { readdir, readFile } from 'node:fs/promises'

const MIGRATIONS = new URL('../../migrations/', import.meta.url)
const MIGRATION_LOCK = 420261122

export async function migrationFiles(): Promise<string[]> {
  return (await readdir(MIGRATIONS)).filter((name) => name.endsWith('.sql')).sort()
}

/** In one transaction, one node after the other: whoever comes second finds the work done. */
export async function migrate(run: (text: string) => Promise<{ rows: unknown[] } | undefined>): Promise<void> {
  await run(`
    begin isolation level read committed;
    select pg_advisory_xact_lock(${MIGRATION_LOCK});
    create table if not exists schema_migrations (file_name text primary key)`)
  const applied = (await run('select file_name from schema_migrations'))?.rows as { file_name: string }[]
  for (const fileName of await migrationFiles()) {
    if (applied.some(({ file_name }) => file_name === fileName)) continue
    await run(await readFile(new URL(fileName, MIGRATIONS), 'utf8'))
    await run(`insert into schema_migrations values ('${fileName}')`)
  }
  await run('commit')
}
