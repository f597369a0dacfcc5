/** Waiting for a condition, in place of sleeping and hoping. */
import { setTimeout as pause } from 'node:timers/promises'

/**
 * Counts its own pauses alone, so that one of the machine, or a condition that takes long, costs no try.
 * @throws {Error} naming what was waited for, after a minute of them or what is said instead
 */
export async function until(
  what: string,
  condition: () => unknown | Promise<unknown>,
  { withinMs = 60_000, everyMs = 10 } = {},
): Promise<void> {
  for (let pausedMs = 0; !(await condition()); pausedMs += everyMs) {
    if (pausedMs >= withinMs) throw new Error(`waited in vain for ${what}`)
    await pause(everyMs)
  }
}
