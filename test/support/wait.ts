/** Waiting for a condition, in place of sleeping and hoping. */
import { setTimeout as pause } from 'node:timers/promises'

/** @throws {Error} naming what was waited for, after a minute */
export async function until(what: string, condition: () => unknown | Promise<unknown>): Promise<void> {
  for (const end = performance.now() + 60_000; !(await condition()); await pause(10))
    if (performance.now() > end) throw new Error(`waited in vain for ${what}`)
}
