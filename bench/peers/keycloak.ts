/** Keycloak; `url` is that of the realm. The client allows direct access grants. */
import { bearer, form, send, sessionIn } from './oauth.ts'
import type { PeerRequest, RunningPeer, Settings } from './running.ts'

export const KEYCLOAK: RunningPeer = {
  name: 'Keycloak',
  settings: ['clientId', 'username', 'password'],
  login: async (settings) => {
    const { username, password } = settings
    const request = token(settings, { grant_type: 'password', username, password, scope: 'openid' })
    return sessionIn(await send(settings.url, request))
  },
  refresh: ({ refreshToken }, settings) =>
    token(settings, { grant_type: 'refresh_token', refresh_token: refreshToken }),
  look: (session) => bearer(session, '/protocol/openid-connect/userinfo'),
  keysPath: '/protocol/openid-connect/certs',
}

function token({ clientId, clientSecret }: Settings, fields: Record<string, unknown>): PeerRequest {
  const client = { client_id: clientId, client_secret: clientSecret }
  return form('/protocol/openid-connect/token', { ...fields, ...client })
}
