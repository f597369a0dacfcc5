/** The part of RESULTS.md about what an operator meets. */
import type { LoadResult } from '../generator/load.ts'
import type { Memory } from '../measurements/growth.ts'
import type { Operation } from '../measurements/operation.ts'
import type { Turn } from '../support/stage.ts'
import { format, median, show } from '../support/statistics.ts'
import type { Goal } from './goal.ts'
import { table } from './table.ts'

interface Measured {
  operation: Operation
  memory: Memory
}

const costs = (turns: Turn[]) => turns.map(({ microseconds }) => microseconds)
const megabytes = (bytes: number) => format(bytes / 1e6, 1)

export function goalsOfOperation({ operation, memory }: Measured): Goal[] {
  const { crowd, twoNodes, purgeAndImport, footprint } = operation
  const { sessions, ended, purge, plainDelete, purgeOfNothing, users, importUsers } = purgeAndImport
  const [clone] = operation.installed
  const pglite = clone?.largest.find(({ name }) => name.includes('pglite'))?.bytes ?? 0
  return [
    {
      what: `Refresh p99 beside ${format(crowd.silent)} silent and ${format(crowd.halfSent)} half-sent connections, against quiet`,
      reached: crowd.rounds.map(({ quiet, crowded }) => crowded.latencyMs.p99 / quiet.latencyMs.p99),
      wanted: 1.5,
      isMost: true,
      digits: 2,
      why: `Each is closed after 5 s and opened anew, ${format(median(crowd.rounds.map(({ crowd: { openedAnew } }) => openedAnew)))} of them in a turn, by a process that shares the cores with the module.`,
    },
    {
      what: 'A session on disk with its indexes, all columns filled',
      reached: [operation.bytesASession],
      wanted: 620,
      isMost: true,
      unit: ' B',
      why: 'A table takes room for the versions of a row that its refreshes leave until the page is next visited.',
    },
    {
      what: 'Memory at rest',
      reached: residentAtRest(footprint),
      wanted: 110,
      isMost: true,
      unit: ' MiB',
      why: 'What holds it stands under [what it takes](#what-it-takes).',
    },
    {
      what: `Memory after ${format(memory.requests)} refreshes`,
      reached: [memory.module.at(-1) ?? Number.NaN],
      wanted: 150,
      isMost: true,
      unit: ' MiB',
      why: `It begins at ${format(memory.module[0] ?? 0)} MiB; the rest is the heap that V8 takes at this rate, connections, and the memory of tokens that were good.`,
    },
    {
      what: 'Installed size without the pinned Node, in blocks on the disk',
      reached: operation.installed.slice(0, 1).map(({ bytesOnDisk }) => bytesOnDisk / 1e6),
      wanted: 45,
      isMost: true,
      unit: ' MB',
      why: `The files have ${megabytes(clone?.bytes ?? 0)} MB; the rest is what small files waste of their blocks. ${megabytes(pglite)} MB are the embedded database, without which \`npm ci && npm start\` would need a PostgreSQL, and ${megabytes(clone?.sourceMapBytes ?? 0)} MB the source maps of all packages, which npm cannot leave out. It would take the embedded database as a package that its users install themselves.`,
    },
    ...(twoNodes
      ? [
          {
            what: 'Cost of a refresh on two nodes that share one core, against one node on it',
            reached: costs(twoNodes.two).map((cost, round) => cost / (costs(twoNodes.one)[round] ?? Number.NaN)),
            wanted: 1.15,
            isMost: true,
            digits: 2,
            why: 'Callers that come at once share a statement, and each of two nodes has half of them.',
          },
          {
            what: 'Sessions lost by kill -9 of one of two nodes under load',
            reached: [twoNodes.lost],
            wanted: 0,
            isMost: true,
          },
        ]
      : []),
    {
      what: `Purge of ${format(ended)} among ${format(sessions)} sessions against one plain delete, by processor time`,
      reached: [purge.processorSeconds / plainDelete.processorSeconds],
      wanted: 1.5,
      isMost: true,
      digits: 2,
      why: `It took ${format(purge.processorSeconds, 1)} s and the delete ${format(plainDelete.processorSeconds, 1)} s; the start of the command is in it, and small steps, each a transaction of its own.`,
    },
    {
      what: 'Purge that finds nothing, with the start of the command',
      reached: [purgeOfNothing.seconds],
      wanted: 1,
      isMost: true,
      digits: 2,
      unit: ' s',
      why: `${format(purgeOfNothing.processorSeconds, 2)} s of it are processor time.`,
    },
    {
      what: 'Import of users with their hashes',
      reached: [users / importUsers.seconds],
      wanted: 20_000,
      unit: ' a second',
      why: `${format(users)} users took ${format(importUsers.seconds, 1)} s, ${format(importUsers.processorSeconds, 1)} s of it processor time.`,
    },
  ]
}

export function sectionsOfOperation({ operation }: Pick<Measured, 'operation'>): string {
  return [
    crowdSection(operation),
    twoNodesSection(operation),
    tablesSection(operation),
    footprintSection(operation),
  ].join('\n')
}

export function residentAtRest({ atRest }: Operation['footprint']): number[] {
  return atRest['as npm start runs it']?.map(({ resident }) => resident) ?? []
}

