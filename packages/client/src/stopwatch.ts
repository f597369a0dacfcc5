/** How much time has passed. */

/**
 * Counts milliseconds from now. The monotonic clock stands still while a laptop sleeps, and the wall clock may be set
 * back:
 * so the longer of the two counts. What looks old before its time is merely fetched early.
 */
export function startStopwatch(): () => number {
  const monotonicMs = performance.now()
  const wallMs = Date.now()
  return () => Math.max(performance.now() - monotonicMs, Date.now() - wallMs)
}

/** The milliseconds that are left. */
export function startCountdown(seconds: number): () => number {
  const passedMs = startStopwatch()
  return () => seconds * 1000 - passedMs()
}
