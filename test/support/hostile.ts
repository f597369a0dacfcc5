/** What the cases in test/hostile/ attack: a module of our own, or the deployment that HOSTILE_URL names. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import type { AuthErrorCode } from '../../src/models/types.ts'
import { BEHIND_PROXY } from './addresses.ts'
import { assertRefused } from './answers.ts'
import { answersIn, type BareConnection, connectTo } from './bare.ts'
import { type Forgery, forge } from './forgery.ts'
import { decodeJson, type Jwk } from './jose_by_hand.ts'
import { keyFor } from './keys.ts'
import {
  type Answer,
  call,
  type Environment,
  type LocalServer,
  me,
  type Server,
  sessionIdOf,
  startServer,
} from './server.ts'
import { until } from './wait.ts'

/**
 * What a case cannot do without: `module`, one of our own, whose keys and settings are known; `cookies`, one whose
 * refresh tokens travel in cookies; `hard`, leave to send a flood; `fuzz`, Schemathesis, and leave to run it.
 */
export type Need = 'module' | 'cookies' | 'hard' | 'fuzz'

export interface Case {
  needs?: Need[]
  /** After it nobody may log in from this address for a quarter of an hour, so that it comes last. */
  locksOut?: boolean
  default(target: Target): void | Promise<void>
}

export interface Session {
  access_token: string
  refresh_token: string
  /** As a browser sends it; undefined where refresh tokens travel in the body. */
  cookie: string | undefined
}
export type Target = Awaited<ReturnType<typeof openTarget>>

/** Refusals that proxies have of their own; a 502 would say that what is behind them broke. */
const REFUSED_BY_A_PROXY = [501, 505]

/** Somebody new, under a name that nobody has: .invalid is kept free by RFC 2606. */
export function newVictim(): { email: string; password: string } {
  const name = `hostile-${randomBytes(8).toString('hex')}`
  return { email: `${name}@example.invalid`, password: `${randomBytes(9).toString('hex')}aZ7` }
}

/** Registers somebody for all cases to be. */
export async function openTarget(env: Environment = {}) {
  const foreign = process.env.HOSTILE_URL
  const own = foreign === undefined ? await startServer({ ...BEHIND_PROXY, ...env }) : undefined
  const server: Server = own ?? { url: foreign as string, env: {}, call: (...rest) => call(foreign as string, ...rest) }
  const { host, pathname } = new URL(server.url)
  const user = newVictim()
  const registered = await server.call('POST', '/auth/register', { body: user })
  assert.equal(registered.status, 201, 'registering; after a 429 wait a quarter of an hour')
  const session = await logIn()
  let forgery: Promise<Forgery> | undefined

  /** A new session of the user. */
  async function logIn(): Promise<Session> {
    const { status, headers, body } = await server.call('POST', '/auth/login', { body: user })
    assert.equal(status, 200, `logging in: ${JSON.stringify(body)}`)
    const cookie = headers.getSetCookie()[0]?.split(';')[0]
    const { access_token, refresh_token = cookie?.split('=')[1] } = body
    return { access_token, refresh_token, cookie: body.refresh_token === undefined ? cookie : undefined }
  }

  return {
    ...server,
    /** The module of our own, if it is one. */
    own,
    user,
    /** Of the user; a case that uses its refresh token up is the only one that does. */
    session,
    logIn,

    /** Makes tokens with what strangers know; of a module of our own also with its private keys. */
    forgery: () => (forgery ??= forgeFor({ server, own, session: logIn() })),

    /** The head of a request, with the Host that the target has. */
    head(requestLine: string, ...headers: string[]): string {
      const line = requestLine.replace(' /', ` ${pathname.replace(/\/$/, '')}/`)
      return `${[line, `Host: ${host}`, ...headers].join('\r\n')}\r\n\r\n`
    },

    /** It is this refusal; of somebody's deployment it may be another one, as a proxy may be who answers. */
    assertRefused(answer: Answer, status: number, code: AuthErrorCode = 'AUTH_BAD_REQUEST'): void {
      if (own) assertRefused(answer, status, code)
      else assertRefusedSomehow(answer.status)
    },

    /** Everything that came back over a bare connection are these refusals, in this order. */
    assertAllRefused({ received }: BareConnection, statuses: readonly number[]): void {
      if (!own) {
        const seen = [...received().matchAll(/^HTTP\/1\.[01] (\d{3})/gm)].map(([, status]) => Number(status))
        assert.ok(seen.length <= statuses.length, `more answers than requests: ${seen}`)
        for (const status of seen) assertRefusedSomehow(status)
        return
      }
      const answers = answersIn(received())
      assert.deepEqual(
        answers.map(({ status }) => status),
        statuses,
      )
      for (const answer of answers)
        assertRefused(answer, answer.status, answer.status === 401 ? 'AUTH_TOKEN_INVALID' : 'AUTH_BAD_REQUEST')
    },
  }
}

