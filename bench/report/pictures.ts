/** The pictures beside RESULTS.md. */
import type { TableSize } from '../measurements/growth.ts'
import type { Saturated } from '../measurements/saturated.ts'
import type { Storm } from '../measurements/storm.ts'
import { CORES } from '../support/processor.ts'
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

export function drawPeers(saturated: Saturated): string {
  const bar = (group: string, name: string, measurement: string): Bar => {
    const value = (CORES * 1e6) / median(saturated[measurement]?.map(({ microseconds }) => microseconds) ?? [])
    return { group, name, value, label: format(value, value < 100 ? 1 : 0) }
  }
  return barChart(`Beside the peers: operations a second that ${CORES} cores could do, PostgreSQL included`, [
    bar('refresh', 'Cerrojo', 'refresh'),
    bar('refresh', 'FastAPI', 'refresh: FastAPI'),
    bar('me, or get-session: token shown again', 'Cerrojo', 'me, shown again'),
    bar('me, or get-session: token shown again', 'FastAPI', 'me: FastAPI, shown again'),
    bar('me, or get-session: token shown again', 'better-auth', 'me: better-auth get-session'),
    bar('me: token new each time', 'Cerrojo', 'me, new each time'),
    bar('me: token new each time', 'FastAPI', 'me: FastAPI, new each time'),
    bar('login', 'Cerrojo', 'login'),
    bar('login', 'FastAPI', 'login: FastAPI'),
    bar('login', 'better-auth', 'login: better-auth'),
  ])
}
