/** Supabase Auth (GoTrue), asked directly: behind its gateway `url` ends with /auth/v1, and `apiKey` is needed. */
import { bearer, send, sessionIn } from './oauth.ts'
import type { PeerRequest, RunningPeer, Settings } from './running.ts'

export const SUPABASE_AUTH: RunningPeer = {
  name: 'Supabase Auth',
  settings: ['email', 'password'],
  login: async (settings) => {
    const { email, password } = settings
    return sessionIn(await send(settings.url, token(settings, 'password', { email, password })))
  },
  refresh: ({ refreshToken }, settings) => token(settings, 'refresh_token', { refresh_token: refreshToken }),
  look: (session, { apiKey }) => {
    const request = bearer(session, '/user')
    return { ...request, headers: { ...request.headers, ...keyHeader(apiKey) } }
  },
  keysPath: '/.well-known/jwks.json',
}

function token({ apiKey }: Settings, grant: string, fields: Record<string, unknown>): PeerRequest {
  const headers = { 'content-type': 'application/json', ...keyHeader(apiKey) }
  return { method: 'POST', path: `/token?grant_type=${grant}`, headers, body: JSON.stringify(fields) }
}

function keyHeader(apiKey: unknown): Record<string, string> {
  return apiKey ? { apikey: String(apiKey) } : {}
}
