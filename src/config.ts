/** The environment, read once into one typed object. Names, defaults and units are those of the contract. */
import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { availableParallelism } from 'node:os'
import ipaddr from 'ipaddr.js'

/** Something that keeps the module from starting; its message is for the operator and needs no stack. */
export class StartError extends Error {}

const DAY_SECONDS = 24 * 60 * 60

export type Config = ReturnType<typeof loadConfig>

/**
 * An unset or empty variable takes its default.
 * @throws {StartError} naming each bad variable, what it got and what it wants
 */
export function loadConfig(env: Record<string, string | undefined>) {
  const problems: string[] = []

  function read<Value>(
    name: string,
    fallback: Value,
    wanted: string,
    parse: (text: string) => Value | undefined,
  ): Value {
    const text = env[name]?.trim()
    if (!text) return fallback
    const value = parse(text)
    const shown = /^DATABASE_URL$|SECRET(_PREVIOUS)?$/.test(name)
      ? 'something else (not shown, it may be a secret)'
      : `"${text}"`
    if (value === undefined) problems.push(`${name} must be ${wanted}, but is ${shown}`)
    return value ?? fallback
  }
  const text = (name: string, fallback: string) => read(name, fallback, 'a text', (value) => value)
  const whole = (name: string, fallback: number, least: number, most = 2_147_483_647) =>
    read(name, fallback, `a whole number from ${least} to ${most}`, (value) =>
      /^\d+$/.test(value) && Number(value) >= least && Number(value) <= most ? Number(value) : undefined,
    )
  const oneOf = <Choice extends string>(name: string, fallback: Choice, ...others: Choice[]) =>
    read(name, fallback, `one of ${[fallback, ...others].join(', ')}`, (value) =>
      [fallback, ...others].find((choice) => choice === value),
    )
  const flag = (name: string, fallback: boolean) =>
    read(name, fallback, 'true or false', (value) => (/^(true|false)$/.test(value) ? value === 'true' : undefined))
  const list = (name: string, wanted: string, accepts: (item: string) => boolean) =>
    read(name, [], `a comma-separated list of ${wanted}`, (value) => {
      const items = value.split(',').map((item) => item.trim())
      return items.every(accepts) ? items : undefined
    })
  const days = (name: string, fallback: number) =>
    read(name, fallback * DAY_SECONDS, 'a number of days', (value) =>
      /^\d+(\.\d+)?$/.test(value) ? Number(value) * DAY_SECONDS : undefined,
    )
  const secret = (name: string) => {
    const wanted = '32 random bytes in base64url, 43 characters'
    const parse = (value: string) => (/^[\w-]{43}$/.test(value) ? Buffer.from(value, 'base64url') : undefined)
    const inFile = read<Buffer | undefined>(`${name}_FILE`, undefined, `a readable file with ${wanted}`, (path) => {
      try {
        return parse(readFileSync(path, 'utf8').trim())
      } catch {
        return undefined
      }
    })
    if (env[name] && env[`${name}_FILE`]) problems.push(`${name} and ${name}_FILE must not both be set`)
    return inFile ?? read<Buffer | undefined>(name, undefined, wanted, parse)
  }

  const config = {
    host: text('HOST', '127.0.0.1'),
    port: whole('PORT', 3000, 0, 65_535),
    databaseUrl: read<string | undefined>(
      'DATABASE_URL',
      undefined,
      'like postgres://user:password@host/name',
      (url) => (/^postgres(ql)?:\/\//.test(url) && URL.canParse(url) ? url : undefined),
    ),
    databaseUrlFile: text('DATABASE_URL_FILE', ''),
    databasePoolSize: whole('DATABASE_POOL_SIZE', 10, 2, 10_000),
    databaseConnectTimeoutSeconds: whole('DATABASE_CONNECT_TIMEOUT_SEC', 10, 1, 600),
    databaseStartTimeoutSeconds: whole('DATABASE_START_TIMEOUT_SEC', 60, 0, 86_400),
    dataDir: text('AUTH_DATA_DIR', './data'),
    keysDir: text('AUTH_KEYS_DIR', './keys'),
    keysSecret: secret('AUTH_KEYS_SECRET'),
    keysSecretPrevious: secret('AUTH_KEYS_SECRET_PREVIOUS'),
    keyRotationSeconds: days('AUTH_KEY_ROTATION_DAYS', 90) || Number.POSITIVE_INFINITY,
    keyGraceSeconds: days('AUTH_KEY_GRACE_DAYS', 14),
    keyLeadSeconds: days('AUTH_KEY_LEAD_DAYS', 7),
    issuer: text('AUTH_ISS', 'auth-mvp'),
    audience: text('AUTH_AUD', 'auth-mvp-clients'),
    signingAlgorithm: oneOf('AUTH_SIGNING_ALG', 'ES256', 'RS256'),
    keyManagementAlgorithm: oneOf('AUTH_JWE_ALG', 'ECDH-ES+A256KW', 'RSA-OAEP-256'),
    accessTtlSeconds: whole('AUTH_ACCESS_TTL_SEC', 900, 1),
    refreshTtlSeconds: whole('AUTH_REFRESH_TTL_SEC', 1_209_600, 1),
    sessionMaxSeconds: whole('AUTH_SESSION_MAX_SEC', 7_776_000, 1),
    refreshGraceSeconds: whole('AUTH_REFRESH_GRACE_SEC', 0, 0),
    refreshTransport: oneOf('AUTH_REFRESH_TRANSPORT', 'body', 'cookie'),
    cookieName: text('AUTH_COOKIE_NAME', 'refresh_token'),
    cookiePath: text('AUTH_COOKIE_PATH', '/auth'),
    cookieSecure: flag('AUTH_COOKIE_SECURE', true),
    cookieSameSite: oneOf('AUTH_COOKIE_SAMESITE', 'Strict', 'Lax', 'None'),
    clockSkewSeconds: whole('AUTH_CLOCK_SKEW_SEC', 60, 0),
    jwksCacheTtlSeconds: whole('AUTH_JWKS_CACHE_TTL_SEC', 600, 1),
    bcryptRounds: whole('AUTH_BCRYPT_ROUNDS', 12, 4, 16),
    hashConcurrency: whole('AUTH_HASH_CONCURRENCY', availableParallelism(), 1, 1000),
    hashQueue: whole('AUTH_HASH_QUEUE', 20 * availableParallelism(), 0),
    requireVerifiedEmail: flag('AUTH_REQUIRE_VERIFIED_EMAIL', false),
    frontEncRequired: flag('AUTH_FRONT_ENC_REQUIRED', false),
    rateLimitLogin: whole('AUTH_RATE_LIMIT_LOGIN', 10, 0),
    rateLimitAccount: whole('AUTH_RATE_LIMIT_ACCOUNT', 100, 0),
    rateLimitRegister: whole('AUTH_RATE_LIMIT_REGISTER', 10, 0),
    rateLimitRefresh: whole('AUTH_RATE_LIMIT_REFRESH', 600, 0),
    rateLimitFailures: whole('AUTH_RATE_LIMIT_FAILURES', 100, 0),
    purgeAfterSeconds: days('AUTH_PURGE_AFTER_DAYS', 30),
    shutdownDelaySeconds: whole('SHUTDOWN_DELAY_SEC', 0, 0, 3600),
    trustedProxies: list('AUTH_TRUST_PROXY', 'IP addresses or CIDR ranges', (item) =>
      Boolean(isIP(item) || (isIP(item.split('/')[0] as string) && ipaddr.isValidCIDR(item))),
    ),
    corsOrigins: list('AUTH_CORS_ORIGINS', 'origins like https://app.example.com', (item) =>
      Boolean(/^https?:/.test(item) && URL.canParse(item) && new URL(item).origin === item),
    ),
    logLevel: oneOf('LOG_LEVEL', 'warn', 'silent', 'fatal', 'error', 'info', 'debug', 'trace'),
  }

  if (config.cookieSameSite === 'None' && !config.cookieSecure)
    problems.push('AUTH_COOKIE_SAMESITE must be Strict or Lax while AUTH_COOKIE_SECURE is false, but is "None"')
  if (/^__(Host|Secure)-/i.test(config.cookieName) && !config.cookieSecure)
    problems.push('AUTH_COOKIE_NAME must not begin with __Host- or __Secure- while AUTH_COOKIE_SECURE is false')
  if (/^__Host-/i.test(config.cookieName) && config.cookiePath !== '/')
    problems.push(
      `AUTH_COOKIE_PATH must be / while AUTH_COOKIE_NAME begins with __Host-, but is "${config.cookiePath}"`,
    )
  if (config.keyGraceSeconds < config.accessTtlSeconds + config.clockSkewSeconds)
    problems.push('AUTH_KEY_GRACE_DAYS must be longer than AUTH_ACCESS_TTL_SEC and AUTH_CLOCK_SKEW_SEC together')
  if (problems.length > 0) throw new StartError(problems.join('\n'))
  return config
}
