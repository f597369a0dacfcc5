/** Who is logged in, as user interfaces want to know it: one value, and a call when it changes. */
import { createListeners } from './listeners.ts'
import type { CurrentSession } from './session.ts'
import { startTimer } from './stopwatch.ts'
import type { AuthState, User } from './types.ts'

/** After a question that nobody could answer. */
const PAUSE_MS = 5000

export function createState(
  session: CurrentSession,
  getAccessToken: () => Promise<string | null>,
  me: () => Promise<User>,
) {
  const { listeners, tell, add } = createListeners<void>()
  let state: AuthState = { status: 'unknown' }
  let isAsking = false

  function become(next: AuthState): void {
    state = next
    tell()
  }

  function leave(): void {
    become({ status: 'loggedOut', ...(session.endedBy && { reason: session.endedBy }) })
  }

  /** What cannot be found out for now is asked again soon, or with the next token. */
  async function findOut(): Promise<void> {
    if (isAsking || !listeners.size) return
    isAsking = true
    try {
      let label: string | undefined
      let user: User | undefined
      do {
        await getAccessToken()
        label = session.current?.label
        user = label ? await me() : undefined
      } while (session.current?.label !== label)
      if (user) become({ status: 'loggedIn', user })
      else leave()
    } catch {
      if (session.current) startTimer(PAUSE_MS, findOut)
      else leave()
    } finally {
      isAsking = false
    }
  }

  session.onAuthChange(({ kind }) => {
    if (kind === 'ended') return leave()
    // Nobody sees for a moment what belongs to another.
    if (kind === 'loggedIn' && state.status === 'loggedIn') become({ status: 'unknown' })
    void findOut()
  })

  return {
    get current() {
      return state
    },
    subscribe(listener: () => void): () => void {
      const stop = add(listener)
      if (state.status === 'unknown') void findOut()
      return stop
    },
    dispose: () => listeners.clear(),
  }
}
