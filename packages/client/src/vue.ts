/** @cerrojo/client/vue: who is logged in, as a composable. */
import { onScopeDispose, type ShallowRef, shallowRef } from 'vue'
import type { AuthClient, AuthState } from './index.ts'

/** Changes whenever somebody logs in or out, here or in another tab. Rendered on a server: unknown. */
export function useAuth(auth: AuthClient): Readonly<ShallowRef<AuthState>> {
  const state = shallowRef(auth.state)
  const update = () => {
    state.value = auth.state
  }
  if (typeof document !== 'undefined') onScopeDispose(auth.subscribe(update))
  return state
}
