/**
 * Runs the tests that show the promises, and prints what came out: `npm run prove`, which stops after twenty minutes.
 * `-- --quick`: the quickest tests of each, on the embedded database alone. `-- --write` writes PROOF.md, and README's
 * table of promises. The exit code is 1 if one does not hold, or was not tried.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join, relative } from 'node:path'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { findPostgres, startCluster } from '../test/support/cluster.ts'
import { CLUSTER, PROMISES, type Proof, ROOT, writeReadme } from './promises.ts'
import type { Report } from './prove_reporter.ts'

const LIMIT_MS = 20 * 60_000
const WIDTHS = [2, 44, 40, 28, 30]
const HEAD = ['', 'promise', 'how it is tested', 'tried', 'outcome']

/** What is under way then ends, what comes after it does not begin, and the table tells so. */
const stopping = new AbortController()

const patternOf = (title: string) => `^${title.split('…').map(RegExp.escape).join('.+')}$`

/**
 * Runs the files that the proofs name, whole, as a suite that is filtered leaves open what it opened.
 * @param tell gets each report as it comes
 */
export async function runProofs(proofs: Proof[], env: NodeJS.ProcessEnv, tell: (report: Report) => void) {
  if (stopping.signal.aborted) return
  const files = new Set(proofs.map(({ file }) => join(ROOT, file)))
  const child = spawn(
    process.execPath,
    [
      '--test',
      '--test-global-setup=test/support/setup.ts',
      '--test-reporter=./scripts/prove_reporter.ts',
      '--test-timeout=300000',
      '--test-concurrency=2',
      ...files,
    ],
    { cwd: ROOT, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'inherit'] },
  )
  const ended = once(child, 'close')
  stopping.signal.addEventListener('abort', () => child.kill())
  for await (const line of createInterface(child.stdout)) tell(JSON.parse(line))
  await ended
}

function reportsOn({ file, titles }: Proof, reports: Report[]): Report[] {
  const isMeant = (title: string) => titles.some((one) => new RegExp(patternOf(one)).test(title))
  return reports.filter(
    (report) => relative(ROOT, report.file) === file && (report.titles.length === 0 || report.titles.some(isMeant)),
  )
}

export interface Verdict {
  tried: string
  holds: boolean
  outcome: string
}

/** A promise holds when something was tried, nothing failed, and every title was reported on, if only as skipped. */
export function judge(proofs: Proof[], reports: Report[]): Verdict {
  const found = [...new Set(proofs.flatMap((proof) => reportsOn(proof, reports)))]
  const failed = found.filter(({ outcome }) => outcome === 'failed')
  const passed = found.filter(({ outcome }) => outcome === 'passed')
  const count = passed.length + failed.length
  const isSkippedIn = (file: string) =>
    reports.some((report) => relative(ROOT, report.file) === file && report.outcome === 'skipped')
  const unheardOf = proofs.flatMap(({ file, titles }) =>
    titles.filter((title) => reportsOn({ file, titles: [title] }, reports).length === 0 && !isSkippedIn(file)),
  )
  const broken = [
    ...failed.map((report) => `failed: ${nameOf(report)}`),
    ...unheardOf.map((title) => `did not run: ${title}`),
    ...(count === 0 ? ['nothing was tried'] : []),
  ]
  return {
    tried: [count === 1 ? '1 test' : `${count} tests`, ...casesIn(found)].join(', '),
    holds: broken.length === 0,
    outcome: broken.length === 0 ? 'holds' : broken.join('; '),
  }
}

/** What tests told that they tried, as a number and its unit, or as the JSON of a turn of the cluster. */
function casesIn(reports: Report[]): string[] {
  const sums = new Map<string, number>()
  for (const message of reports.flatMap(({ diagnostics }) => diagnostics)) {
    const told = message.startsWith('{') ? `${JSON.parse(message).granted} answers of a cluster` : message
    const [, number, unit] = /^(\d+) ([^,]+)/.exec(told) ?? []
    if (unit) sums.set(unit, (sums.get(unit) ?? 0) + Number(number))
  }
  return [...sums].map(([unit, sum]) => `${sum.toLocaleString('en')} ${unit}`)
}

/** @returns a line for each reason for which tests were skipped, if no other run ran them */
export function skippedIn(reports: Report[]): string[] {
  const ran = reports.filter(({ outcome }) => outcome !== 'skipped').map(nameOf)
  const left = reports.filter(
    (report) => report.outcome === 'skipped' && !ran.some((name) => name.startsWith(nameOf(report))),
  )
  const byReason = Map.groupBy(left, ({ reason }) => reason ?? 'not for the databases that were there')
  return [...byReason].map(([reason, those]) => `${reason}: ${[...new Set(those.map(nameOf))].join('; ')}`)
}

const nameOf = ({ file, titles }: Report) => [relative(ROOT, file), ...titles].join(', ')

