/** One part of an operation, called bare and over and over. */
import { serveTasks } from '../support/children.ts'
import { type Part, parts } from './parts.ts'

export interface Work {
  part: Part
  seconds: number
  /** Pieces of work under way at once. */
  width: number
}

export interface WorkResult {
  done: number
  elapsedSeconds: number
}

const WARM_UP_PART = 0.2

serveTasks<Work>(async ({ part, seconds, width }, begin) => {
  const work = await parts[part]()
  let done = 0
  const runFor = async (milliseconds: number) => {
    const endsAtMs = performance.now() + milliseconds
    const one = async () => {
      while (performance.now() < endsAtMs) {
        const pieces = Number((await work()) ?? 1)
        done += pieces
      }
    }
    await Promise.all(Array.from({ length: width }, one))
  }
  await runFor(seconds * 1000 * WARM_UP_PART)
  done = 0
  begin()
  const beganAtMs = performance.now()
  await runFor(seconds * 1000)
  return { done, elapsedSeconds: (performance.now() - beganAtMs) / 1000 } satisfies WorkResult
})
