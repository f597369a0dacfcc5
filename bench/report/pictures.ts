/** The pictures beside RESULTS.md. */
import type { TableSize } from '../measurements/growth.ts'
import type { Saturated } from '../measurements/saturated.ts'
import type { Storm } from '../measurements/storm.ts'
import { MEASURED_BY_HAND } from '../peers/measured_by_hand.ts'
import { format, median, summarize } from '../support/statistics.ts'
import { type Bar, barChart, lineChart } from './svg.ts'

/** The first round: each second's p99, before and in the storm. */
export function drawStorm(storms: Map<string, Storm[]>): string {
  const quietSeconds = Math.max(...[...storms.values()].map(([storm]) => storm?.quiet.timeline.length ?? 0))
  const lines = [...storms].map(([name, [storm]]) => {
    const steps = [...(storm?.quiet.timeline ?? []), ...(storm?.steady.timeline ?? [])]
    return { name, points: steps.map(({ p99 }, second) => ({ x: second, y: p99 })) }
  })
  const seconds = Math.max(...lines.map(({ points }) => points.length))
  const stepSeconds = Math.max(1, Math.round(seconds / 10))
  const xTicks = Array.from({ length: Math.ceil(seconds / stepSeconds) }, (_, index) => index * stepSeconds)
  return lineChart(
    {
      title: 'Latency in a login storm: p99 of each second, at 0.3 of what each server could do',
      xTitle: 'seconds',
      yTitle: 'p99 in ms, logarithmic',
      xTicks: xTicks.map((at) => ({ at, text: String(at) })),
      isYLogarithmic: true,
      mark: { at: quietSeconds, text: 'the storm begins' },
    },
    lines,
  )
}

export function drawTableSizes(tableSizes: TableSize[]): string {
  const points = tableSizes.map(({ sessions, turns }) => {
    const { median: y, least, most } = summarize(turns.map(({ microseconds }) => microseconds))
    return { x: sessions, y, least, most }
  })
  return lineChart(
    {
      title: 'Cost of a refresh against table size',
      xTitle: 'sessions in the table, logarithmic',
      yTitle: 'processor time of module and PostgreSQL in µs: median and range',
      xTicks: tableSizes.map(({ sessions }) => ({ at: sessions, text: format(sessions) })),
      isXLogarithmic: true,
    },
    [{ name: 'refresh', points }],
  )
}

/** Those of this run, and with a star those that were measured by hand, against Cerrojo's cost of the same hour. */
export function drawPeers(saturated: Saturated): string {
  const costOf = (name: string) => median(saturated[name]?.map(({ microseconds }) => microseconds) ?? [])
  const [cerrojo, ...others] = MEASURED_BY_HAND.costs
  const bars = (group: string, kind: 'refresh' | 'look', ours: string, peers: Record<string, string>): Bar[] => {
    const measured = Object.entries(peers).map(([name, peer]) => ({ name, value: costOf(peer) / costOf(ours) }))
    const byHand = others.map(({ name, [kind]: cost = Number.NaN }) => ({
      name: `${name} *`,
      value: cost / (cerrojo?.[kind] ?? Number.NaN),
    }))
    return [{ name: 'Cerrojo', value: 1 }, ...measured, ...byHand]
      .filter(({ value }) => Number.isFinite(value))
      .map(({ name, value }) => ({ group, name, value, label: `${format(value, value < 10 ? 1 : 0)} ×` }))
  }
  return barChart(
    "Processor time for one operation, PostgreSQL included, as a multiple of Cerrojo's: shorter is better",
    [
      ...bars('refresh', 'refresh', 'refresh', { FastAPI: 'refresh: FastAPI' }),
      ...bars('who am I', 'look', 'me, shown again', {
        FastAPI: 'me: FastAPI, shown again',
        'better-auth': 'me: better-auth get-session',
      }),
    ],
  )
}
