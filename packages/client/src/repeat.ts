/** Trying again, with patience. */
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
      await pause(seconds, signal)
    }
}

function pause(seconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer)
      reject(aborted())
    }
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', stop)
      resolve()
    }, seconds * 1000)
    signal.addEventListener('abort', stop)
    if (signal.aborted) stop()
  })
}
