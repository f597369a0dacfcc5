/** Trying again, and waiting, with patience that can end. */
import { type AuthClientError, aborted, isTemporary } from './errors.ts'

export interface Patience {
  attempts: number
  retryDelaySeconds: number
}

/** Nobody waits longer within one call; the error then says how long. */
const LONGEST_DELAY_SECONDS = 30

/**
 * Repeats what may succeed the next time, after growing pauses that no two tabs share.
 * @throws whatever the last try met, or CLIENT_ABORTED as soon as the signal says so
 */
export async function repeatedly<Result>(
  { attempts, retryDelaySeconds }: Patience,
  signal: AbortSignal,
  work: () => Promise<Result>,
): Promise<Result> {
  for (let attempt = 1; ; attempt++)
    try {
      return await work()
    } catch (error) {
      const backoffSeconds = retryDelaySeconds * 2 ** (attempt - 1) * (0.5 + Math.random())
      const seconds = Math.max(backoffSeconds, (error as AuthClientError).retryAfterSeconds ?? 0)
      if (!isTemporary(error) || attempt >= attempts || seconds > LONGEST_DELAY_SECONDS) throw error
      let timer: ReturnType<typeof setTimeout> | undefined
      const pause = () =>
        new Promise<void>((resolve) => {
          timer = setTimeout(resolve, seconds * 1000)
        })
      await unlessAborted(signal, pause).finally(() => clearTimeout(timer))
    }
}

/** What the work comes to, or CLIENT_ABORTED as soon as the signal says so. It goes on, for others may wait for it. */
export function unlessAborted<Result>(signal: AbortSignal | undefined, work: () => Promise<Result>): Promise<Result> {
  return new Promise((resolve, reject) => {
    const stop = () => reject(aborted(signal?.reason))
    if (signal?.aborted) return stop()
    signal?.addEventListener('abort', stop)
    work()
      .finally(() => signal?.removeEventListener('abort', stop))
      .then(resolve, reject)
  })
}
