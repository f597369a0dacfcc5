/** RESULTS.md: every figure of a run, beside what it was to reach. */
import { totalmem } from 'node:os'
import type { Attacks } from '../measurements/attacks.ts'
import type { Flood } from '../measurements/flood.ts'
import type { ChainLength, Memory, TableSize } from '../measurements/growth.ts'
import type { Operation } from '../measurements/operation.ts'
import type { RunningPeersTurns } from '../measurements/running_peers.ts'
import type { Saturated } from '../measurements/saturated.ts'
import type { Storm } from '../measurements/storm.ts'
import { CORES } from '../support/processor.ts'
import type { Turn } from '../support/stage.ts'
import { format, median, show } from '../support/statistics.ts'
import { costGoals, costSections } from './costs.ts'
import { type Goal, goalRow, isMissed } from './goal.ts'
import { writeOpening } from './opening.ts'
import { goalsOfOperation, loadsOfOperation, sectionsOfOperation } from './operation.ts'
import { sectionOfPeers } from './peers.ts'
import { stormGoals, stormSections } from './storms.ts'
import { costs, divide, rates } from './sums.ts'

export interface Results {
  isQuick: boolean
  date: string
  minutes: number
  postgresVersion: string
  saturated: Saturated
  attacks: Attacks
  storms: Map<string, Storm[]>
  floods: Flood[]
  tableSizes: TableSize[]
  chainLength: ChainLength
  memory: Memory
  coldStartMs: number[]
  operation: Operation
  runningPeers: RunningPeersTurns
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

${costSections(saturated, results.attacks)}
${stormSections(results.storms, results.floods)}
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

function goalsOf(results: Results): Goal[] {
  const { saturated, attacks, storms, floods, tableSizes, chainLength, memory, coldStartMs } = results
  const cost = (name: string) => costs(saturated[name])
  return [
    ...costGoals(saturated, attacks),
    ...stormGoals(storms, floods),
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

function p99s(turns: Turn[]): number[] {
  return turns.map(({ load }) => load?.latencyMs.p99 ?? Number.NaN)
}

/** Over all measurements; peers that leave requests unanswered in the storm are told of there. */
function countErrors(results: Results): number {
  const { saturated, attacks, storms, floods, tableSizes, chainLength, memory, operation } = results
  const turns = [
    Object.values(saturated),
    attacks.attacks.map(({ turns }) => turns),
    tableSizes.map(({ turns }) => turns),
    chainLength.ages.map(({ turns }) => turns),
  ]
  const loads = [...turns.flat(2).map(({ load }) => load), ...loadsOfOperation(operation)]
  const inStorms = [...storms.values()].flat().flatMap(({ quiet, steady, logins }) => [quiet, steady, logins])
  const inFloods = floods.flatMap(({ alone, beside, flood }) => [alone, beside, flood])
  return memory.errors + [...loads, ...inStorms, ...inFloods].reduce((sum, load) => sum + (load?.errors ?? 0), 0)
}