function assertRefusedSomehow(status: number): void {
  assert.ok((status >= 400 && status < 500) || REFUSED_BY_A_PROXY.includes(status), `${status}`)
}

/** The header of a token repeats iss and aud (RFC 7519, section 5.3); the session's id follows from the contract. */
async function forgeFor({
  server,
  own,
  session,
}: {
  server: Server
  own?: LocalServer | undefined
  session: Promise<Session>
}) {
  const { access_token: genuine, refresh_token } = await session
  const { kid, iss, aud } = decodeJson(genuine.split('.')[0])
  const { keys } = (await server.call('GET', '/.well-known/jwks.json')).body
  const user = await me(server, genuine)
  assert.equal(user.status, 200, 'the genuine token is accepted')
  return forge({
    genuine,
    claims: { sub: user.body.id, sid: sessionIdOf(refresh_token), iss, aud },
    signatureKey: own ? await keyFor(own.env, 'sig') : keys.find(({ use }: Jwk) => use === 'sig'),
    encryptionKey: own ? await keyFor(own.env, 'enc') : keys.find((key: Jwk) => key.kid === kid),
  })
}

/** Why the case cannot be tried on the target, or false. */
export function reasonToSkip({ needs = [] }: Case, { own, session }: Target): string | false {
  const { HOSTILE_HARD: isHard, HOSTILE_FUZZ: isFuzz } = process.env
  if (needs.includes('module') && !own)
    return 'needs a module of its own, which it knows the keys and chooses the settings of: leave --url out'
  if (needs.includes('cookies') && !session.cookie) return 'refresh tokens do not travel in cookies there'
  if (needs.includes('hard') && !isHard) return 'only --hard tries that'
  if (needs.includes('fuzz') && !isFuzz) return 'only --fuzz tries that, with schemathesis installed'
  return false
}

/** One test for each token, which `me` must refuse. */
export function refuseTokens(
  target: Target,
  tokens: Record<string, (it: Forgery) => string>,
  code: AuthErrorCode = 'AUTH_TOKEN_INVALID',
): void {
  for (const [title, make] of Object.entries(tokens))
    test(title, async () => target.assertRefused(await me(target, make(await target.forgery())), 401, code))
}

/** One test for each of what is sent as bytes: one refusal alone comes back, and the connection is closed. */
export function refuseBytes(target: Target, status: number, sent: Record<string, string | Buffer>): void {
  for (const [title, bytes] of Object.entries(sent))
    test(title, async () => {
      const connection = await connectTo(target.url, bytes)
      await letGo(connection)
      target.assertAllRefused(connection, [status])
    })
}

/** Waits until the server has closed its end, not for writing alone: what is sent there then is answered by a reset. */
export async function letGo({ ended, send, socket }: BareConnection): Promise<void> {
  await ended
  await until('the server to let go of its end', () => {
    send('x')
    return socket.destroyed
  })
}
