/** The environment, read once into one typed object. Names, defaults and units are those of the contract. */
import { existsSync, readFileSync } from 'node:fs'
import { closestMatch } from 'leven'
import Value from 'typebox/value'
import { SETTINGS, type Setting } from './settings.ts'

/** Something that keeps the module from starting; its message is for the operator and needs no stack. */
export class StartError extends Error {}

export type Config = ReturnType<typeof loadConfig>
type Environment = Record<string, string | undefined>
type Settings = { [Field in keyof typeof SETTINGS]: (typeof SETTINGS)[Field]['fallback'] }

/** Reads the file .env, if there is one, into the environment.
 * @throws {StartError} when it cannot be read */
export function loadEnvironment(): Environment {
  try {
    if (existsSync('.env')) process.loadEnvFile()
  } catch (error) {
    throw new StartError(`.env must be a readable file, but: ${(error as Error).message}`)
  }
  return process.env
}

/**
 * An unset or empty variable takes its default.
 * @throws {StartError} naming each bad variable, what it got and what it wants
 */
export function loadConfig(env: Environment) {
  const problems: string[] = []

  function read<Wanted>({ name, schema, wanted, fallback, isSecret, parse = String }: Setting<Wanted>): Wanted {
    const text = env[name]?.trim()
    if (!text) return fallback
    const value = parse(text)
    if (Value.Check(schema, value)) return value as Wanted
    const shown = isSecret ? 'something else (not shown, it may be a secret)' : `"${text}"`
    problems.push(`${name} must be ${wanted}, but is ${shown}`)
    return fallback
  }

  /** The setting, or what stands in the file that its `…_FILE` names. */
  function readOrFile(setting: Setting<string | undefined>, path: string | undefined): string | undefined {
    if (path === undefined) return read(setting)
    if (env[setting.name]) problems.push(`${setting.name} and ${setting.name}_FILE must not both be set`)
    try {
      const text = readFileSync(path, 'utf8').trim()
      if (Value.Check(setting.schema, text)) return text
    } catch {} // told below, like a file with something else in it
    problems.push(`${setting.name}_FILE must be a readable file with ${setting.wanted}, but is "${path}"`)
    return undefined
  }

  const fields = Object.entries(SETTINGS).map(([field, setting]) => [field, read(setting as Setting<unknown>)])
  const settings = Object.fromEntries(fields) as Settings
  const { keysSecretFile, keysSecretPreviousFile, ...rest } = settings
  const bytesOf = (secret: string | undefined) => (secret === undefined ? undefined : Buffer.from(secret, 'base64url'))
  const config = {
    ...rest,
    host: settings.host.replace(/^\[(.*)\]$/, '$1'),
    databaseUrl: readOrFile(SETTINGS.databaseUrl, settings.databaseUrlFile),
    keyRotationSeconds: settings.keyRotationSeconds || Number.POSITIVE_INFINITY,
    keysSecret: bytesOf(readOrFile(SETTINGS.keysSecret, keysSecretFile)),
    keysSecretSource: keysSecretFile === undefined ? 'AUTH_KEYS_SECRET' : `AUTH_KEYS_SECRET_FILE (${keysSecretFile})`,
    keysSecretPrevious: bytesOf(readOrFile(SETTINGS.keysSecretPrevious, keysSecretPreviousFile)),
  }

  const { cookieName, cookieSecure, cookiePath, cookieSameSite } = config
  if (cookieSameSite === 'None' && !cookieSecure)
    problems.push('AUTH_COOKIE_SAMESITE must be Strict or Lax while AUTH_COOKIE_SECURE is false, but is "None"')
  if (/^__(Host|Secure)-/i.test(cookieName) && !cookieSecure)
    problems.push(`AUTH_COOKIE_SECURE must be true for AUTH_COOKIE_NAME "${cookieName}", but is false`)
  if (/^__Host-/i.test(cookieName) && cookiePath !== '/')
    problems.push(`AUTH_COOKIE_PATH must be / for AUTH_COOKIE_NAME "${cookieName}", but is "${cookiePath}"`)
  const tokenSeconds = config.accessTtlSeconds + config.clockSkewSeconds
  if (config.keyGraceSeconds < tokenSeconds)
    problems.push(
      `AUTH_KEY_GRACE_DAYS must be at least AUTH_ACCESS_TTL_SEC and AUTH_CLOCK_SKEW_SEC together, ${tokenSeconds} s, ` +
        `but is ${config.keyGraceSeconds} s`,
    )
  if (problems.length > 0) throw new StartError([...new Set(problems)].join('\n'))
  return config
}

/** @returns a sentence for each variable that looks like one of ours and is none, or is set to nothing */
export function findStrangeVariables(env: Environment): string[] {
  const known = Object.values(SETTINGS).map(({ name }) => name)
  const strangers = Object.keys(env).filter((name) => /^(AUTH|DATABASE)_/.test(name) && !known.includes(name))
  const warnings = strangers.map((name) => {
    return `${name} is no variable of Cerrojo; did you mean ${closestMatch(name, known)}?`
  })
  if (env.DATABASE_URL === '') warnings.push('DATABASE_URL is set to nothing, so the embedded database is used')
  return warnings
}
