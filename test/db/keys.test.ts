/** What the statements on keys promise when several nodes use them at once. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { suite, test } from 'node:test'
import { deleteKeyRow, insertKeyRows, type NewKeyRow, readKeyRows } from '../../src/db/keys.ts'
import { KEY_USES } from '../../src/models/key.ts'
import { runSql, startServer } from '../support/server.ts'

const { database, env } = await startServer()
const newRow = (use: NewKeyRow['use'], number: number): NewKeyRow => {
  return { use, number, kid: randomUUID(), alg: 'x', first_use: 1_000_000, private_jwe: randomUUID() }
}
const count = async () => (await readKeyRows(database)).rows.length

suite('keys that are inserted', () => {
  test('by many at once are those of one, all of them', async () => {
    for (let number = 100; number < 110; number++) {
      const sets = Array.from({ length: 8 }, () => KEY_USES.map((use) => newRow(use, number)))
      const inserted = await Promise.all(sets.map((rows) => insertKeyRows(database, rows, undefined)))
      assert.deepEqual(inserted.map(({ length }) => length).sort(), [0, 0, 0, 0, 0, 0, 0, 4])
      const winner = inserted.findIndex(({ length }) => length > 0)
      const stored = (await readKeyRows(database)).rows.filter((row) => row.number === number)
      const kids = (rows: { kid: string }[]) => rows.map(({ kid }) => kid).sort()
      assert.deepEqual(kids(stored), kids(sets[winner] as NewKeyRow[]))
      assert.deepEqual(kids(inserted[winner] as { kid: string }[]), kids(stored))
    }
  })

  test('are none when the row that they are sealed like was sealed anew, or is gone', async () => {
    const newest = (await readKeyRows(database)).rows.at(-1)
    assert.equal((await insertKeyRows(database, [newRow('sig', 200)], newest)).length, 1)
    const before = await count()
    await runSql(env, "update keys set private_jwe = 'anew' where kid = $1", [newest?.kid])
    assert.equal((await insertKeyRows(database, [newRow('sig', 201)], newest)).length, 0)
    await runSql(env, 'delete from keys where kid = $1', [newest?.kid])
    assert.equal((await insertKeyRows(database, [newRow('sig', 201)], newest)).length, 0)
    assert.equal(await count(), before - 1)
  })
})

test('a key is deleted once, and not before its time is over for the database', async () => {
  const { rows, now } = await readKeyRows(database)
  const kid = rows[0]?.kid as string
  assert.equal(await deleteKeyRow(database, kid, now + 60), undefined)
  assert.equal(await count(), rows.length)
  const deleted = await Promise.all([1, 2, 3].map(() => deleteKeyRow(database, kid, now)))
  assert.equal(deleted.filter((row) => row !== undefined).length, 1)
  assert.equal(await count(), rows.length - 1)
})

test('keys are read in an order that no rewriting of their rows changes', async () => {
  const order = async () => (await readKeyRows(database)).rows.map(({ kid }) => kid)
  const before = await order()
  for (const kid of before.toReversed()) await runSql(env, 'update keys set alg = alg where kid = $1', [kid])
  assert.deepEqual(await order(), before)
})
