/** The rules for emails, passwords and browser-encrypted credentials. */
import type { Config } from '../config.ts'
import type { RateLimits } from '../limits/rate_limits.ts'
import { AuthError, type Client, type Credentials } from '../models/types.ts'
import { decryptFrontEnc, namesOurKey } from './crypto.ts'
import type { KeyStore } from './jwks.ts'

export type CredentialsBody = Credentials | { __front_enc__: unknown }
type Context = { config: Config; keys: KeyStore; limits: RateLimits }

/** Visible ASCII with one @, and a dot inside the domain. */
const EMAIL_FORM = /^[!-?A-~]+@[!-\-/-?A-~]+(\.[!-\-/-?A-~]+)+$/
const FRONT_ENC_TTL_SECONDS = 60

/**
 * The credentials in a body, plain or encrypted by the browser, in the form in which they are stored and compared.
 * @param check throws for those that break a further rule
 * @throws {AuthError} AUTH_BAD_REQUEST naming the rule that is broken, always the same if it cannot be decrypted;
 *   AUTH_RATE_LIMIT when too much of this client was decrypted in vain
 */
export async function readCredentials(
  { config, keys, limits }: Context,
  body: CredentialsBody,
  client: Client,
  check: (credentials: Credentials) => Promise<void> = async () => {},
): Promise<Credentials> {
  async function accept({ email, password, jti }: Credentials): Promise<Credentials> {
    const normalized = { email: normalizeEmail(email), password: normalizePassword(password), jti }
    await check(normalized)
    return normalized
  }

  if (!('__front_enc__' in body)) {
    if (config.frontEncRequired) throw badRequest('body must have __front_enc__')
    return accept({ email: body.email, password: body.password })
  }
  try {
    const payload = await decryptFrontEnc(keys, body.__front_enc__)
    if (!isAcceptable(payload, config)) throw frontEncRefused()
    return await accept(payload)
  } catch (error) {
    if (error instanceof AuthError && error.code !== 'AUTH_BAD_REQUEST') throw error // the database's failure
    if (await namesOurKey(keys, body.__front_enc__)) await limits.countFailure(client)
    throw error instanceof AuthError ? error : frontEncRefused()
  }
}

/**
 * Remembers the jti of an encrypted body; after the limits have counted, so that strangers cannot have many remembered.
 * @throws {AuthError} AUTH_BAD_REQUEST when it was used before */
export async function refuseReplay({ limits }: Context, jti: string | undefined, client: Client): Promise<void> {
  if (jti === undefined || (await limits.isFirstUse(jti))) return
  await limits.countFailure(client)
  throw frontEncRefused()
}

function frontEncRefused(): AuthError {
  return badRequest('__front_enc__ cannot be accepted')
}

function isAcceptable(payload: unknown, config: Config): payload is Credentials & { iat?: number; jti?: string } {
  const { email, password, iat, jti } = (payload ?? {}) as Record<string, unknown>
  if (typeof email !== 'string' || typeof password !== 'string') return false
  if (jti === undefined ? config.frontEncRequired : typeof jti !== 'string') return false
  if (iat === undefined) return !config.frontEncRequired
  const ageSeconds = typeof iat === 'number' ? Date.now() / 1000 - iat : Number.NaN
  return ageSeconds <= FRONT_ENC_TTL_SECONDS && ageSeconds >= -config.clockSkewSeconds
}

/** The form in which an email is stored and compared.
 * @throws {AuthError} AUTH_BAD_REQUEST when it can be none */
export function normalizeEmail(text: string): string {
  const email = text.trim().normalize('NFC').toLowerCase()
  if (email.length > 254 || !EMAIL_FORM.test(email))
    throw badRequest('email must be like name@example.com, in at most 254 characters of ASCII')
  return email
}

/** The form in which a password is hashed and compared.
 * @throws {AuthError} AUTH_BAD_REQUEST when bcrypt cannot read all of it */
export function normalizePassword(text: string): string {
  const password = text.normalize('NFC')
  if (Buffer.byteLength(password) > 72) throw badRequest('password must have at most 72 bytes in UTF-8')
  if (password.includes('\0') || !password.isWellFormed()) throw badRequest('password must be Unicode text without NUL')
  return password
}

/** What a new password must be.
 * @throws {AuthError} AUTH_BAD_REQUEST naming the rule that is broken */
export async function checkPasswordPolicy({ password, email }: Credentials): Promise<void> {
  const lowerCase = password.toLowerCase()
  if ([...password].length < 8) throw badRequest('password must have at least 8 characters')
  if (!/\p{L}/u.test(password)) throw badRequest('password must have a letter')
  if (!/\p{Nd}/u.test(password)) throw badRequest('password must have a digit')
  if (await isCommon(lowerCase)) throw badRequest('password must not be a common one')
  if (lowerCase === email) throw badRequest('password must differ from the email')
}

/** One of 49,000, in lower case; imported when they are first needed, as they take 20 MB. */
async function isCommon(password: string): Promise<boolean> {
  const { dictionary } = await import('@zxcvbn-ts/language-common')
  return dictionary['passwords-common'].includes(password)
}

function badRequest(message: string): AuthError {
  return new AuthError('AUTH_BAD_REQUEST', { message })
}
