/** RESULTS.md: every figure of a run, beside what it was to reach. */
import { totalmem } from 'node:os'
import type { LoadResult } from '../generator/load.ts'
import type { ChainLength, Memory, TableSize } from '../measurements/growth.ts'
import type { Operation } from '../measurements/operation.ts'
import type { RunningPeersTurns } from '../measurements/running_peers.ts'
import type { Saturated } from '../measurements/saturated.ts'
import { LOGIN_FACTOR, type Storm } from '../measurements/storm.ts'
import { CORES } from '../support/processor.ts'
import type { Turn } from '../support/stage.ts'
import { format, median, show } from '../support/statistics.ts'
import { type Goal, goalRow, isMissed } from './goal.ts'
import { writeOpening } from './opening.ts'
import { goalsOfOperation, loadsOfOperation, sectionsOfOperation } from './operation.ts'
import { sectionOfPeers } from './peers.ts'

export interface Results {
  isQuick: boolean
  date: string
  minutes: number
  postgresVersion: string
  saturated: Saturated
  storms: Map<string, Storm[]>
  tableSizes: TableSize[]
  chainLength: ChainLength
  memory: Memory
  coldStartMs: number[]
  operation: Operation
  runningPeers: RunningPeersTurns
}

const rates = (turns: Turn[] = []) => turns.map(({ perSecond }) => perSecond)
const costs = (turns: Turn[] = []) => turns.map(({ microseconds }) => microseconds)

/** The costs of parts that together make an operation, summed round by round. */
function sumOfCosts(saturated: Saturated, names: string[]): number[] {
  const parts = names.map((name) => costs(saturated[name]))
  return (parts[0] ?? []).map((_, round) => parts.reduce((sum, part) => sum + (part[round] ?? Number.NaN), 0))
}

const divide = (over: number[], under: number[]) => over.map((value, round) => value / (under[round] ?? Number.NaN))

const REFRESH_PARTS = ['refresh: echo', 'refresh: statement', 'refresh: sign and encrypt']
const ME_PARTS = ['me: echo', 'me: statement']
const NEW_TOKEN_PARTS = [...ME_PARTS, 'me: jose decrypts and verifies']

/** Refreshes a second if all processors did nothing but the parts of a refresh. */
export function refreshLimit(saturated: Saturated): number {
  return (CORES * 1e6) / median(sumOfCosts(saturated, REFRESH_PARTS))
}

