/** Storms of logins, and floods of them from one address. */
import type { LoadResult } from '../generator/load.ts'
import { FLOOD_PER_SECOND, type Flood, HONEST_SHARE } from '../measurements/flood.ts'
import { DRAIN_SECONDS, LOGIN_FACTOR, type Storm } from '../measurements/storm.ts'
import { format, median, show } from '../support/statistics.ts'
import type { Goal } from './goal.ts'

const STORM_COLUMNS = [
  'steady, a second',
  'p99 quiet, ms',
  'p99 in the storm, ms',
  'logins done a second',
  'their limit',
  'answered in ms, p50',
  'at most',
  'refused',
  'slowest refusal, ms',
  'sessions lost',
  'unanswered or wrong, steady',
]

const perSecond = ({ done, elapsedSeconds }: LoadResult) => done / elapsedSeconds

export function stormGoals(storms: Map<string, Storm[]>, floods: Flood[]): Goal[] {
  const ours = [...storms].filter(([name]) => name.startsWith('Cerrojo'))
  const all = ours.flatMap(([, storms]) => storms)
  const p99 = (storms: Storm[], which: 'quiet' | 'steady') =>
    format(median(storms.map((storm) => storm[which].latencyMs.p99)), 1)
  return [
    ...ours.map(([name, storms]) => ({
      what: `${name}: refresh p99 in the storm against its quiet p99`,
      ...{ reached: storms.map(({ quiet, steady }) => steady.latencyMs.p99 / quiet.latencyMs.p99) },
      ...{ wanted: 2, isMost: true, isForEvery: true, digits: 2 },
      why:
        `The medians are ${p99(storms, 'quiet')} and ${p99(storms, 'steady')} ms: ` +
        'module, PostgreSQL and generator share their cores with comparisons that never pause.',
    })),
    ...ours.map(([name, storms]) => ({
      what: `${name}: logins done in the storm against their limit`,
      ...{
        reached: storms.map((storm) => perSecond(storm.logins) / storm.loginLimitPerSecond),
        wanted: 0.9,
        digits: 2,
      },
    })),
    ...ours.map(([name, storms]) => ({
      what: `${name}: slowest answer to a login that was accepted`,
      ...{ reached: storms.map(slowestLogin), wanted: 5000, isMost: true, isForEvery: true, unit: ' ms' },
      why: `Half of them took ${show(storms.map(({ logins }) => logins.latencyMs.p50))} ms; the queue was as long.`,
    })),
    {
      what: 'Slowest refusal in the storm',
      ...{ reached: all.map(({ logins }) => logins.refusalMs.most).filter(Number.isFinite) },
      ...{ wanted: 50, isMost: true, unit: ' ms' },
    },
    {
      what: 'Sessions lost in the storm',
      ...{ reached: all.map(({ lostSessions }) => lostSessions), wanted: 0, isMost: true, isForEvery: true },
    },
    {
      what: 'Logins from elsewhere while one address floods, against those without it',
      ...{ reached: floods.map(({ alone, beside }) => perSecond(beside) / perSecond(alone)), wanted: 0.8, digits: 2 },
    },
  ]
}

/** In milliseconds; of one that was not answered only that it takes longer than it was waited for. */
function slowestLogin({ logins }: Storm): number {
  const { unanswered, latencyMs } = logins
  return unanswered > 0 ? Math.max(DRAIN_SECONDS * 1000, latencyMs.most || 0) : latencyMs.most
}

export function stormSections(storms: Map<string, Storm[]>, floods: Flood[]): string {
  return `## A storm of logins

![Latency in a login storm](storm.svg)

Refreshes (at better-auth: get-session) leave steadily, at the module at 0.3 and at 0.1 of R\\*, at a peer at 0.3 of what
it could do; then ${LOGIN_FACTOR} times as many logins arrive as the cores can compare, from many addresses.
Latency counts from the moment at which a request was to be sent. The limit of logins is what the processors leave
beside the steady load, at the cost of a bare comparison.

| | ${STORM_COLUMNS.join(' | ')} |
|---|${STORM_COLUMNS.map(() => '---').join('|')}|
${[...storms].map(([name, storms]) => stormRow(name, storms)).join('\n')}

### A flood from one address

Logins with right passwords arrive from many addresses at ${HONEST_SHARE} of what the cores can compare,
first alone; then one address sends ${FLOOD_PER_SECOND} a second of its own, their passwords right too, so that no limit
counts them. The module runs with its limits as they are by default.

| | logins done a second | answered in ms, p50 | refused |
|---|---|---|---|
${floodRow(
  'alone',
  floods.map(({ alone }) => alone),
)}
${floodRow(
  'beside the flood',
  floods.map(({ beside }) => beside),
)}
${floodRow(
  'the flood',
  floods.map(({ flood }) => flood),
)}
`
}

function stormRow(name: string, storms: Storm[]): string {
  const each = (value: (storm: Storm) => number, digits = 0) => show(storms.map(value).filter(isKnown), digits)
  const cells = [
    each(({ steady }) => perSecond(steady)),
    each(({ quiet }) => quiet.latencyMs.p99, 1),
    each(({ steady }) => steady.latencyMs.p99, 1),
    each(({ logins }) => perSecond(logins), 1),
    each(({ loginLimitPerSecond }) => loginLimitPerSecond, 1),
    each(({ logins }) => logins.latencyMs.p50),
    each(slowestLogin),
    each(({ logins }) => logins.refused),
    each(({ logins }) => logins.refusalMs.most),
    each(({ lostSessions }) => lostSessions),
    each(({ steady }) => steady.unanswered + steady.errors),
  ]
  return `| ${name} | ${cells.join(' | ')} |`
}

const isKnown = (value: number) => !Number.isNaN(value)

function floodRow(name: string, loads: LoadResult[]): string {
  const p50s = loads.map(({ latencyMs }) => latencyMs.p50).filter(isKnown)
  return `| ${name} | ${show(loads.map(perSecond), 1)} | ${show(p50s)} | ${show(loads.map(({ refused }) => refused))} |`
}
