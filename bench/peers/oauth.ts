/** What the peers that speak OAuth 2.0 have in common. */
import type { PeerRequest, PeerSession } from './running.ts'

/** @throws when it was refused, with what was said */
export async function answerOf(url: string | URL, options: RequestInit = {}): Promise<Record<string, unknown>> {
  const answer = await fetch(url, options)
  const text = await answer.text()
  if (!answer.ok) throw new Error(`${new URL(url).pathname} answered ${answer.status}: ${text.slice(0, 300)}`)
  return JSON.parse(text)
}

export function sessionIn({ access_token, refresh_token }: Record<string, unknown>): PeerSession {
  return { accessToken: String(access_token), refreshToken: String(refresh_token) }
}

/** A form as RFC 6749 has it, with the client's credentials in it. */
export function form(path: string, fields: Record<string, unknown>): PeerRequest {
  const given = Object.entries(fields).flatMap(([name, value]) => (value ? [[name, String(value)]] : []))
  const headers = { 'content-type': 'application/x-www-form-urlencoded' }
  return { method: 'POST', path, headers, body: new URLSearchParams(given).toString() }
}

export function send(url: string, { path, ...options }: PeerRequest): Promise<Record<string, unknown>> {
  return answerOf(url + path, options)
}

export function bearer({ accessToken }: PeerSession, path: string): PeerRequest {
  return { method: 'GET', path, headers: { authorization: `Bearer ${accessToken}` } }
}
