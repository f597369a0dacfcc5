/**
 * Clients as they should be: they register, log in, look, refresh and log out, repeat what was not answered until it
 * is, each refresh with its key, and remember every answer they got.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { type Answer, me, newCredentials, newIdempotencyKey, refresh, sessionIdOf } from '../support/server.ts'
import type { Node } from './nodes.ts'

const CLIENTS = 12
/** Of a session, at most. */
const MOST_REFRESHES = 30
/** Before each request of a client, so that there is a processor left for what is tested. */
const PAUSE_MS = 50
const PATIENCE_MS = 5000

export type Request = 'register' | 'login' | 'look' | 'refresh' | 'logout'

export interface Credentials {
  email: string
  password: string
}

export interface RememberedSession {
  id: string
  /** The last ones that were answered. */
  refreshToken: string
  accessToken: string
  logout: 'not asked' | 'asked' | 'answered'
  /** Was served after its logout had been answered. */
  isUndone: boolean
  /** What it was refused with, though nobody had asked to end it. */
  refusal?: string
}

export interface Memory {
  registered: Credentials[]
  sessions: RememberedSession[]
  /** Without a status: the connection broke, or nothing came for a long time. */
  answers: { request: Request; node: string; status: number | undefined; atMs: number }[]
}

/** What one client does, each until it is answered. */
export interface Client {
  /** @returns undefined when it was refused */
  register(): Promise<Credentials | undefined>
  /** @returns undefined when it was refused */
  logIn(credentials: Credentials): Promise<RememberedSession | undefined>
  look(session: RememberedSession): Promise<void>
  refresh(session: RememberedSession): Promise<void>
  logOut(session: RememberedSession): Promise<void>
}

export function createClient(nodes: Node[], memory: Memory, signal: AbortSignal): Client {
  /** Asks one node, and then others, until one answers other than with 503. */
  async function ask(request: Request, send: (node: Node) => Promise<Answer>): Promise<Answer> {
    for (;;) {
      await pause(PAUSE_MS, undefined, { signal })
      const node = nodes[Math.floor(Math.random() * nodes.length)] as Node
      const answer = await withinPatience(send(node)).catch(() => undefined)
      memory.answers.push({ request, node: node.name, status: answer?.status, atMs: performance.now() })
      if (answer && answer.status !== 503) return answer
    }
  }

  /** Something other than success, of a session that should be served or that should not. */
  function judge(session: RememberedSession, request: Request, { status, body }: Answer): void {
    if (session.logout === 'answered') session.isUndone ||= status === 200
    else if (status !== 200 && session.logout === 'not asked') session.refusal = `${request} ${body.error?.code}`
  }

  return {
    async register() {
      const credentials = newCredentials()
      const { status } = await ask('register', (node) => node.call('POST', '/auth/register', { body: credentials }))
      if (status !== 201 && status !== 409) return undefined // 409: one without an answer had succeeded
      memory.registered.push(credentials)
      return credentials
    },
    async logIn(body) {
      const answer = await ask('login', (node) => node.call('POST', '/auth/login', { body }))
      if (answer.status !== 200) return undefined
      const { refresh_token: refreshToken, access_token: accessToken } = answer.body
      const id = sessionIdOf(refreshToken)
      const session: RememberedSession = { id, refreshToken, accessToken, logout: 'not asked', isUndone: false }
      memory.sessions.push(session)
      return session
    },
    async look(session) {
      judge(session, 'look', await ask('look', (node) => me(node, session.accessToken)))
    },
    async refresh(session) {
      const key = newIdempotencyKey()
      const answer = await ask('refresh', (node) => refresh(node, session.refreshToken, key))
      judge(session, 'refresh', answer)
      if (answer.status !== 200) return
      session.refreshToken = answer.body.refresh_token
      session.accessToken = answer.body.access_token
    },
    async logOut(session) {
      session.logout = 'asked'
      const body = { refresh_token: session.refreshToken }
      const { status } = await ask('logout', (node) => node.call('POST', '/auth/logout', { body }))
      if (status === 204) session.logout = 'answered'
    },
  }
}

/** @returns resolves when no client goes on any more, each with all its answers */
export async function runClients(client: Client, goesOn: () => boolean): Promise<void> {
  const lives = Array.from({ length: CLIENTS }, async () => {
    while (goesOn()) await liveOnce(client, goesOn)
  })
  await Promise.all(lives)
}

/** One session, which in the end is logged out or left alone. */
async function liveOnce(client: Client, goesOn: () => boolean): Promise<void> {
  const credentials = await client.register()
  const session = credentials && (await client.logIn(credentials))
  if (!session) return
  const refreshes = Math.random() * MOST_REFRESHES
  for (let turn = 0; turn < refreshes && goesOn() && !session.refusal; turn++) {
    await client.look(session)
    await client.refresh(session)
  }
  if (Math.random() < 0.5) return
  await client.logOut(session)
  await client.look(session)
}

function withinPatience<Result>(promise: Promise<Result>): Promise<Result> {
  const { promise: late, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(reject, PATIENCE_MS, new Error('no answer'))
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}
