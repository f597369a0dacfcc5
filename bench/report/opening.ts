/** How RESULTS.md opens: a picture, and ten lines for who decides. Five of them stand in the README too. */
import type { Memory, TableSize } from '../measurements/growth.ts'
import type { Operation } from '../measurements/operation.ts'
import type { Saturated } from '../measurements/saturated.ts'
import type { Storm } from '../measurements/storm.ts'
import { MEASURED_BY_HAND } from '../peers/measured_by_hand.ts'
import { CORES } from '../support/processor.ts'
import { format, median } from '../support/statistics.ts'
import { type Goal, isMissed } from './goal.ts'
import { residentAtRest } from './operation.ts'

interface Measured {
  date: string
  saturated: Saturated
  storms: Map<string, Storm[]>
  tableSizes: TableSize[]
  memory: Memory
  coldStartMs: number[]
  operation: Operation
}

const ALT =
  'Processor time for one operation as a multiple of Cerrojo’s: refresh and who am I, beside six other systems'

export function writeOpening(results: Measured, goals: Goal[]): string {
  const missed = goals.filter(isMissed)
  const verdict = missed.length === 0 ? 'all of them are reached' : `${missed.length} of them are missed, each with why`
  const lines = linesOf(results)
  return `![${ALT}](peers.svg)

${Object.values(lines)
  .map((line) => `- ${line}`)
  .join('\n')}

\\* measured beside this module once, by hand; [how](#beside-the-peers). ${goals.length} aims were set, and ${verdict}: [the list](#what-was-to-be-reached).`
}

/** For the README, between its marks. */
export function writeReadmeSection(results: Measured): string {
  const { refresh, look, storm, size, footprint } = linesOf(results)
  return `Measured on ${results.date} by \`npm run bench\` in [\`bench/\`](bench/README.md), on a virtual machine with ${CORES} cores that module, PostgreSQL and load generator share.
[All figures](bench/RESULTS.md), and why some miss their aim.

![${ALT}](bench/peers.svg)

${[refresh, look, storm, size, footprint].map((line) => `- ${line}`).join('\n')}

\\* measured beside it once, by hand.`
}

function linesOf(results: Measured) {
  const { saturated, storms, tableSizes, memory, coldStartMs, operation } = results
  const { crowd, twoNodes, purgeAndImport, footprint } = operation
  const cost = (name: string) => median(saturated[name]?.map(({ microseconds }) => microseconds) ?? [])
  const times = (name: string, ours: string) => format(cost(name) / cost(ours), 1)
  const byHand = (kind: 'refresh' | 'look') => {
    const [cerrojo, ...others] = MEASURED_BY_HAND.costs
    const ratios = others.flatMap(({ name, [kind]: theirs }) =>
      theirs && cerrojo?.[kind] ? [`${name} ${format(theirs / cerrojo[kind])} times`] : [],
    )
    return `\\* ${ratios.join(', ')}`
  }
  const ours = storms.get('Cerrojo') ?? []
  const p99 = (of: (storm: (typeof ours)[number]) => number) => format(median(ours.map(of)))
  const [smallest, largest] = [tableSizes[0], tableSizes.at(-1)]
  const sizeCost = (table = smallest) => median(table?.turns.map(({ microseconds }) => microseconds) ?? [])
  const [clone] = operation.installed
  const { ended, sessions, purge, users, importUsers } = purgeAndImport
  return {
    refresh: `**A refresh** costs ${format(cost('refresh'))} µs of a processor, PostgreSQL included. The same contract on FastAPI costs ${times('refresh: FastAPI', 'refresh')} times that; ${byHand('refresh')}.`,
    look: `**Who am I** costs ${format(cost('me, shown again'))} µs, and the first look at a token ${format(cost('me, new each time'))} µs. better-auth costs ${times('me: better-auth get-session', 'me, shown again')} times that; ${byHand('look')}.`,
    login: `**A login** costs ${format(cost('login') / 1000)} ms, of which one bcrypt comparison is ${format(cost('login: comparisons') / 1000)} ms: nobody is faster at the same cost of a guess.`,
    storm: `**A storm of logins**, three times what the machine can hash: p99 of refreshes goes from ${p99(({ quiet }) => quiet.latencyMs.p99)} to ${p99(({ steady }) => steady.latencyMs.p99)} ms, ${format(median(ours.map(({ lostSessions }) => lostSessions)))} sessions are lost.`,
    crowd: `**${format(crowd.silent)} silent and ${format(crowd.halfSent)} half-sent connections**: p99 of refreshes goes from ${format(median(crowd.rounds.map(({ quiet }) => quiet.latencyMs.p99)))} to ${format(median(crowd.rounds.map(({ crowded }) => crowded.latencyMs.p99)))} ms.`,
    size: `**${format(largest?.sessions ?? 0)} sessions** cost ${format(sizeCost(largest) / sizeCost(), 2)} times what ${format(smallest?.sessions ?? 0)} do; a session takes ${format(operation.bytesASession)} bytes on the disk, indexes included.`,
    footprint: `**It starts** within ${format(median(coldStartMs))} ms, holds ${format(median(residentAtRest(footprint)))} MiB at rest and ${format(memory.module.at(-1) ?? 0)} MiB after ${format(memory.requests)} refreshes, and takes ${format((clone?.bytesOnDisk ?? 0) / 1e6)} MB on the disk beside Node.`,
    nodes: twoNodes
      ? `**One of two nodes killed** by \`kill -9\` under load: ${format(twoNodes.lost)} of ${format(twoNodes.sessions)} sessions are lost.`
      : '**One of two nodes killed**: not measured, as HAProxy is not installed.',
    tables: `**Whole tables**: the purge of ${format(ended)} among ${format(sessions)} sessions takes ${format(purge.seconds, 1)} s, and users are imported at ${format(users / importUsers.seconds)} a second.`,
    lostAnswer:
      '**A lost answer** to a refresh logs nobody out, at any later time, and a thief of the old token gains nothing: of the systems compared \\* none other does both.',
  }
}
