/** Puts the module together, and runs it when started as a program. */
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify'
import { registerAuthRoutes } from './api/auth.ts'
import { registerJwksRoute } from './api/jwks.ts'
import { type Config, findStrangeVariables, loadConfig, loadEnvironment, StartError } from './config.ts'
import { openDatabase } from './db/connection.ts'
import { createPasswords } from './hashing/passwords.ts'
import { answerError, answerUnreadable, registerErrorAnswers } from './http/errors.ts'
import { registerGuard } from './http/guard.ts'
import { createVerifiedTokens } from './jose/verified_tokens.ts'
import { createRateLimits } from './limits/rate_limits.ts'
import type { AuthContext } from './service/auth.ts'
import { openKeyStore } from './utils/jwks.ts'
import { createUnanswered } from './utils/tokens.ts'

const BODY_LIMIT_BYTES = 16 * 1024
const REQUEST_TIMEOUT_MS = 10_000

/**
 * The whole module as a Fastify instance, with its keys and database open; closing it closes them.
 * @throws {StartError} when keys or database cannot be used
 */
export async function buildApp(config: Config): Promise<FastifyInstance> {
  const app = Fastify({
    bodyLimit: BODY_LIMIT_BYTES,
    requestTimeout: REQUEST_TIMEOUT_MS,
    http: { requireHostHeader: false }, // it is required all the same, but in the contract's error shape
    trustProxy: config.trustedProxies.length > 0 ? config.trustedProxies : false,
    return503OnClosing: false,
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false } },
    schemaErrorFormatter: ([error], part) => new Error(`${part}${error?.instancePath} ${error?.message}`),
    frameworkErrors: answerError,
    clientErrorHandler: answerUnreadable,
    logger: config.logLevel !== 'silent' && { level: config.logLevel, serializers: LOGGED },
  })

  const database = await openDatabase(config, app.log)
  app.decorate('database', database) // for a program that buildApp is part of
  const keys = await openKeyStore(config, database, app.log).catch(async (error) => {
    await database.close()
    throw error
  })
  app.addHook('preClose', async () => {
    app.server.keepAliveTimeout = 1 // a connection whose last answer is under way closes after it
  })
  app.addHook('onClose', async () => {
    await keys.close()
    await database.close()
  })
  const limits = createRateLimits(config, database)
  const passwords = createPasswords(config, limits.refuseBlocked, (message) => app.log.warn(message))
  app.addHook('onClose', () => passwords.close())
  const verifiedTokens = createVerifiedTokens(keys, config)
  const unanswered = createUnanswered()
  const context: AuthContext = { config, database, keys, limits, passwords, unanswered, verifiedTokens }

  registerErrorAnswers(app)
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

async function start(): Promise<void> {
  const environment = loadEnvironment()
  for (const warning of findStrangeVariables(environment)) console.warn(warning)
  const config = loadConfig(environment)
  const app = await buildApp(config)
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => app.close())

  const address = await app.listen({ host: config.host, port: config.port })
  const database = config.databaseUrl
    ? 'PostgreSQL'
    : `the embedded database in ${config.dataDir} (a power cut may lose its last writes; DATABASE_URL names a PostgreSQL)`
  console.log(`Cerrojo listens on ${address} and uses ${database}`)
}

if (import.meta.main)
  await start().catch((error) => {
    const isExplained = error instanceof StartError || 'syscall' in error // the system's own words for a path or a port
    console.error(isExplained ? error.message : error)
    process.exit(1)
  })
