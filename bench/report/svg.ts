/** Small charts as SVG text, readable on a light and on a dark page. */

const WIDTH = 790
const HEIGHT = 380
const LEFT = 70
const RIGHT = 50
const TOP = 70
const BOTTOM = 50
const COLOURS = ['#0969da', '#bc4c00', '#1a7f37', '#8250df']
const INK = '#6e7781'

export interface Line {
  name: string
  points: { x: number; y: number; least?: number; most?: number }[]
  isDashed?: boolean
}

interface Axes {
  title: string
  xTitle: string
  yTitle: string
  xTicks: { at: number; text: string }[]
  isXLogarithmic?: boolean
  isYLogarithmic?: boolean
  /** A vertical line with a word at it. */
  mark?: { at: number; text: string }
}

export function lineChart(axes: Axes, lines: Line[]): string {
  const points = lines.flatMap((line) => line.points).filter(({ y }) => Number.isFinite(y))
  const xScale = scale(
    points.map(({ x }) => x),
    LEFT,
    WIDTH - RIGHT,
    axes.isXLogarithmic,
  )
  const yValues = points.flatMap(({ y, most }) => [y, most ?? y])
  const yTicks = axes.isYLogarithmic ? decades(yValues) : steps(Math.max(...yValues))
  const yScale = scale(yTicks, HEIGHT - BOTTOM, TOP, axes.isYLogarithmic)
  const parts = [
    ...yTicks.map((tick) => grid(yScale(tick)) + text(LEFT - 8, yScale(tick) + 4, tick.toLocaleString('en'), 'end')),
    ...axes.xTicks.map(({ at, text: label }) => text(xScale(at), HEIGHT - BOTTOM + 18, label, 'middle')),
    text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, axes.xTitle, 'middle'),
    text(LEFT, TOP - 8, axes.yTitle, 'start'),
  ]
  if (axes.mark) {
    const x = xScale(axes.mark.at).toFixed(1)
    parts.push(`<line x1="${x}" x2="${x}" y1="${TOP}" y2="${HEIGHT - BOTTOM}" stroke="${INK}" stroke-dasharray="2 4"/>`)
    parts.push(text(Number(x) + 5, TOP + 12, axes.mark.text, 'start'))
  }
  lines.forEach((line, index) => {
    const colour = COLOURS[index % COLOURS.length]
    const drawn = line.points.filter(({ y }) => Number.isFinite(y))
    const path = drawn.map(({ x, y }) => `${xScale(x).toFixed(1)},${yScale(y).toFixed(1)}`).join(' ')
    const dashes = line.isDashed ? ' stroke-dasharray="6 4"' : ''
    parts.push(`<polyline points="${path}" fill="none" stroke="${colour}" stroke-width="2"${dashes}/>`)
    for (const { x, y, least, most } of drawn) {
      if (least === undefined || most === undefined) continue
      const at = xScale(x).toFixed(1)
      parts.push(
        `<line x1="${at}" x2="${at}" y1="${yScale(least).toFixed(1)}" y2="${yScale(most).toFixed(1)}" stroke="${colour}"/>`,
      )
      parts.push(`<circle cx="${at}" cy="${yScale(y).toFixed(1)}" r="4" fill="${colour}"/>`)
    }
    parts.push(legend(index, line.name, colour))
  })
  return svg(axes.title, HEIGHT, parts)
}

export interface Bar {
  group: string
  name: string
  value: number
  label: string
}

/**
 * Horizontal bars, one group under the other, each as long as its share of the longest of its group; the first name's
 * are in colour.
 */
export function barChart(title: string, bars: Bar[]): string {
  const parts: string[] = []
  let y = 56
  for (const group of new Set(bars.map(({ group }) => group))) {
    const members = bars.filter((bar) => bar.group === group)
    const longest = Math.max(...members.map(({ value }) => value))
    y += 18
    parts.push(text(20, y, group, 'start', 'bold'))
    for (const { name, value, label } of members) {
      y += 8
      const length = Math.max(2, (value / longest) * 400)
      parts.push(
        `<rect x="170" y="${y}" width="${length.toFixed(1)}" height="18" fill="${name === bars[0]?.name ? COLOURS[0] : INK}"/>`,
      )
      parts.push(text(162, y + 13, name, 'end'), text(170 + length + 6, y + 13, label, 'start'))
      y += 18
    }
    y += 12
  }
  return svg(title, y + 20, parts)
}

function svg(title: string, height: number, parts: string[]): string {
  const head = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="12" role="img" aria-label="${escapeXml(title)}">`
  return [head, text(20, 24, title, 'start', 'bold'), ...parts, '</svg>', ''].join('\n')
}

function legend(index: number, name: string, colour: string | undefined): string {
  const x = LEFT + index * 225
  return `<rect x="${x}" y="36" width="12" height="12" fill="${colour}"/>${text(x + 17, 46, name, 'start')}`
}

function text(x: number, y: number, content: string, anchor: 'start' | 'middle' | 'end', weight = 'normal'): string {
  const place = `x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}" font-weight="${weight}"`
  return `<text ${place} fill="${INK}">${escapeXml(content)}</text>`
}

function grid(y: number): string {
  const at = y.toFixed(1)
  return `<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${at}" y2="${at}" stroke="${INK}" stroke-opacity="0.25"/>`
}

function scale(values: number[], from: number, to: number, isLogarithmic = false): (value: number) => number {
  const place = (value: number) => (isLogarithmic ? Math.log10(value) : value)
  const least = place(Math.min(...values))
  const most = place(Math.max(...values))
  return (value) => from + ((place(value) - least) / (most - least || 1)) * (to - from)
}

function decades(values: number[]): number[] {
  const first = Math.floor(Math.log10(Math.min(...values)))
  const last = Math.ceil(Math.log10(Math.max(...values)))
  return Array.from({ length: Math.max(2, last - first + 1) }, (_, index) => 10 ** (first + index))
}

/** From zero, four or so round steps that reach the greatest value. */
function steps(most: number): number[] {
  const rough = most / 4
  const unit = 10 ** Math.floor(Math.log10(rough))
  const step = unit * ([1, 2, 2.5, 5, 10].find((factor) => factor * unit >= rough) ?? 10)
  return Array.from({ length: Math.ceil(most / step) + 1 }, (_, index) => index * step)
}

function escapeXml(content: string): string {
  return content.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;')
}
