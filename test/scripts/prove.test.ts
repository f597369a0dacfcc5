/** What `npm run prove` makes of tests that pass, fail, are skipped, or never ran: small ones, run by node:test. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { after, suite, test } from 'node:test'
import { ROOT } from '../../scripts/promises.ts'
import { judge, runProofs, skippedIn } from '../../scripts/prove.ts'
import type { Report } from '../../scripts/prove_reporter.ts'

const folder = mkdtempSync(join(tmpdir(), 'cerrojo-prove-'))
after(() => rmSync(folder, { recursive: true, force: true }))

function write(name: string, content: string): string {
  const path = join(folder, name)
  writeFileSync(path, `import { after, before, suite, test } from 'node:test'\n${content}`)
  return relative(ROOT, path)
}

const file = write(
  'several.test.js',
  `suite('a lock', { concurrency: true }, () => {
     test('holds', async (t) => {
       await new Promise(setImmediate)
       t.diagnostic('80 sequences at random')
     })
     for (const many of [2, 3]) test(\`holds \${many} times\`, (t) => t.diagnostic('1500 sequences at random'))
     test('is cut', () => { throw new Error('it is') })
     test('is nobody\\'s to prove', () => { throw new Error('it is another promise') })
   })
   suite('a chain', { skip: 'missing: apt-get install chain' }, () => { test('holds too', () => {}) })
   suite('a key', () => {
     after(() => { throw new Error('it broke at the end') })
     test('turns', () => {})
   })
   test('a door', { skip: 'there is none' }, () => {})
   test('a cluster', (t) => t.diagnostic(JSON.stringify({ granted: 7000, losses: {} })))`,
)
const crashing = write('crashing.test.js', `process.exit(3)\ntest('a wall', () => {})`)

/** @returns what was told of those titles */
async function run(...proofs: { file: string; titles: string[] }[]): Promise<Report[]> {
  const reports: Report[] = []
  // Without it node:test takes the tests for a part of these.
  await runProofs(proofs, { NODE_TEST_CONTEXT: undefined }, (report) => reports.push(report))
  return reports
}

suite('a promise', async () => {
  const proofOf = (...titles: string[]) => [{ file, titles }]
  const titles = ['holds', 'holds … times', 'is cut', 'a chain', 'a key', 'a door', 'a cluster']
  const reports = await run({ file, titles })

  test('holds when its tests passed, and says how many there were and what they tried', () => {
    assert.deepEqual(judge(proofOf('holds', 'holds … times'), reports), {
      tried: '3 tests, 3,080 sequences at random',
      holds: true,
      outcome: 'holds',
    })
    assert.equal(judge(proofOf('a cluster'), reports).tried, '1 test, 7,000 answers of a cluster')
  })

  test('does not hold when one of them failed, which it names', () => {
    const { holds, tried, outcome } = judge(proofOf('holds', 'is cut'), reports)
    assert.deepEqual([holds, tried], [false, '2 tests, 80 sequences at random'])
    assert.equal(outcome, `failed: ${file}, a lock, is cut`)
    assert.equal(reports.find(({ titles }) => titles.includes('is cut'))?.reason, 'it is')
  })

  test('does not hold when its suite failed at its end', () => {
    assert.match(judge(proofOf('a key'), reports).outcome, /^failed: .* a key$/)
  })

  test('does not hold when nothing was tried, as all was skipped', () => {
    assert.deepEqual(judge(proofOf('a chain', 'a door'), reports), {
      tried: '0 tests',
      holds: false,
      outcome: 'nothing was tried',
    })
  })

  test('holds though some were skipped, which are named with what to install', () => {
    assert.ok(judge(proofOf('holds', 'a chain'), reports).holds)
    assert.deepEqual(skippedIn(reports), [
      `missing: apt-get install chain: ${file}, a chain`,
      `there is none: ${file}, a door`,
    ])
  })

  test('is not judged by the other tests of its file', () => {
    assert.ok(reports.some(({ titles, outcome }) => titles.includes("is nobody's to prove") && outcome === 'failed'))
    assert.ok(judge(proofOf('holds'), reports).holds)
  })

  test('does not hold when its file came to an end before the test', async () => {
    const proofs = [{ file: crashing, titles: ['a wall'] }]
    const { holds, outcome } = judge([...proofOf('holds'), ...proofs], [...reports, ...(await run(...proofs))])
    assert.deepEqual([holds, outcome], [false, `failed: ${crashing}`])
  })

  test('does not hold when node:test never told of one of its tests', () => {
    assert.equal(judge(proofOf('holds'), []).outcome, 'did not run: holds; nothing was tried')
  })

  test('is no longer told of as skipped when another run ran it', () => {
    const ran = ({ titles, ...report }: Report): Report => ({ ...report, titles: [...titles, 'x'], outcome: 'passed' })
    assert.deepEqual(skippedIn([...reports, ...reports.map(ran)]), [])
  })
})
