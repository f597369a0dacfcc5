/** How a command tells what it found or did. */

export function tell(json: boolean | undefined, result: object, sentence: string): void {
  console.log(json ? JSON.stringify(result, null, 2) : sentence)
}

export function countOf(count: number, noun: string): string {
  return `${count.toLocaleString('en')} ${noun}${count === 1 ? '' : 's'}`
}

/** Epoch seconds as UTC, or a dash for no time. */
export function timeOf(seconds: number): string {
  return Number.isFinite(seconds) ? new Date(seconds * 1000).toISOString().replace(/\.\d+Z$/, 'Z') : '-'
}

export function printTable<Column extends string>(columns: Column[], rows: Record<Column, string>[]): void {
  const widths = columns.map((column) => Math.max(column.length, ...rows.map((row) => row[column].length)))
  const line = (cells: string[]) =>
    cells
      .map((cell, index) => cell.padEnd(widths[index] ?? 0))
      .join('  ')
      .trimEnd()
  console.log(line(columns.map((column) => column.toUpperCase())))
  for (const row of rows) console.log(line(columns.map((column) => row[column])))
}
