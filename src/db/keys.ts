/** The module's statements on keys. Times are in epoch seconds, and judged by the database's clock alone. */
import type { KeyRow } from '../models/key.ts'
import type { Database } from './database.ts'

export type NewKeyRow = Omit<KeyRow, 'ends_at'>

/** @returns all rows, and the database's time */
export async function readKeyRows(db: Database): Promise<{ rows: KeyRow[]; now: number }> {
  const [clock] = await db.rows<{ now: number }>`select extract(epoch from now())::float8 as now`
  const rows = await db.rows<KeyRow>`
    select use, number, kid, alg, private_jwe,
           extract(epoch from first_use)::float8 as first_use, extract(epoch from ends_at)::float8 as ends_at
      from keys
     order by keys.first_use, number, use`
  return { rows, now: clock?.now as number }
}

/**
 * Of several nodes that insert keys for the same uses at once, in the same order, one inserts all and the others none.
 * @param newest the row that they are sealed like; when it was sealed anew meanwhile, nothing is inserted
 * @returns what was inserted
 */
export function insertKeyRows(db: Database, added: NewKeyRow[], newest: KeyRow | undefined) {
  return db.rows<Pick<KeyRow, 'use' | 'kid' | 'first_use'>>`
    insert into keys (use, number, kid, alg, first_use, private_jwe)
    select use, number, kid, alg, to_timestamp(first_use), private_jwe
      from jsonb_to_recordset(${JSON.stringify(added)}::jsonb)
             as added (use text, number int, kid text, alg text, first_use float8, private_jwe text)
     where ${newest === undefined}::boolean
        or exists (select 1 from keys where private_jwe = ${newest?.private_jwe ?? null}::text for share)
    on conflict do nothing
    returning use, kid, extract(epoch from first_use)::float8 as first_use`
}

/** @returns undefined when it is not yet past `until`, or another node was first */
export function deleteKeyRow(db: Database, kid: string, until: number) {
  return db.row<{ kid: string }>`
    delete from keys
     where kid = ${kid} and to_timestamp(${until}) <= now()
    returning kid`
}
