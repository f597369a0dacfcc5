/** The systems that a reader may have running, by the name that the file of `--peers` gives them. */
import { HYDRA } from './hydra.ts'
import { KEYCLOAK } from './keycloak.ts'
import { KRATOS } from './kratos.ts'
import type { RunningPeer } from './running.ts'
import { SUPABASE_AUTH } from './supabase_auth.ts'

export const ADAPTERS: Record<string, RunningPeer> = {
  'supabase-auth': SUPABASE_AUTH,
  kratos: KRATOS,
  hydra: HYDRA,
  keycloak: KEYCLOAK,
}
