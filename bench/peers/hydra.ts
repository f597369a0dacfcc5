/**
 * Ory Hydra; `url` is its public one. A refresh token comes by an authorization code alone, so the bench itself accepts
 * login and consent, at `adminUrl`. The client takes codes, offline_access, and its secret in the body
 * (client_secret_post).
 */
import { answerOf, bearer, form, send, sessionIn } from './oauth.ts'
import type { RunningPeer, Settings } from './running.ts'

export const HYDRA: RunningPeer = {
  name: 'Ory Hydra',
  settings: ['adminUrl', 'clientId', 'clientSecret', 'redirectUri'],
  async login(settings) {
    const { url, redirectUri } = settings
    const follow = browser()
    const query = {
      ...client(settings),
      response_type: 'code',
      redirect_uri: String(redirectUri),
      state: 'bench-state',
    }
    const { client_secret: _, ...asked } = { ...query, scope: scopeOf(settings).join(' ') }
    const loginPage = await follow(`${url}/oauth2/auth?${new URLSearchParams(asked)}`)
    const consentPage = await follow(await accept(settings, 'login', loginPage, { subject: 'bench' }))
    const granted = { grant_scope: scopeOf(settings) }
    const callback = await follow(await accept(settings, 'consent', consentPage, granted))
    const code = callback.searchParams.get('code')
    const fields = { grant_type: 'authorization_code', code, redirect_uri: redirectUri, ...client(settings) }
    return sessionIn(await send(url, form('/oauth2/token', fields)))
  },
  refresh: ({ refreshToken }, settings) =>
    form('/oauth2/token', { grant_type: 'refresh_token', refresh_token: refreshToken, ...client(settings) }),
  look: (session) => bearer(session, '/userinfo'),
  keysPath: '/.well-known/jwks.json',
}

/** With openid in it, each refresh makes an ID token too. */
function scopeOf({ withIdToken }: Settings): string[] {
  return withIdToken === false ? ['offline_access'] : ['openid', 'offline_access']
}

function client({ clientId, clientSecret }: Settings): { client_id: string; client_secret: string } {
  return { client_id: String(clientId), client_secret: String(clientSecret) }
}

/** Goes where it is sent, one step at a time, with the cookies that it was given. */
function browser() {
  const cookies = new Map<string, string>()
  return async (address: string): Promise<URL> => {
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    const answer = await fetch(address, { redirect: 'manual', headers: { cookie } })
    for (const line of answer.headers.getSetCookie()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
      cookies.set(name, value)
    }
    const location = answer.headers.get('location')
    if (!location) throw new Error(`${new URL(address).pathname} answered ${answer.status} without a place to go`)
    return new URL(location, address)
  }
}

/** @returns where the browser goes on */
async function accept(
  { adminUrl }: Settings,
  kind: 'login' | 'consent',
  page: URL,
  decision: Record<string, unknown>,
): Promise<string> {
  const challenge = `${kind}_challenge`
  const query = new URLSearchParams({ [challenge]: page.searchParams.get(challenge) ?? '' })
  const { redirect_to } = await answerOf(`${adminUrl}/admin/oauth2/auth/requests/${kind}/accept?${query}`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(decision),
  })
  return String(redirect_to)
}
