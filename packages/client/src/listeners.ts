/** Those who want to be told. */

export function createListeners<Event>() {
  const listeners = new Set<(event: Event) => void>()
  return {
    listeners,
    /** Each one at the end of what runs now, unless it has been taken away by then. */
    tell(event: Event): void {
      for (const listener of listeners) queueMicrotask(() => listeners.has(listener) && listener(event))
    },
    /** @returns a function that takes it away again */
    add(listener: (event: Event) => void): () => void {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
}
