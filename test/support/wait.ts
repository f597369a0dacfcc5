/** Waiting for a condition, in place of sleeping and hoping. */
import { setTimeout as pause } from 'node:timers/promises'

/** @throws {Error} naming what was waited for, after a minute or what is said instead */
export async function until(
  what: string,
  condition: () => unknown | Promise<unknown>,
  { withinMs = 60_000, everyMs = 10 } = {},
): Promise<void> {
  for (const end = performance.now() + withinMs; !(await condition()); await pause(everyMs))
    if (performance.now() > end) throw new Error(`waited in vain for ${what}`)
}
