/** Keys that are loaded again as they age, and that stay as they were while they cannot be. */
import { setTimeout as pause } from 'node:timers/promises'
import { VerifierError } from './errors.ts'
import type { Key, Keys, LoadKeys } from './key_sources.ts'

/** After a failed load the next one waits this long, so that keys are back soon after their source is. */
const RETRY_SECONDS = 1

export interface KeySetOptions {
  /** Names the keys in errors. */
  name: string
  /** Age at which the keys are loaded again. */
  maxAgeSeconds: number
  /** Least time between two loads. */
  cooldownSeconds: number
  /** How long a load may take. */
  timeoutSeconds: number
  /** Told of every failed load; must not throw. */
  onFailure: (error: unknown) => void
}

export type KeySet = ReturnType<typeof createKeySet>

export function createKeySet(
  load: LoadKeys,
  { name, maxAgeSeconds, cooldownSeconds, timeoutSeconds, onFailure }: KeySetOptions,
) {
  let keys: Keys = new Map()
  let loading: Promise<void> | undefined
  /** Of the last load that ended, undefined when it went well. */
  let failure: unknown
  // Times of the monotonic clock, in milliseconds: setting the wall clock neither ages nor renews keys.
  let loadedAt = Number.NEGATIVE_INFINITY
  let attemptedAt = Number.NEGATIVE_INFINITY

  /** Those who come while one runs share it. Never rejects. */
  function reload(): Promise<void> {
    loading ??= loadInTime().then(
      (loaded) => {
        keys = loaded
        loadedAt = performance.now()
        failure = undefined
        loading = undefined
      },
      (error) => {
        loading = undefined
        fail(error)
      },
    )
    return loading
  }

  function loadInTime(): Promise<Keys> {
    attemptedAt = performance.now()
    const signal = AbortSignal.timeout(timeoutSeconds * 1000)
    const timeout = new Promise<never>((_resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason))
    })
    return Promise.race([load(keys, signal), timeout])
  }

  function fail(error: unknown): void {
    failure = error
    onFailure(error)
  }

  function unavailable(): VerifierError {
    return new VerifierError('AUTH_UNAVAILABLE', `no ${name}`, failure)
  }

  const isStale = () => secondsSince(loadedAt) >= maxAgeSeconds
  const isRetryDue = () => failure === undefined || secondsSince(attemptedAt) >= RETRY_SECONDS

  /** Loads stale keys again. While that is known to fail nobody waits for it, and the keys at hand serve on. */
  async function refresh(): Promise<void> {
    if (!isStale()) return
    const attempt = isRetryDue() ? reload() : loading
    if (failure === undefined || keys.size === 0) await attempt
  }

  /**
   * An unknown key id has the keys loaded again, and is judged by what that load brings; where the last one is too
   * recent for another, it waits.
   * @throws {VerifierError} AUTH_UNAVAILABLE when it is still unknown and the last load failed
   */
  async function find(kid: string): Promise<Key | undefined> {
    if (keys.has(kid)) return keys.get(kid)
    if (!loading && !isRetryDue()) throw unavailable()
    const askedAt = performance.now()
    const waitSeconds = loading ? 0 : cooldownSeconds - secondsSince(attemptedAt)
    if (waitSeconds > 0) await pause(waitSeconds * 1000)
    await (attemptedAt < askedAt ? reload() : loading)
    const found = keys.get(kid)
    if (!found && failure !== undefined) throw unavailable()
    return found
  }

  return {
    isStale,
    refresh,
    find,

    /** @throws {VerifierError} AUTH_UNAVAILABLE when there are none */
    async ready(): Promise<void> {
      await refresh()
      if (keys.size === 0) throw unavailable()
    },

    get(kid: string): Key | undefined {
      return keys.get(kid)
    },

    /** The key of an id that must be among them: that it is not counts as a failed load. */
    async demand(kid: string): Promise<Key> {
      const found = await find(kid)
      if (found) return found
      if (failure === undefined)
        fail(new Error(`The key ${kid}, to which the issuer encrypts, is not among the ${name}`))
      throw unavailable()
    },
  }
}

function secondsSince(milliseconds: number): number {
  return (performance.now() - milliseconds) / 1000
}
