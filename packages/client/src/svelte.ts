/** @cerrojo/client/svelte: who is logged in, as a store. */
import { type Readable, readable } from 'svelte/store'
import type { AuthClient, AuthState } from './index.ts'

/** Changes whenever somebody logs in or out, here or in another tab. Rendered on a server: unknown. */
export function authState(auth: AuthClient): Readable<AuthState> {
  return readable(auth.state, (set) =>
    typeof document === 'undefined' ? undefined : auth.subscribe(() => set(auth.state)),
  )
}
