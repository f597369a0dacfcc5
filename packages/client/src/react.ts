'use client'
/** @cerrojo/client/react: who is logged in, as a hook. */
import { useSyncExternalStore } from 'react'
import type { AuthClient, AuthState } from './index.ts'

const UNKNOWN: AuthState = { status: 'unknown' }

/** Renders again whenever somebody logs in or out, here or in another tab. Rendered on a server: unknown. */
export function useAuth(auth: AuthClient): AuthState {
  return useSyncExternalStore(
    auth.subscribe,
    () => auth.state,
    () => UNKNOWN,
  )
}
