/** What the tabs of one origin share, and when they wake. Outside of pages (Node, workers, apps) there is none. */
import { attempt } from './attempt.ts'

export interface Page {
  storage?: PageStorage
  locks?: Pick<LockManager, 'request'>
  channel?: Pick<BroadcastChannel, 'postMessage' | 'close' | 'onmessage'>
  /** Calls the listener when the network is back, and when the page is looked at again. */
  onWake?: (listener: () => void, signal: AbortSignal) => void
}

/** localStorage as browsers have it: perhaps forbidden, perhaps full. Nothing here throws. */
export interface PageStorage {
  get(key: string): string | undefined
  /** @returns whether it was kept */
  set(key: string, value: string): boolean
  remove(key: string): void
}

/** Node has channels and locks too, but there the clients of one process may well be those of many users. */
export function openPage(name: string): Page {
  if (typeof document === 'undefined') return {}
  const locks = attempt(() => navigator.locks)
  const channel = attempt(() => new BroadcastChannel(name))
  return {
    storage: carefully(() => localStorage),
    ...(locks && { locks }),
    ...(channel && { channel }),
    onWake: (listener, signal) => {
      for (const event of ['online', 'pageshow', 'visibilitychange']) addEventListener(event, listener, { signal })
    },
  }
}

/** A browser that blocks storage throws at its mere mention, or has null instead. */
export function carefully(storage: () => Pick<Storage, 'getItem' | 'setItem' | 'removeItem'>): PageStorage {
  return {
    get: (key) => attempt(() => storage().getItem(key)) ?? undefined,
    set: (key, value) =>
      attempt(() => {
        storage().setItem(key, value)
        return true
      }) ?? false,
    remove: (key) => attempt(() => storage().removeItem(key)),
  }
}