export function writeResults(results: Results): string {
  const { saturated } = results
  const goals = [...goalsOf(results), ...goalsOfOperation(results)]
  const missed = goals.filter(isMissed)
  return `# Results

${writeOpening(results, goals)}

## The run

${results.isQuick ? 'A **quick** run, with short turns and small tables: it shows that the bench works, its figures are rough.' : 'A full run.'} ${results.date}, ${format(results.minutes)} minutes,
on a virtual machine with ${CORES} processor cores and ${format(totalmem() / 2 ** 30)} GiB of memory, shared with the load generator; Node ${process.versions.node},
PostgreSQL ${results.postgresVersion} with \`fsync\` and \`synchronous_commit\` on. Everything compared ran in turns; a figure is the median of its rounds, with their range in
brackets. Every answer was checked; ${format(countErrors(results))} were wrong.

**Cost** is processor time, of the module (or the peer) and of all processes of PostgreSQL, by the kernel's accounting, for one operation
done; the load generator does not count. What the machine could do is its cores divided by that, and ratios between operations are ratios of costs: requests a second
depend on the generator, which takes its share of the same cores.

## What was to be reached

| | to reach | measured | |
|---|---|---|---|
${goals.map(goalRow).join('\n')}

${missed.length > 0 ? `### Where a figure is missed\n\nNone was met by a line that a reader of the module would have to stop at.\n\n${missed.map((goal) => `- **${goal.what}.** ${goal.why ?? 'The tables below show the terms.'}`).join('\n')}` : ''}

## Saturated

As fast as 32 connections get their answers (logins: 8 connections).

| operation | requests a second | p50 ms | p99 ms | cost in µs | errors |
|---|---|---|---|---|---|
${Object.entries(saturated)
  .filter(([, [turn]]) => turn?.load)
  .map(([name, turns]) => operationRow(name, turns))
  .join('\n')}

The parts that these operations are made of, each called bare and in the same turns. An echo route is one of a bare Fastify server whose requests and
answers have as many bytes, headers included; a statement is the module's own, through \`pg\` with a pool and named statements,
asked for one caller at a time. The module itself lets callers that come at once share one, which is how it comes near the sum of its parts, or below it.

| part | a second | cost in µs |
|---|---|---|
${Object.entries(saturated)
  .filter(([name]) =>
    [
      ...REFRESH_PARTS,
      'refresh: statement, shared by 32',
      ...NEW_TOKEN_PARTS,
      'me: statement, shared by 32',
      'jwks: echo',
      'login: comparisons',
      'login: one comparison at a time',
    ].includes(name),
  )
  .map(([name, turns]) => `| ${name} | ${show(rates(turns))} | ${show(costs(turns))} |`)
  .join('\n')}

R* = ${CORES} cores / (${REFRESH_PARTS.map((name) => format(median(costs(saturated[name])))).join(' + ')}) µs = ${format(refreshLimit(saturated))} refreshes a second.

## A storm of logins

![Latency in a login storm](storm.svg)

Refreshes (at better-auth: get-session) leave steadily at 0.3 of what each server could do, R* for the module; then ${LOGIN_FACTOR} times as many logins
arrive as the cores can compare. Latency counts from the moment at which a request was to be sent. The limit of logins is what the processors leave beside
the steady load, at the cost of a bare comparison.

| | steady, a second | p99 quiet, ms | p99 in the storm, ms | logins done a second | their limit | refused | slowest refusal, ms | sessions lost | unanswered or wrong, steady |
|---|---|---|---|---|---|---|---|---|---|
${[...results.storms].map(([name, storms]) => stormRow(name, storms)).join('\n')}

## Table size

![Cost of a refresh against table size](table_size.svg)

| sessions | cost of a refresh in µs | p99 ms | heap-only updates | bytes a session, with indexes |
|---|---|---|---|---|
${results.tableSizes
  .map(
    ({ sessions, turns, heapOnlyShare, bytesASession }) =>
      `| ${format(sessions)} | ${show(costs(turns))} | ${show(p99s(turns), 1)} | ${format(heapOnlyShare * 100, 2)} % | ${format(bytesASession)} |`,
  )
  .join('\n')}

## Length of a session's chain

| rotations before | cost of a refresh in µs |
|---|---|
${results.chainLength.ages.map(({ rotations, turns }) => `| ${format(rotations)} | ${show(costs(turns))} |`).join('\n')}

The table with its maps took ${format(results.chainLength.bytesBefore / 1024)} KiB before ${format(results.chainLength.rotations)} rotations and more, and ${format(results.chainLength.bytesAfter / 1024)} KiB after them.

## Memory

Resident mebibytes at the start and after each tenth of ${format(results.memory.requests)} requests.

| | ${results.memory.module.map((_, step) => `${step * 10} %`).join(' | ')} |
|---|${results.memory.module.map(() => '---').join('|')}|
| the module, refreshes | ${results.memory.module.map((value) => format(value)).join(' | ')} |
| empty Fastify server, echo | ${results.memory.emptyServer.map((value) => format(value)).join(' | ')} |

## Cold start

From the start of the process to its first 200, with keys and schema there: ${show(results.coldStartMs)} ms.

${sectionsOfOperation(results)}
${sectionOfPeers(results.runningPeers)}`
}

function goalsOf({ saturated, storms, tableSizes, chainLength, memory, coldStartMs }: Results): Goal[] {
  const cost = (name: string) => costs(saturated[name])
  const refreshParts = sumOfCosts(saturated, REFRESH_PARTS)
  const share = (names: string[]) =>
    names.map((name) => `${name.split(': ')[1]} ${format(median(cost(name)))} µs`).join(', ')
  const ours = storms.get('Cerrojo') ?? []
  const overhead = (operation: string, parts: string[]) =>
    `It costs ${format(median(cost(operation)))} µs, its parts ${format(median(sumOfCosts(saturated, parts)))} (${share(parts)}); the rest is what lies between them, and the module's own.${inOneServer(operation)}`
  /** How much of what lies between the parts costs any server that does all of them. */
  const inOneServer = (operation: string) => {
    const name = {
      refresh: 'refresh: all its parts in one bare server',
      'me, shown again': 'me: both parts in one bare server',
    }[operation]
    return name
      ? ` A bare Fastify server that does these parts and nothing else costs ${format(median(cost(name)))} µs.`
      : ''
  }
  return [
    {
      what: 'Refresh against R*, by cost',
      ...{ reached: divide(refreshParts, cost('refresh')), wanted: 0.7, digits: 2 },
      why: overhead('refresh', REFRESH_PARTS),
    },
    {
      what: 'Login against cores / one comparison, by logins done',
      ...{ reached: divide(rates(saturated.login), rates(saturated['login: comparisons'])), wanted: 0.95, digits: 2 },
      why: `A comparison costs ${format(median(cost('login: comparisons')))} µs bare and a login ${format(median(cost('login')))} µs in all.`,
    },
    {
      what: 'Refresh p99 in the storm against its quiet p99',
      ...{
        reached: ours.map(({ quiet, steady }) => steady.latencyMs.p99 / quiet.latencyMs.p99),
        wanted: 2,
        isMost: true,
        digits: 2,
      },
      why: `It went from ${format(median(ours.map(({ quiet }) => quiet.latencyMs.p99)), 1)} to ${format(median(ours.map(({ steady }) => steady.latencyMs.p99)), 1)} ms: module, PostgreSQL and generator share their cores with comparisons that never pause.`,
    },
    {
      what: 'Logins done in the storm against their limit',
      reached: ours.map((storm) => perSecond(storm.logins) / storm.loginLimitPerSecond),
      ...{ wanted: 0.9, digits: 2 },
    },
    {
      what: 'Slowest refusal in the storm',
      ...{
        reached: ours.map(({ logins }) => logins.refusalMs.most).filter(Number.isFinite),
        wanted: 50,
        isMost: true,
        unit: ' ms',
      },
    },
    {
      what: 'Sessions lost in the storm',
      reached: ours.map(({ lostSessions }) => lostSessions),
      wanted: 0,
      isMost: true,
    },
    {
      what: 'Me, token shown again, against echo and select',
      ...{ reached: divide(sumOfCosts(saturated, ME_PARTS), cost('me, shown again')), wanted: 0.7, digits: 2 },
      why: overhead('me, shown again', ME_PARTS),
    },
    {
      what: 'Me, token new each time, against echo, select and jose',
      ...{ reached: divide(sumOfCosts(saturated, NEW_TOKEN_PARTS), cost('me, new each time')), wanted: 0.7, digits: 2 },
      why: overhead('me, new each time', NEW_TOKEN_PARTS),
    },
    {
      what: 'JWKS against the echo route',
      ...{ reached: divide(cost('jwks: echo'), cost('jwks')), wanted: 0.9, digits: 2 },
      why: `${overhead('jwks', ['jwks: echo'])} The module answers with seven headers of its own, the echo route with one that is as long as they are together.`,
    },
    {
      what: `Cost of a refresh at ${format(tableSizes.at(-1)?.sessions ?? 0)} sessions against ${format(tableSizes[0]?.sessions ?? 0)}`,
      ...{
        reached: divide(costs(tableSizes.at(-1)?.turns), costs(tableSizes[0]?.turns)),
        wanted: 1.25,
        isMost: true,
        digits: 2,
      },
      why: 'In a large table each refresh touches a page that it finds in no processor cache and writes it to the log in full.',
    },
    {
      what: 'Heap-only updates, least of all sizes',
      ...{
        reached: [Math.min(...tableSizes.map(({ heapOnlyShare }) => heapOnlyShare * 100))],
        wanted: 99,
        digits: 2,
        unit: ' %',
      },
    },
    {
      what: `Cost after ${format(chainLength.ages.at(-1)?.rotations ?? 0)} rotations against after 1`,
      ...{
        reached: divide(costs(chainLength.ages.at(-1)?.turns), costs(chainLength.ages[0]?.turns)),
        wanted: 1.05,
        isMost: true,
        digits: 2,
      },
    },
    {
      what: 'Growth of the table by rotations',
      ...{ reached: [chainLength.bytesAfter / chainLength.bytesBefore], wanted: 1, isMost: true, digits: 2 },
      why: 'PostgreSQL frees the room of old versions when it next comes by the page.',
    },
    {
      what: `Resident memory after ${format(memory.requests)} refreshes against an empty Fastify server`,
      ...{
        reached: [(memory.module.at(-1) ?? 0) / (memory.emptyServer.at(-1) ?? 1)],
        wanted: 1.5,
        isMost: true,
        digits: 2,
      },
      why: `It holds ${format(memory.module[0] ?? 0)} MiB when it starts, an empty server ${format(memory.emptyServer[0] ?? 0)}.`,
    },
    {
      what: 'Cold start, with keys and schema there',
      reached: coldStartMs,
      wanted: 350,
      isMost: true,
      unit: ' ms',
      why: 'Most of it is loading packages; nothing is loaded that such a start does not use.',
    },
    {
      what: 'Refresh against the FastAPI peer',
      ...{ reached: divide(cost('refresh: FastAPI'), cost('refresh')), wanted: 8, digits: 1, unit: ' ×' },
      why:
        `The peer costs ${format(median(cost('refresh: FastAPI')))} µs. Signing and encrypting alone cost ${format(median(cost('refresh: sign and encrypt')))} µs on either side: ` +
        `a module that did nothing else would reach ${format(median(divide(cost('refresh: FastAPI'), cost('refresh: sign and encrypt'))), 1)} ×.`,
    },
    {
      what: 'Me, token shown again, against get-session of better-auth',
      ...{
        reached: divide(cost('me: better-auth get-session'), cost('me, shown again')),
        wanted: 4,
        digits: 1,
        unit: ' ×',
      },
    },
    {
      what: 'Me, token new each time, against get-session of better-auth',
      ...{
        reached: divide(cost('me: better-auth get-session'), cost('me, new each time')),
        wanted: 1,
        digits: 1,
        unit: ' ×',
      },
    },
    {
      what: 'Logins against the FastAPI peer',
      ...{
        reached: divide(rates(saturated.login), rates(saturated['login: FastAPI'])),
        wanted: 1,
        digits: 2,
        unit: ' ×',
      },
      why: 'All three are as fast as bcrypt is; what differs is noise and the build of bcrypt.',
    },
    {
      what: 'Logins against better-auth',
      ...{
        reached: divide(rates(saturated.login), rates(saturated['login: better-auth'])),
        wanted: 1,
        digits: 2,
        unit: ' ×',
      },
      why: 'All three are as fast as bcrypt is; what differs is noise and the build of bcrypt.',
    },
  ]
}

