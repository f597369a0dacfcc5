import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { createDatabase } from '../../src/db/database.ts'

const SILENT = { info() {}, warn() {}, error() {} }

/** A database that fails so often before it answers. */
function failing(times: number, code: string) {
  let asked = 0
  const run = async () => {
    if (++asked <= times) throw Object.assign(new Error('refused'), { code })
    return { rows: [{ asked }] }
  }
  return createDatabase({ isEmbedded: false, run, transaction: (work) => work(run), close: async () => {} }, SILENT)
}

suite('a statement', () => {
  for (const [what, code] of [
    ['deadlock', '40P01'],
    ['serialization failure', '40001'],
  ] as const)
    test(`that ends in a ${what} three times is asked a fourth time, and no fifth`, async () => {
      assert.deepEqual(await failing(3, code).rows`select`, [{ asked: 4 }])
      const database = failing(4, code)
      await assert.rejects(database.rows`select`, { code: 'AUTH_UNAVAILABLE' })
      assert.deepEqual(await database.rows`select`, [{ asked: 5 }])
    })

  for (const code of ['08006', '57014', '55P03'])
    test(`that fails with ${code} is asked once`, async () => {
      const database = failing(1, code)
      await assert.rejects(database.rows`select`, { code: 'AUTH_UNAVAILABLE' })
      assert.deepEqual(await database.rows`select`, [{ asked: 2 }])
    })
})
