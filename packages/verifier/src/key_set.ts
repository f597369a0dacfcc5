/** Keys that are loaded again as they age, and that stay as they were while they cannot be. */
import { VerifierError } from './errors.ts'
import type { Key, Keys, LoadKeys } from './key_sources.ts'

/** After a failed load the next one waits this long only, so that keys are back soon after their source is. */
const RETRY_SECONDS = 1

export interface KeySetOptions {
  /** Names the keys in errors. */
  name: string
  /** Age at which the keys are loaded again. Infinity: never. */
  maxAgeSeconds: number
  /** Least time between two loads that unknown key ids ask for. */
  cooldownSeconds: number
  /** Told of every failed load; must not throw. */
  onFailure: (error: unknown) => void
}

export type KeySet = ReturnType<typeof createKeySet>

export function createKeySet(load: LoadKeys, { name, maxAgeSeconds, cooldownSeconds, onFailure }: KeySetOptions) {
  let keys: Keys = new Map()
  let loading: Promise<void> | undefined
  /** Of the last load that ended, undefined when it went well. */
  let failure: unknown
  // Times of the monotonic clock, in milliseconds: setting the wall clock neither ages nor renews keys.
  let loadedAt = Number.NEGATIVE_INFINITY
  let attemptedAt = Number.NEGATIVE_INFINITY

  /** Starts a load, if the last one started long enough ago. Those who come while one runs share it. */
  function reload(intervalSeconds: number): void {
    const wantedSeconds = failure === undefined ? intervalSeconds : RETRY_SECONDS
    if (loading || secondsSince(attemptedAt) < wantedSeconds) return
    attemptedAt = performance.now()
    loading = load(keys)
      .then(
        (loaded) => {
          keys = loaded
          loadedAt = performance.now()
          failure = undefined
        },
        (error) => {
          failure = error
          onFailure(error)
        },
      )
      .finally(() => {
        loading = undefined
      })
  }

  function isStale(): boolean {
    return secondsSince(loadedAt) >= maxAgeSeconds
  }

  return {
    isStale,

    /** Loads stale keys again. While that is known to fail nobody waits for it, and the keys at hand serve on. */
    async refresh(): Promise<void> {
      if (!isStale()) return
      reload(0)
      if (failure === undefined || keys.size === 0) await loading
    },

    get(kid: string | undefined): Key | undefined {
      return keys.get(kid as string)
    },

    /**
     * The key of an unknown key id, which has the keys loaded again, after the cooldown.
     * @throws {VerifierError} AUTH_UNAVAILABLE when it is still unknown and the last load failed
     */
    async load(kid: string | undefined): Promise<Key | undefined> {
      if (kid === undefined) return undefined
      reload(cooldownSeconds)
      await loading
      const found = keys.get(kid)
      if (!found && failure !== undefined) throw new VerifierError('AUTH_UNAVAILABLE', `no ${name}`, failure)
      return found
    },
  }
}

function secondsSince(milliseconds: number): number {
  return (performance.now() - milliseconds) / 1000
}