/** All that the module answered, but for the node that was killed on purpose. */
export function loadsOfOperation({ crowd, twoNodes }: Operation): (LoadResult | undefined)[] {
  const turns = twoNodes ? [...twoNodes.one, ...twoNodes.two] : []
  return [...crowd.rounds.flatMap(({ quiet, crowded }) => [quiet, crowded]), ...turns.map(({ load }) => load)]
}

function crowdSection({ crowd: { silent, halfSent, refreshesPerSecond, rounds } }: Operation): string {
  const quiet = (of: (load: LoadResult) => number, digits = 0) =>
    show(
      rounds.map(({ quiet }) => of(quiet)),
      digits,
    )
  const crowded = (of: (load: LoadResult) => number, digits = 0) =>
    show(
      rounds.map(({ crowded }) => of(crowded)),
      digits,
    )
  const p50 = ({ latencyMs }: LoadResult) => latencyMs.p50
  const p99 = ({ latencyMs }: LoadResult) => latencyMs.p99
  const done = ({ done }: LoadResult) => done
  const rows = [
    ['p50 ms', quiet(p50, 1), crowded(p50, 1)],
    ['p99 ms', quiet(p99, 1), crowded(p99, 1)],
    ['answered', quiet(done), crowded(done)],
    ['connections open, at the fewest', '–', show(rounds.map(({ crowd }) => crowd.leastOpen))],
    ['connections closed and opened anew', '–', show(rounds.map(({ crowd }) => crowd.openedAnew))],
    ['memory of the module, MiB', '–', show(rounds.map(({ mebibytes }) => mebibytes))],
  ]
  return `## A crowd that says nothing

${format(silent)} connections on which nothing is sent and ${format(halfSent)} with half a request, each opened anew as soon as the module closes it, beside
${format(refreshesPerSecond)} refreshes a second of honest clients.

${table(['', 'quiet', 'in the crowd'], rows)}
`
}

function twoNodesSection({ twoNodes }: Operation): string {
  if (!twoNodes) return '## Two nodes on one machine\n\nNot measured: HAProxy is not installed.\n'
  return `## Two nodes on one machine

Behind HAProxy, nodes pinned to one core, PostgreSQL and the load wherever the system puts them.

| | refreshes a second | cost in µs |
|---|---|---|
| one node | ${show(twoNodes.one.map(({ perSecond }) => perSecond))} | ${show(costs(twoNodes.one))} |
| two nodes | ${show(twoNodes.two.map(({ perSecond }) => perSecond))} | ${show(costs(twoNodes.two))} |

Then one of the two was ended by \`kill -9\` under a steady load of refreshes with Idempotency-Keys: ${format(twoNodes.killed.done)} were answered,
${format(twoNodes.killed.errors)} were cut off and repeated. Afterwards each of ${format(twoNodes.sessions)} sessions was refreshed with the newest token that its client had been answered: ${format(twoNodes.lost)} were lost.
There is no cluster mode inside the module: [operating](../docs/operating.md#several-nodes) has the unit and the proxy for it.
`
}

function tablesSection({ purgeAndImport: measured }: Operation): string {
  const row = (what: string, { seconds, processorSeconds }: { seconds: number; processorSeconds: number }) =>
    `| ${what} | ${format(seconds, 1)} | ${format(processorSeconds, 1)} |`
  return `## Purge and import

With the start of the command, on PostgreSQL; processor time is that of command and database together.

| | seconds | processor seconds |
|---|---|---|
${row(`\`cerrojo purge\` of ${format(measured.ended)} among ${format(measured.sessions)} sessions`, measured.purge)}
${row('one `delete … where` on an equal table', measured.plainDelete)}
${row('`cerrojo purge` that finds nothing, on the same table afterwards', measured.purgeOfNothing)}
${row(`\`cerrojo users import\` of ${format(measured.users)} users`, measured.importUsers)}
`
}

function footprintSection({ installed, footprint: { atRest, loading } }: Operation): string {
  const added = loading.map(({ what, mebibytes }, index) => {
    const before = loading[index - 1]?.mebibytes ?? 0
    return index === 0 ? `${what}, ${format(mebibytes)}` : `\`${what}\` ${format(mebibytes - before)}`
  })
  const rows = Object.entries(atRest).map(([what, starts]) => [
    what,
    show(starts.map(({ resident }) => resident)),
    show(starts.map(({ shared }) => shared)),
  ])
  return `## What it takes

${table(['at rest, right after the first answer', 'MiB resident', 'of it mapped from files'], rows)}

What is mapped from files is above all Node's own program, which several nodes on one machine share. What holds the rest, by a process that loads one
package after the other, in MiB resident: ${added.join(', ')}; all of them ${format(loading.at(-1)?.mebibytes ?? 0)}. The module adds
its own code, the validators that are compiled for its routes, connections and keys. The list of common passwords is read at the first registration, and the
embedded database only where no PostgreSQL is named. Without what Node has compiled before, it strips types and compiles everything once more, and holds
what it needed for that.

| installed | MB in files | MB on disk | of it source maps | largest packages, MB in files |
|---|---|---|---|---|
${installed
  .map(
    ({ what, bytes, bytesOnDisk, sourceMapBytes, largest }) =>
      `| ${what} | ${megabytes(bytes)} | ${megabytes(bytesOnDisk)} | ${megabytes(sourceMapBytes)} | ${largest.map(({ name, bytes }) => `${name} ${megabytes(bytes)}`).join(', ')} |`,
  )
  .join('\n')}
`
}
