/** Medians with their range, and percentiles. */

export interface Summary {
  median: number
  least: number
  most: number
}

export function summarize(values: number[]): Summary {
  const sorted = values.toSorted((one, other) => one - other)
  return { median: percentile(sorted, 50), least: sorted[0] ?? Number.NaN, most: sorted.at(-1) ?? Number.NaN }
}

/** Interpolates between neighbours, so that the median of an even number of values lies in their middle. */
export function percentile(sorted: ArrayLike<number>, percent: number): number {
  const position = ((sorted.length - 1) * percent) / 100
  const below = sorted[Math.floor(position)] ?? Number.NaN
  const above = sorted[Math.ceil(position)] ?? Number.NaN
  return below + (above - below) * (position - Math.floor(position))
}

/** A summary as `median (least–most)`. */
export function show(values: number[], digits = 0): string {
  if (values.length === 0) return '–'
  const { median, least, most } = summarize(values)
  return `${format(median, digits)} (${format(least, digits)}–${format(most, digits)})`
}

export function median(values: number[]): number {
  return summarize(values).median
}

export function format(value: number, digits = 0): string {
  return value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits })
}
