/** Ory Kratos, by its flows for apps; `url` is its public one. Its session tokens do not rotate. */
import { answerOf } from './oauth.ts'
import type { RunningPeer } from './running.ts'

export const KRATOS: RunningPeer = {
  name: 'Ory Kratos',
  settings: ['identifier', 'password'],
  async login({ url, identifier, password }) {
    const { id } = await answerOf(`${url}/self-service/login/api`)
    const { session_token } = await answerOf(`${url}/self-service/login?flow=${id}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'application/json' },
      body: JSON.stringify({ method: 'password', identifier, password }),
    })
    return { accessToken: String(session_token) }
  },
  look: ({ accessToken }) => ({
    method: 'GET',
    path: '/sessions/whoami',
    headers: { 'x-session-token': accessToken, accept: 'application/json' },
  }),
}
