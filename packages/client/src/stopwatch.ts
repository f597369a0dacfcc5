/** How much time has passed, and waiting for it. */

const LONGEST_TIMER_MS = 2 ** 31 - 1

/**
 * Counts milliseconds from now, or from some time ago. The monotonic clock stands still while a laptop sleeps, and the
 * wall clock may be set back: so the longer of the two counts. What looks old before its time is merely fetched early.
 */
export function startStopwatch(agoMs = 0): () => number {
  const monotonicMs = performance.now()
  const wallMs = Date.now()
  return () => agoMs + Math.max(performance.now() - monotonicMs, Date.now() - wallMs)
}

/** Node would not wait for it. */
export function startTimer(ms: number, work: () => void): ReturnType<typeof setTimeout> {
  const timer = setTimeout(work, Math.min(ms, LONGEST_TIMER_MS))
  if (typeof timer === 'object') (timer as { unref(): void }).unref()
  return timer
}