/** Runs proofs and shows how far they are, at a terminal on a line of its own. */
async function run(where: string, proofs: Proof[], env: NodeJS.ProcessEnv = {}): Promise<Report[]> {
  const reports: Report[] = []
  const startedMs = Date.now()
  function progress(end = ''): void {
    const failed = reports.filter(({ outcome }) => outcome === 'failed').length
    const seconds = Math.round((Date.now() - startedMs) / 1000)
    const start = process.stderr.isTTY ? '\r\x1b[K' : ''
    if (start || end)
      process.stderr.write(`${start}${where}: ${reports.length} tests, ${failed} failed, ${seconds} s${end}`)
  }
  const ticking = setInterval(progress, 1000)
  await runProofs(proofs, env, (report) => reports.push(report))
  clearInterval(ticking)
  progress('\n')
  return reports
}

/** One run after the other, as each takes the machine for itself. */
async function runAll(proofs: Proof[], isQuick: boolean): Promise<{ reports: Report[]; skipped: string[] }> {
  const ofCluster = proofs.filter(({ file }) => file === CLUSTER)
  const ofSuites = proofs.filter(({ file }) => file !== CLUSTER)
  const reports = await run('on the embedded database', ofSuites)
  const left: string[] = []
  if (isQuick) left.push('left out by --quick: PostgreSQL, the cluster, the model, and what takes long')
  else {
    if (findPostgres()) reports.push(...(await onPostgres((env) => run('on PostgreSQL', ofSuites, env))))
    else left.push('all tests once more on PostgreSQL: apt-get install postgresql')
    reports.push(...(await run('on a PostgreSQL that fails over', ofCluster)))
  }
  if (stopping.signal.aborted) left.unshift(stopping.signal.reason)
  return { reports, skipped: [...left, ...skippedIn(reports)] }
}

async function onPostgres<T>(work: (env: NodeJS.ProcessEnv) => Promise<T>): Promise<T> {
  const cluster = await startCluster()
  return work({ TEST_DATABASE_URL: cluster.url }).finally(() => cluster.remove())
}

/** Cells of several lines, as wide as their column. */
function formatTable(rows: string[][]): string {
  const linesOf = (cell: string, width: number) =>
    cell.match(new RegExp(`\\S.{0,${width - 1}}(?=\\s|$)|\\S{${width}}`, 'g')) ?? []
  return rows
    .map((cells) => {
      const columns = cells.map((cell, index) => linesOf(cell, WIDTHS[index] as number))
      const height = Math.max(...columns.map(({ length }) => length))
      const lines = Array.from({ length: height }, (_, line) =>
        columns.map((column, index) => (column[line] ?? '').padEnd(WIDTHS[index] as number)).join('  '),
      )
      return `${lines.map((line) => line.trimEnd()).join('\n')}\n`
    })
    .join('\n')
}

function formatProof(rows: string[][], skipped: string[], about: string): string {
  const lines = rows.map((cells) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |\n`)
  lines.splice(1, 0, `|${'---|'.repeat(HEAD.length)}\n`)
  const list = skipped.map((line) => `- ${line}\n`)
  return `# Proof\n\n${about}\n\n${lines.join('')}\n## Skipped\n\n${list.join('') || 'Nothing.\n'}`
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { quick: { type: 'boolean' }, write: { type: 'boolean' } } })
  const isQuick = values.quick === true
  setTimeout(() => stopping.abort('stopped after twenty minutes'), LIMIT_MS).unref()
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.once(signal, () => stopping.abort(`stopped by ${signal}`))
  const promises = PROMISES.map((one) => ({ ...one, proofs: one.proofs.filter((proof) => proof.isQuick || !isQuick) }))
  const { reports, skipped } = await runAll(
    promises.flatMap(({ proofs }) => proofs),
    isQuick,
  )
  const verdicts = promises.map(({ proofs }) => judge(proofs, reports))
  const rows = promises.map(({ name, sentence, how }, index) => {
    const { tried, outcome } = verdicts[index] as Verdict
    return [name, sentence, how, tried, outcome]
  })
  console.log(`\n${formatTable([HEAD, ...rows])}`)
  for (const report of reports.filter(({ outcome }) => outcome === 'failed'))
    console.log(`failed: ${nameOf(report)}: ${report.reason}`)
  for (const line of skipped) console.log(`skipped: ${line}`)
  if (values.write) {
    const day = new Date().toISOString().slice(0, 10)
    const machine = `${process.platform} with Node ${process.versions.node} and ${availableParallelism()} processors`
    const about = `Written by \`npm run prove${isQuick ? ' -- --quick' : ''}\` on ${day}, on ${machine}.`
    await writeFile(join(ROOT, 'PROOF.md'), formatProof([HEAD, ...rows], skipped, about))
    await writeFile(join(ROOT, 'README.md'), writeReadme(await readFile(join(ROOT, 'README.md'), 'utf8')))
  }
  if (verdicts.some(({ holds }) => !holds)) process.exitCode = 1
}

if (import.meta.main) await main()
