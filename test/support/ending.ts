/** Leaving nothing behind, also when interrupted. */
import { constants } from 'node:os'

/**
 * Has work done when this process ends, also by Ctrl-C or SIGTERM, unless the program has its own way with these.
 * @param work does not wait, as the process does not
 * @returns takes it back
 */
export function atEnd(work: () => void): () => void {
  // It stays, as a second signal must not interrupt the work.
  for (const name of ['SIGINT', 'SIGTERM'] as const)
    if (process.listenerCount(name) === 0) process.on(name, () => process.exit(128 + constants.signals[name]))
  process.on('exit', work)
  return () => process.off('exit', work)
}
