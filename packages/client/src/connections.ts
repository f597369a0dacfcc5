/** @cerrojo/client/connections: a token for what stays open for longer than one lives, such as a socket. */
import type { AuthClient, Signal } from './index.ts'

/**
 * Calls `open` with the access token, and again with each one that takes its place. The signal is aborted when that
 * token has ended: replaced (after the next `open`), expired, or logged out.
 * @returns a function that ends that, and aborts the signal
 */
export function eachToken(auth: AuthClient, open: (token: string, signal: Signal) => void): () => void {
  let current: { token: string | null; ending: AbortController } = { token: null, ending: new AbortController() }
  let timer: ReturnType<typeof setTimeout> | undefined
  let hasStopped = false

  async function goOn(): Promise<void> {
    const token = await auth.getAccessToken()
    const before = current
    if (hasStopped || token === before.token) return
    const ending = new AbortController()
    current = { token, ending }
    clearTimeout(timer)
    if (token) {
      timer = setTimeout(() => ending.abort(), auth.remainingSeconds * 1000)
      open(token, ending.signal)
    }
    before.ending.abort()
  }

  // Where none can be had for now, one that comes later is told of.
  const goOnIfPossible = () => void goOn().catch(() => undefined)
  const stopListening = auth.onAuthChange(goOnIfPossible)
  goOnIfPossible()
  return () => {
    hasStopped = true
    stopListening()
    clearTimeout(timer)
    current.ending.abort()
  }
}
