/**
 * Many callers share one statement: whoever comes while it is under way goes with all others who wait in the next, like
 * a group commit. So nobody waits behind more than one, except by his own fault.
 */

interface Caller {
  values: unknown[]
  resolve(row: unknown): void
  reject(error: unknown): void
}

/**
 * @param ask runs the statement; each of its values is an array with one element for each caller, and each row that it
 *   answers has the `place` of its caller in them, counted from 1
 * @param isOneCallersFault tells whether the others may succeed without the one whose row made the statement fail
 * @returns a function that takes the values of one caller and answers its row, or undefined when there is none
 */
export function createBatches(
  ask: (columns: unknown[][]) => Promise<{ rows: unknown[] }>,
  isOneCallersFault: (error: unknown) => boolean,
) {
  const waiting: Caller[] = []
  let isAsking = false

  async function askForAll(): Promise<void> {
    isAsking = true
    while (waiting.length > 0) await askFor(waiting.splice(0))
    isAsking = false
  }

  async function askFor(callers: Caller[]): Promise<void> {
    const columns = callers[0]?.values.map((_, column) => callers.map(({ values }) => values[column])) ?? []
    try {
      const { rows } = (await ask(columns)) as { rows: { place: string | number }[] }
      const rowsByPlace = new Map(rows.map(({ place, ...row }) => [Number(place), row]))
      for (const [index, { resolve }] of callers.entries()) resolve(rowsByPlace.get(index + 1))
    } catch (error) {
      if (!isOneCallersFault(error)) {
        // To try for those who wait too would take them as long again, and they are promised a prompt 503.
        for (const { reject } of [...callers, ...waiting.splice(0)]) reject(error)
      } else if (callers.length === 1) callers[0]?.reject(error)
      else for (const caller of callers) void askFor([caller])
    }
  }

  return (values: unknown[]): Promise<unknown> => {
    const { promise, resolve, reject } = Promise.withResolvers()
    waiting.push({ values, resolve, reject })
    if (!isAsking) void askForAll()
    return promise
  }
}
