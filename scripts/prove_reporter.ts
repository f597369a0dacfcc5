/** A reporter for node:test that writes what `npm run prove` gathers: one line of JSON a test. */
import type { TestEvent } from 'node:test/reporters'

export interface Report {
  /** Absolute. */
  file: string
  /** Of its suites, from the outermost, and its own; none when the file itself failed. */
  titles: string[]
  /** A suite is told of when it was skipped or failed by itself; otherwise its tests tell. */
  outcome: 'passed' | 'failed' | 'skipped'
  /** Why it was skipped, where that was said, or failed. */
  reason?: string
  /** What it told of itself. */
  diagnostics: string[]
}

export default async function* report(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const titlesOf = new Map<string, string[]>()
  let last: Report | undefined // diagnostics come after the outcome
  for await (const event of events) {
    if (event.type === 'test:diagnostic' && event.data.file !== undefined) last?.diagnostics.push(event.data.message)
    if (event.type !== 'test:start' && event.type !== 'test:pass' && event.type !== 'test:fail') continue
    const { entryFile, file = '', name, testId, parentId } = event.data
    const keyOf = (id: number | undefined) => `${entryFile ?? file} ${id}`
    if (event.type === 'test:start') {
      titlesOf.set(keyOf(testId), [...(titlesOf.get(keyOf(parentId)) ?? []), ...(name === file ? [] : [name])])
      continue
    }
    if (last) yield lineOf(last)
    const found = outcomeOf(event)
    last = found && { file: entryFile ?? file, titles: titlesOf.get(keyOf(testId)) ?? [], diagnostics: [], ...found }
  }
  if (last) yield lineOf(last)
}

const lineOf = (report: Report) => `${JSON.stringify(report)}\n`

type Ended = Extract<TestEvent, { type: 'test:pass' | 'test:fail' }>

function outcomeOf({ type, data }: Ended): Pick<Report, 'outcome' | 'reason'> | undefined {
  if (data.skip)
    return typeof data.skip === 'string' ? { outcome: 'skipped', reason: data.skip } : { outcome: 'skipped' }
  if (type === 'test:pass') return data.details.type === 'suite' ? undefined : { outcome: 'passed' }
  const { failureType, message, cause } = data.details.error as Error & { failureType?: string }
  if (failureType === 'subtestsFailed') return undefined
  return { outcome: 'failed', reason: cause instanceof Error ? cause.message : message }
}
