/** Puts the module together, and runs it when started as a program. */
import type { IncomingMessage } from 'node:http'
import { constants } from 'node:os'
import { setTimeout as pause } from 'node:timers/promises'
import Fastify, { type FastifyInstance, type FastifyRequest, LogController } from 'fastify'
import manifest from '../package.json' with { type: 'json' }
import { registerAuthRoutes } from './api/auth.ts'
import { registerJwksRoute } from './api/jwks.ts'
import { type Config, findStrangeVariables, loadConfig, loadEnvironment, StartError } from './config.ts'
import { openDatabase } from './db/connection.ts'
import { isEmbeddedMade } from './db/embedded.ts'
import { startDailyPurge } from './db/purge.ts'
import { createPasswords } from './hashing/passwords.ts'
import { createProxyTrust, requestIdOf } from './http/client.ts'
import { answerError } from './http/errors.ts'
import { tellHeld } from './http/events.ts'
import { registerGuard } from './http/guard.ts'
import { createHttpServer, STOP_TIMEOUT_MS } from './http/server.ts'
import { createVerifiedTokens } from './jose/verified_tokens.ts'
import { createRateLimits } from './limits/rate_limits.ts'
import type { AuthContext } from './service/auth.ts'
import { openKeyStore } from './utils/jwks.ts'
import { createUnanswered } from './utils/tokens.ts'

export { type Config, loadConfig, StartError } from './config.ts'

const BODY_LIMIT_BYTES = 16 * 1024
const EMBEDDED_RISK = 'a power cut may lose its last writes; DATABASE_URL names a PostgreSQL'
/** For which the database may take to close, after the last request. */
const CLOSE_TIMEOUT_MS = 1000
/** One Ctrl-C may come several times, from the terminal and from each program in between that passes it on. */
const SAME_SIGNAL_MS = 1000

/**
 * The whole module as a Fastify instance, with its keys and database open; closing it closes them.
 * @throws {StartError} when keys or database cannot be used
 */
export async function buildApp(config: Config): Promise<FastifyInstance> {
  const httpServer = createHttpServer()
  const isTrustedProxy = createProxyTrust(config.trustedProxies)
  const isVerbose = /^(debug|trace)$/.test(config.logLevel) // else an event is one line, and that is enough
  const app = Fastify({
    serverFactory: httpServer.open,
    clientErrorHandler: (_error, socket) => httpServer.refuse(socket),
    bodyLimit: BODY_LIMIT_BYTES,
    trustProxy: config.trustedProxies.length > 0 && isTrustedProxy,
    genReqId: (request: IncomingMessage) => requestIdOf(request, isTrustedProxy),
    return503OnClosing: false,
    pluginTimeout: 0, // else SHUTDOWN_DELAY_SEC is cut off at ten seconds, and the stop fails
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false } },
    schemaErrorFormatter: ([error], part) => new Error(`${part}${error?.instancePath} ${error?.message}`),
    frameworkErrors: answerError,
    logger: config.logLevel !== 'silent' && { level: config.logLevel, serializers: LOGGED },
    logController: new LogController({ requestIdLogLabel: 'request_id', disableRequestLogging: !isVerbose }),
    childLoggerFactory: (logger, bindings, options) => (isVerbose ? logger.child(bindings, options) : logger),
  })

  const database = await openDatabase(config, app.log)
  app.decorate('database', database) // for a program that buildApp is part of
  const keys = await openKeyStore(config, database, app.log).catch(async (error) => {
    await database.close()
    throw error
  })
  httpServer.registerStop(app, config.shutdownDelaySeconds)
  const stopPurge = startDailyPurge(config, database, app.log)
  app.addHook('onClose', async () => {
    tellHeld(app)
    await stopPurge()
    await keys.close()
    await database.close()
  })
  const limits = createRateLimits(config, database)
  const passwords = createPasswords(config, limits.refuseBlocked, (message) => app.log.warn(message))
  app.addHook('onClose', () => passwords.close())
  const verifiedTokens = createVerifiedTokens(keys, config)
  const unanswered = createUnanswered()
  const context: AuthContext = { config, database, keys, limits, passwords, unanswered, verifiedTokens }

  await registerGuard(app, config)
  registerAuthRoutes(app, context)
  registerJwksRoute(app, context)
  return app
}

/** Clients put secrets into paths, and database drivers put statements, values and rows on their errors. */
const LOGGED = {
  req: ({ method, routeOptions }: FastifyRequest) => ({ method, route: routeOptions.url }),
  err: ({ name, message, stack = '', cause }: Error) => ({
    type: name,
    message,
    stack,
    cause: (cause as Error)?.message,
  }),
}

async function run(given?: Config): Promise<void> {
  const environment = loadEnvironment()
  for (const warning of findStrangeVariables(environment)) console.warn(warning)
  const config = given ?? loadConfig(environment)
  const stopAsked = waitForSignal()
  if (!config.databaseUrl && !isEmbeddedMade(config.dataDir))
    console.log(`Making the embedded database in ${config.dataDir}: some seconds, at the first start alone`)

  const app = await Promise.race([stopAsked, buildApp(config)])
  if (!app) return // nobody was served yet, and what a start leaves half done the next one finishes
  const address = await app.listen({ host: config.host, port: config.port })
  const database = config.databaseUrl ? 'PostgreSQL' : `the embedded database in ${config.dataDir} (${EMBEDDED_RISK})`
  console.log(`Cerrojo ${manifest.version} listens on ${address} and uses ${database}`)

  await stopAsked
  const longestMs = config.shutdownDelaySeconds * 1000 + STOP_TIMEOUT_MS + CLOSE_TIMEOUT_MS
  await Promise.race([app.close(), pause(longestMs)])
}

/** Waits for the first SIGINT or SIGTERM; another one, a second later or more, ends the program at once. */
function waitForSignal(): Promise<void> {
  let firstAtMs: number | undefined
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const)
      process.on(signal, () => {
        firstAtMs ??= performance.now()
        if (performance.now() - firstAtMs > SAME_SIGNAL_MS) process.exit(128 + constants.signals[signal])
        resolve()
      })
  })
}

/**
 * Serves until SIGINT or SIGTERM, and ends the process: with 0, or with 1 when it cannot start.
 * @param config that of the environment, where it has been read before
 */
export async function start(config?: Config): Promise<void> {
  await run(config).then(
    () => process.exit(0),
    (error) => {
      // The system's own words for a path or a port explain themselves.
      const isExplained = error instanceof StartError || 'syscall' in error
      console.error(isExplained ? error.message : error)
      process.exit(1)
    },
  )
}

if (import.meta.main) start()
