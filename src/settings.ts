/** The environment, declared: types, defaults, messages, .env.example and README's settings come from this table. */
import { isIP } from 'node:net'
import { availableParallelism } from 'node:os'
import ipaddr from 'ipaddr.js'
import Type, { type TSchema } from 'typebox'

const DAY_SECONDS = 24 * 60 * 60
const MOST = 2_147_483_647
const MOST_DAYS = Math.floor(MOST / DAY_SECONDS)
const CORES = availableParallelism()
/** A token of RFC 9110, section 5.6.2. */
const COOKIE_NAME = /^[\w!#$%&'*+.^`|~-]+$/
/** A path-value of RFC 6265, section 4.1.1, without blanks. */
const COOKIE_PATH = /^\/[!-:<-~]*$/

/** By field of Config: variable, bounds, default and a sentence, whose first word `seconds` and `days` give. */
export const SETTINGS = {
  host: text('HOST', '127.0.0.1', 'address to listen on; 0.0.0.0 or [::]: on all of the machine'),
  port: count('PORT', [0, 65_535], 3000, 'port to listen on; 0: any that is free'),

  databaseUrl: secret(
    'DATABASE_URL',
    Type.Refine(Type.String(), isDatabaseUrl),
    'an address like postgres://user:password@host/name, with / ? # % @ and blanks in it as %2F %3F %23 %25 %40 %20',
    'a PostgreSQL, 14 or newer, as postgres://user:password@host:5432/name; unset: the embedded database',
  ),
  databaseUrlFile: file('DATABASE_URL_FILE', 'DATABASE_URL, and is read again for each new connection'),
  databasePoolSize: count('DATABASE_POOL_SIZE', [2, 10_000], 10, 'connections at most; a quarter serve `me` alone'),
  databaseConnectTimeoutSeconds: seconds('DATABASE_CONNECT_TIMEOUT_SEC', [1, 600], 10, 'to open a connection'),
  databaseStartTimeoutSeconds: seconds('DATABASE_START_TIMEOUT_SEC', [0, 86_400], 60, 'to wait for it at a start'),
  dataDir: text('AUTH_DATA_DIR', './data', 'folder of the embedded database and of keys-secret, made when missing'),

  keyRotationSeconds: days('AUTH_KEY_ROTATION_DAYS', 90, 'that a key is in use; 0: until `cerrojo keys rotate`'),
  keyGraceSeconds: days('AUTH_KEY_GRACE_DAYS', 14, 'that a key is accepted after that; at least the life of a token'),
  keyLeadSeconds: days('AUTH_KEY_LEAD_DAYS', 7, 'that resource servers have to take over the next enc key'),
  keysSecret: keysSecret('AUTH_KEYS_SECRET', 'the same for all nodes; unset: keys-secret in AUTH_DATA_DIR'),
  keysSecretFile: file('AUTH_KEYS_SECRET_FILE', 'AUTH_KEYS_SECRET'),
  keysSecretPrevious: keysSecret('AUTH_KEYS_SECRET_PREVIOUS', 'that keys may still be sealed with'),
  keysSecretPreviousFile: file('AUTH_KEYS_SECRET_PREVIOUS_FILE', 'AUTH_KEYS_SECRET_PREVIOUS'),

  issuer: text('AUTH_ISS', 'auth-mvp', 'iss claim of access tokens'),
  audience: text('AUTH_AUD', 'auth-mvp-clients', 'aud claim of access tokens'),
  signingAlgorithm: oneOf('AUTH_SIGNING_ALG', ['ES256', 'RS256'], 'how access tokens are signed'),
  keyManagementAlgorithm: oneOf('AUTH_JWE_ALG', ['ECDH-ES+A256KW', 'RSA-OAEP-256'], 'how they are encrypted'),
  accessTtlSeconds: seconds('AUTH_ACCESS_TTL_SEC', [1, MOST], 900, 'that an access token lives'),
  refreshTtlSeconds: seconds('AUTH_REFRESH_TTL_SEC', [1, MOST], 1_209_600, 'that a session lives unused (14 days)'),
  sessionMaxSeconds: seconds('AUTH_SESSION_MAX_SEC', [1, MOST], 7_776_000, 'that a session lives in all (90 days)'),
  refreshGraceSeconds: seconds('AUTH_REFRESH_GRACE_SEC', [0, MOST], 0, 'of grace for a token just replaced; 0: none'),
  clockSkewSeconds: seconds('AUTH_CLOCK_SKEW_SEC', [0, MOST], 60, 'by which clocks may differ'),
  jwksCacheTtlSeconds: seconds('AUTH_JWKS_CACHE_TTL_SEC', [1, DAY_SECONDS], 600, 'that published keys may be cached'),

  refreshTransport: oneOf('AUTH_REFRESH_TRANSPORT', ['body', 'cookie'], 'how refresh tokens travel'),
  cookieName: matching('AUTH_COOKIE_NAME', COOKIE_NAME, 'a token of RFC 9110', 'refresh_token', 'name of the cookie'),
  cookiePath: matching(
    'AUTH_COOKIE_PATH',
    COOKIE_PATH,
    'a path that begins with / and has no ; or blank',
    '/auth',
    'path of the cookie; behind a proxy’s prefix: that prefix and /auth',
  ),
  cookieSecure: flag('AUTH_COOKIE_SECURE', true, 'false only for development on plain HTTP'),
  cookieSameSite: oneOf('AUTH_COOKIE_SAMESITE', ['Strict', 'Lax', 'None'], 'None for pages of another site, if Secure'),

  bcryptRounds: count('AUTH_BCRYPT_ROUNDS', [4, 16], 12, 'cost of bcrypt; each step doubles the time'),
  hashConcurrency: count('AUTH_HASH_CONCURRENCY', [1, 1000], CORES, 'passwords hashed at once', '1 a processor'),
  hashQueue: count('AUTH_HASH_QUEUE', [0, MOST], 20 * CORES, 'passwords that may wait; else 503', '20 a processor'),
  requireVerifiedEmail: flag('AUTH_REQUIRE_VERIFIED_EMAIL', false, 'true: only verified emails may log in'),
  frontEncRequired: flag('AUTH_FRONT_ENC_REQUIRED', false, 'true: only credentials encrypted, with iat and jti'),

  rateLimitLogin: limit('AUTH_RATE_LIMIT_LOGIN', 10, 'wrong passwords for an email from an address in 15 minutes'),
  rateLimitAccount: limit('AUTH_RATE_LIMIT_ACCOUNT', 100, 'wrong passwords for an email from anywhere in an hour'),
  rateLimitRegister: limit('AUTH_RATE_LIMIT_REGISTER', 10, 'registrations from an address in 15 minutes'),
  rateLimitRefresh: limit('AUTH_RATE_LIMIT_REFRESH', 600, 'rotations of a session in 15 minutes'),
  rateLimitFailures: limit('AUTH_RATE_LIMIT_FAILURES', 100, 'wrong passwords from an address in 15 minutes'),

  purgeAfterSeconds: days('AUTH_PURGE_AFTER_DAYS', 30, 'after which ended sessions go; 0: only by `cerrojo purge`'),
  shutdownDelaySeconds: seconds('SHUTDOWN_DELAY_SEC', [0, 3600], 0, 'that the port stays open after SIGTERM'),
  trustedProxies: list(
    'AUTH_TRUST_PROXY',
    'IP addresses or CIDR ranges, separated by commas',
    isNetwork,
    'of the proxies whose X-Forwarded-* count',
  ),
  corsOrigins: list(
    'AUTH_CORS_ORIGINS',
    'origins like https://app.example.com, separated by commas, without a path or a *',
    isOrigin,
    'whose pages may call the module',
  ),
  logLevel: oneOf(
    'LOG_LEVEL',
    ['warn', 'silent', 'fatal', 'error', 'info', 'debug', 'trace'],
    'JSON lines on standard output, without secrets',
  ),
}

/**
 * One variable: its schema holds the bounds and the default; what it wants is told in words when a value is refused.
 */
export interface Setting<Value> {
  name: string
  schema: TSchema
  /** What a good value is; stands behind "must be". */
  wanted: string
  /** For .env.example and README: its unit, if it has one, and what it is for. */
  about: string
  /** For values that depend on the machine. */
  defaultInWords?: string | undefined
  isSecret?: boolean
  /** Leaves a text that cannot be such a value as it is, and the schema refuses it. */
  parse?: (text: string) => unknown
  fallback: Value
}

function text(name: string, fallback: string, about: string): Setting<string> {
  return { name, fallback, schema: Type.String(), wanted: 'a text', about }
}

function matching(name: string, pattern: RegExp, wanted: string, fallback: string, about: string): Setting<string> {
  return { name, fallback, schema: Type.String({ pattern: pattern.source }), wanted, about }
}

function count(
  name: string,
  [minimum, maximum]: [number, number],
  fallback: number,
  about: string,
  defaultInWords?: string,
): Setting<number> {
  const wanted = `a whole number from ${minimum} to ${maximum}`
  const parse = (text: string) => (/^\d+$/.test(text) ? Number(text) : text)
  return { name, fallback, schema: Type.Integer({ minimum, maximum }), wanted, about, parse, defaultInWords }
}

function seconds(name: string, range: [number, number], fallback: number, about: string) {
  return count(name, range, fallback, `seconds ${about}`)
}

function limit(name: string, fallback: number, about: string) {
  return count(name, [0, MOST], fallback, `${about}; 0: no limit`)
}

/** Days, fractions allowed, in seconds. */
function days(name: string, fallbackDays: number, about: string): Setting<number> {
  const fallback = fallbackDays * DAY_SECONDS
  const wanted = `a number of days up to ${MOST_DAYS}`
  const parse = (text: string) => (/^\d+(\.\d+)?$/.test(text) ? Number(text) * DAY_SECONDS : text)
  const schema = Type.Number({ maximum: MOST_DAYS * DAY_SECONDS })
  return { name, fallback, schema, wanted, about: `days ${about}`, parse, defaultInWords: String(fallbackDays) }
}

function flag(name: string, fallback: boolean, about: string): Setting<boolean> {
  const parse = (text: string) => (/^(true|false)$/.test(text) ? text === 'true' : text)
  return { name, fallback, schema: Type.Boolean(), wanted: 'true or false', about, parse }
}

function oneOf<Choice extends string>(name: string, choices: [Choice, ...Choice[]], about: string): Setting<Choice> {
  const wanted = `one of ${choices.join(', ')}`
  return { name, fallback: choices[0], schema: Type.Enum(choices), wanted, about: `${choices.join(' | ')}: ${about}` }
}

function list(name: string, wanted: string, accepts: (item: string) => boolean, about: string): Setting<string[]> {
  const parse = (text: string) => text.split(',').map((item) => item.trim())
  const schema = Type.Array(Type.Refine(Type.String(), accepts))
  return { name, fallback: [], schema, wanted, about: `${wanted}, ${about}`, parse }
}

function secret(name: string, schema: TSchema, wanted: string, about: string): Setting<string | undefined> {
  return { name, fallback: undefined, schema, wanted, about, isSecret: true }
}

function keysSecret(name: string, about: string) {
  const wanted = '32 random bytes in base64url, 43 characters'
  return secret(name, Type.String({ pattern: '^[\\w-]{43}$' }), wanted, `${wanted}, ${about}`)
}

function file(name: string, content: string): Setting<string | undefined> {
  const about = `a file that holds ${content}`
  return { name, fallback: undefined, schema: Type.String(), wanted: 'a readable file', about }
}

/** A password with unencoded signs in it makes another address, or none. */
function isDatabaseUrl(url: string): boolean {
  const socketUrl = url.replace(/^(postgres(?:ql)?:\/\/[^/@]*@)\//, '$1localhost/') // its host is in the query
  return /^postgres(ql)?:\/\//.test(url) && URL.canParse(socketUrl) && !/[#\s]|@.*@/.test(url)
}

function isNetwork(item: string): boolean {
  return Boolean(isIP(item) || (isIP(item.split('/')[0] as string) && ipaddr.isValidCIDR(item)))
}

/** Of a page (RFC 6454, section 4), or of an application's own scheme, as in capacitor://localhost. */
function isOrigin(item: string): boolean {
  return /^[a-z][a-z0-9+.-]*:\/\/[^/*?#@\s]+$/i.test(item) && URL.canParse(item)
}
