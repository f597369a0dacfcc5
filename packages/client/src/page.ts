/** What the tabs of one origin share. Outside of a page (Node, workers, native apps) there is none of it. */

export interface Page {
  storage?: Pick<Storage, 'getItem' | 'setItem' | 'removeItem'>
  locks?: Pick<LockManager, 'request'>
  channel?: Pick<BroadcastChannel, 'postMessage' | 'close' | 'onmessage'>
}

/** Node has channels and locks too, but there the clients of one process may well be those of many users. */
export function openPage(name: string): Page {
  if (typeof document === 'undefined') return {}
  const storage = usableStorage()
  return {
    ...(storage && { storage }),
    ...(navigator.locks && { locks: navigator.locks }),
    ...(typeof BroadcastChannel !== 'undefined' && { channel: new BroadcastChannel(name) }),
  }
}

/** A browser that blocks storage throws at its mere mention. */
function usableStorage(): Storage | undefined {
  try {
    return localStorage
  } catch {
    return undefined
  }
}
