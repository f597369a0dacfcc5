/** Many callers share one statement: whoever comes while it is under way goes with the others in the next, like a group commit. */

/** Enough to make the cost of a statement and its commit small for each of them. */
const MAX_CALLERS = 100

interface Caller {
  values: unknown[]
  resolve(row: unknown): void
  reject(error: unknown): void
}

/**
 * @param ask runs the statement; each of its values is an array with one element for each caller, and each row that it
 *   answers has the `place` of its caller in them, counted from 1
 * @param isOneCallersFault tells whether the others may succeed without the one whose row made the statement fail
 * @returns what answers a caller's row, or undefined when there is none
 */
export function createBatches(
  ask: (columns: unknown[][]) => Promise<{ rows: unknown[] }>,
  isOneCallersFault: (error: unknown) => boolean,
) {
  const waiting: Caller[] = []
  let isAsking = false

  async function askForAll(): Promise<void> {
    isAsking = true
    while (waiting.length > 0) await askFor(waiting.splice(0, MAX_CALLERS))
    isAsking = false
  }

  async function askFor(callers: Caller[]): Promise<void> {
    const columns = callers[0]?.values.map((_, column) => callers.map(({ values }) => values[column])) ?? []
    try {
      const { rows } = (await ask(columns)) as { rows: { place: string | number }[] }
      const rowsByPlace = new Map(rows.map(({ place, ...row }) => [Number(place), row]))
      for (const [index, { resolve }] of callers.entries()) resolve(rowsByPlace.get(index + 1))
    } catch (error) {
      if (callers.length > 1 && isOneCallersFault(error)) for (const caller of callers) void askFor([caller])
      // A database that could not answer these cannot answer those who wait either, and they have waited already.
      else for (const { reject } of [...callers, ...waiting.splice(0)]) reject(error)
    }
  }

  return (values: unknown[]): Promise<unknown> => {
    const { promise, resolve, reject } = Promise.withResolvers()
    waiting.push({ values, resolve, reject })
    if (!isAsking) void askForAll()
    return promise
  }
}
