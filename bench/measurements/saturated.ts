/** Every operation as fast as it goes, in turns with the parts that it is made of and with the peers. */
import { keyFor } from '../../test/support/keys.ts'
import type { Load, OperationOptions } from '../generator/load.ts'
import { emailOf, PASSWORD } from '../generator/operations.ts'
import type { Work, WorkResult } from '../references/work.ts'
import { type ServerProcess, startWorker } from '../support/children.ts'
import type { EchoServer } from '../support/echo.ts'
import { CORES } from '../support/processor.ts'
import { BCRYPT_ROUNDS, moduleEnvironment, type Stage, type Turn } from '../support/stage.ts'

export const SESSIONS = 10_000
const USERS = SESSIONS / 10
/** Users of better-auth, who have to register one by one, at a comparison's cost each. */
export const BETTER_AUTH_USERS = 8
const CONNECTIONS = 32
const LOGIN_CONNECTIONS = 8
const STATEMENTS_UNDER_WAY = 32

export type Saturated = Record<string, Turn[]>

interface Servers {
  echo: EchoServer
  module: ServerProcess
  /** The module's. */
  databaseUrl: string
  /** Undefined where the history that it is taken from is not there. */
  firstEdition: ServerProcess | undefined
  fastapi: ServerProcess
  betterAuth: ServerProcess
  /** A database like the module's, for the statements called bare. */
  statementsUrl: string
}

/** @returns the turns of every measurement by its name, one for each round */
export async function measureSaturated(stage: Stage, servers: Servers): Promise<Saturated> {
  const { echo, module, databaseUrl, firstEdition, fastapi, betterAuth, statementsUrl } = servers
  const seconds = stage.isQuick ? 1 : 3
  const rounds = stage.isQuick ? 2 : 3
  const privateKeys = await readPrivateKeys(databaseUrl, stage.keysSecret)
  const worker = startWorker<Work, WorkResult>('references/work.ts', {
    DATABASE_URL: statementsUrl,
    SESSIONS: String(SESSIONS),
    ROUNDS: String(BCRYPT_ROUNDS),
    TOKEN: echo.accessToken,
    ...privateKeys,
  })
  await registerAtBetterAuth(stage, betterAuth)

  const load =
    (server: ServerProcess, operation: OperationOptions, connections = CONNECTIONS) =>
    () => {
      const load: Load = { url: server.url, connections, operation, warmUpSeconds: stage.isQuick ? 0.3 : 1, seconds }
      return stage.turn(load, server)
    }
  const loginLoad = (server: ServerProcess, operation: OperationOptions) => () =>
    stage.turn(
      { url: server.url, connections: LOGIN_CONNECTIONS, operation, warmUpSeconds: 0.5, seconds: seconds * 2 },
      server,
    )
  const work = (part: Work['part'], width: number) => () => stage.turnOfWork(worker, { part, seconds, width })
  const refreshOf = (sessions: string): OperationOptions => ({
    name: 'refresh',
    sessions,
    first: 0,
    count: SESSIONS - 1,
    order: 'random',
    store: sessions,
  })
  /** Right after the module's own turn. */
  const before = (name: string, take: (server: ServerProcess) => () => Promise<Turn>) =>
    firstEdition && { [name]: take(firstEdition) }

  const turns: Record<string, () => Promise<Turn>> = {
    refresh: load(module, refreshOf('module')),
    ...before('refresh: first edition', (server) => load(server, refreshOf('first edition'))),
    'refresh: echo': load(echo.server, echo.refresh),
    'refresh: statement': work('rotate', STATEMENTS_UNDER_WAY),
    'refresh: statement, shared by 32': work('rotateTogether', 1),
    'refresh: sign and encrypt': work('issue', 1),
    'refresh: FastAPI': load(fastapi, refreshOf('fastapi')),
    'me, shown again': load(module, { name: 'me', store: 'module', shown: 'again' }),
    ...before('me: first edition, shown again', (server) =>
      load(server, { name: 'me', store: 'first edition', shown: 'again' }),
    ),
    'me, new each time': load(module, { name: 'me', store: 'module', shown: 'once' }),
    ...before('me: first edition, new each time', (server) =>
      load(server, { name: 'me', store: 'first edition', shown: 'once' }),
    ),
    'me: echo': load(echo.server, echo.me),
    'me: statement': work('select', STATEMENTS_UNDER_WAY),
    'me: statement, shared by 32': work('selectTogether', 1),
    'me: jose decrypts and verifies': work('verify', STATEMENTS_UNDER_WAY),
    'me: FastAPI, shown again': load(fastapi, { name: 'me', store: 'fastapi', shown: 'again' }),
    'me: FastAPI, new each time': load(fastapi, { name: 'me', store: 'fastapi', shown: 'once' }),
    'me: better-auth get-session': load(betterAuth, { name: 'getSession', store: 'better-auth' }),
    jwks: load(module, { name: 'jwks' }),
    ...before('jwks: first edition', (server) => load(server, { name: 'jwks' })),
    'jwks, 304': load(module, { name: 'jwks', etag: echo.etag }),
    'jwks: echo': load(echo.server, echo.jwks),
    login: loginLoad(module, { name: 'login', users: USERS }),
    ...before('login: first edition', (server) => loginLoad(server, { name: 'login', users: USERS })),
    'login: comparisons': work('compare', CORES),
    'login: FastAPI': loginLoad(fastapi, { name: 'login', users: USERS }),
    'login: better-auth': loginLoad(betterAuth, { name: 'signIn', users: BETTER_AUTH_USERS }),
  }
  const results: Saturated = Object.fromEntries(Object.keys(turns).map((name) => [name, []]))
  for (let round = 1; round <= rounds; round++)
    for (const [name, take] of Object.entries(turns)) {
      const turn = await take()
      results[name]?.push(turn)
      const problems = turn.load?.errors ? `, ${turn.load.errors} errors: ${turn.load.errorSamples.join(' | ')}` : ''
      const figures = `${turn.perSecond.toFixed(0)}/s, ${turn.microseconds.toFixed(0)} µs`
      stage.progress(`round ${round}/${rounds}  ${name}: ${figures}${problems}`)
    }
  await worker.stop()
  return results
}

/** The module's own, out of its database, each as the variable in which a worker looks for it. */
export async function readPrivateKeys(databaseUrl: string, keysSecret: string) {
  const environment = moduleEnvironment(databaseUrl, keysSecret)
  return {
    ENC_JWK: JSON.stringify(await keyFor(environment, 'enc')),
    SIG_JWK: JSON.stringify(await keyFor(environment, 'sig')),
    FRONT_JWK: JSON.stringify(await keyFor(environment, 'enc_front')),
  }
}

async function registerAtBetterAuth(stage: Stage, betterAuth: ServerProcess): Promise<void> {
  for (let user = 0; user < BETTER_AUTH_USERS; user++) {
    const answer = await fetch(`${betterAuth.url}/api/auth/sign-up/email`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', origin: betterAuth.url },
      body: JSON.stringify({ email: emailOf(user), password: PASSWORD, name: `User ${user}` }),
    })
    if (!answer.ok) throw new Error(`sign-up answered ${answer.status}: ${await answer.text()}`)
  }
  // One session whose cookie is then shown again and again.
  const operation: OperationOptions = { name: 'signIn', users: BETTER_AUTH_USERS, store: 'better-auth' }
  const load: Load = { url: betterAuth.url, connections: 1, operation, warmUpSeconds: 0, seconds: 60, count: 1 }
  const { errors, errorSamples } = await stage.generator.run(load)
  if (errors > 0) throw new Error(`sign-in: ${errorSamples.join(' | ')}`)
}