function operationRow(name: string, turns: Turn[]): string {
  const errors = turns.reduce((sum, { load }) => sum + (load?.errors ?? 0), 0)
  const p50s = turns.map(({ load }) => load?.latencyMs.p50 ?? Number.NaN)
  return `| ${name} | ${show(rates(turns))} | ${show(p50s, 1)} | ${show(p99s(turns), 1)} | ${show(costs(turns))} | ${errors} |`
}

function stormRow(name: string, storms: Storm[]): string {
  const cells = [
    show(storms.map(({ steady }) => perSecond(steady))),
    show(
      storms.map(({ quiet }) => quiet.latencyMs.p99),
      1,
    ),
    show(
      storms.map(({ steady }) => steady.latencyMs.p99),
      1,
    ),
    show(
      storms.map(({ logins }) => perSecond(logins)),
      1,
    ),
    show(
      storms.map(({ loginLimitPerSecond }) => loginLimitPerSecond),
      1,
    ),
    show(storms.map(({ logins }) => logins.refused)),
    show(storms.map(({ logins }) => logins.refusalMs.most).filter(Number.isFinite)),
    show(storms.map(({ lostSessions }) => lostSessions)),
    show(storms.map(({ steady }) => steady.unanswered + steady.errors)),
  ]
  return `| ${name} | ${cells.join(' | ')} |`
}

function p99s(turns: Turn[]): number[] {
  return turns.map(({ load }) => load?.latencyMs.p99 ?? Number.NaN)
}

function perSecond({ done, elapsedSeconds }: LoadResult): number {
  return done / elapsedSeconds
}

/** Over all measurements; peers that leave requests unanswered in the storm are told of there. */
function countErrors({ saturated, storms, tableSizes, chainLength, memory, operation }: Results): number {
  const turns = [
    Object.values(saturated),
    tableSizes.map(({ turns }) => turns),
    chainLength.ages.map(({ turns }) => turns),
  ]
  const loads = [...turns.flat(2).map(({ load }) => load), ...loadsOfOperation(operation)]
  const inStorms = [...storms.values()].flat().flatMap(({ quiet, steady, logins }) => [quiet, steady, logins])
  return memory.errors + [...loads, ...inStorms].reduce((sum, load) => sum + (load?.errors ?? 0), 0)
}
