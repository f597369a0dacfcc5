/** What the endpoints do, in the words of the contract. Knows neither HTTP nor SQL. */
import type { Config } from '../config.ts'
import * as db from '../db/auth.ts'
import type { Database } from '../db/database.ts'
import type { Passwords } from '../hashing/passwords.ts'
import type { VerifiedTokens } from '../jose/verified_tokens.ts'
import type { RateLimits } from '../limits/rate_limits.ts'
import type { RefreshToken, Session } from '../models/refresh_token.ts'
import { AuthError, type Client, type Tokens } from '../models/types.ts'
import type { PublicUser } from '../models/user.ts'
import { issueAccessToken } from '../utils/crypto.ts'
import type { KeyStore } from '../utils/jwks.ts'
import { type CredentialsBody, checkPasswordPolicy, readCredentials, refuseReplay } from '../utils/security.ts'
import * as refreshTokens from '../utils/tokens.ts'

/** What the service works with; made once, at the start. */
export interface AuthContext {
  config: Config
  database: Database
  keys: KeyStore
  limits: RateLimits
  passwords: Passwords
  unanswered: refreshTokens.Unanswered
  verifiedTokens: VerifiedTokens
}

export async function register(context: AuthContext, body: CredentialsBody, client: Client): Promise<PublicUser> {
  const { database, limits, passwords } = context
  passwords.refuseWhenFull(client)
  const { email, password, jti } = await readCredentials(context, body, client, checkPasswordPolicy)
  await limits.countRegistration(client)
  await refuseReplay(context, jti, client)
  const user = await db.insertUser(database, email, await passwords.hash(client, password))
  if (!user) throw new AuthError('AUTH_EMAIL_TAKEN')
  client.tell('auth.register', { user_id: user.id })
  return user
}

export async function login(context: AuthContext, body: CredentialsBody, client: Client): Promise<Tokens> {
  context.passwords.refuseWhenFull(client)
  const { email, password, jti } = await readCredentials(context, body, client)
  return context.limits.countAttempt(email, client, async () => {
    await refuseReplay(context, jti, client)
    return startSession(context, email, password, client)
  })
}

async function startSession(
  context: AuthContext,
  email: string,
  password: string,
  client: Client,
  looksLeft = 2,
): Promise<Tokens> {
  const { config, database, keys, passwords } = context
  const user = await db.findUserByEmail(database, email)
  const { matches, newHash } = await passwords.verify(client, password, user)
  if (!user || !matches) {
    const reason = user?.is_disabled ? 'disabled' : user ? 'password' : 'unknown'
    client.tell('auth.login.failure', { reason, user_id: user?.id })
    throw new AuthError('AUTH_INVALID_CREDENTIALS')
  }
  if (config.requireVerifiedEmail && !user.email_verified) {
    client.tell('auth.login.failure', { reason: 'unverified', user_id: user.id })
    throw new AuthError('AUTH_EMAIL_NOT_VERIFIED')
  }
  if (newHash) await db.replacePasswordHash(database, user, newHash)

  const token = refreshTokens.createRefreshToken(keys.macKeys())
  const session = await db.insertSession(database, config, user, newHash ?? user.password_hash, token, client)
  if (session) {
    client.tell('auth.login.success', { user_id: user.id, session_id: session.id })
    return issueTokens(context, session, token)
  }
  // The user has changed meanwhile, or another login has hashed the password anew.
  if (looksLeft === 0) throw new AuthError('AUTH_UNAVAILABLE', { retryAfterSeconds: 1 })
  return startSession(context, email, password, client, looksLeft - 1)
}

/**
 * Rotates the presented refresh token. The token just replaced, shown again with the idempotency key of that rotation,
 * within the grace, or when nobody got its successor, gets the same successor; any other of the session revokes it.
 */
export async function refresh(
  context: AuthContext,
  text: string | undefined,
  idempotencyKey: string | undefined,
  client: Client,
): Promise<Tokens> {
  const { config, database, keys, limits, unanswered } = context
  const macKeys = keys.macKeys()
  const presented = refreshTokens.readRefreshToken(text, macKeys)
  const attemptHash = idempotencyKey === undefined ? null : refreshTokens.sha256(idempotencyKey)

  const rotationRefusal = await limits.rotationRefusal(presented.sessionId)
  if (!rotationRefusal) {
    const salt = refreshTokens.rotationSalt(presented, macKeys, idempotencyKey)
    const successor = refreshTokens.deriveSuccessor(presented, salt, macKeys)
    const rotation = db.rotateToken(database, config, presented, attemptHash, successor, salt)
    const session = await rotation.catch((error) => {
      if (!attemptHash) unanswered.add(successor.hash) // the statement may take effect all the same
      throw error
    })
    if (session) {
      await limits.countRotation(session.id)
      const event = session.was_ahead ? 'token.refresh.ahead' : 'token.refresh.success'
      client.tell(event, { user_id: session.user_id, session_id: session.id })
      return issueTokens(context, session, successor)
    }
  }

  const session = await db.findPresentedSession(database, config, presented, attemptHash)
  if (!session) throw new AuthError('AUTH_REFRESH_NOT_FOUND')
  const who = { user_id: session.user_id, session_id: session.id }
  const { standing, rotation_salt } = session
  const liveHash = Buffer.from(session.token_hash)
  if (standing === 'expired') throw new AuthError('AUTH_TOKEN_EXPIRED')
  if (standing === 'live') throw rotationRefusal ?? new AuthError('AUTH_UNAVAILABLE', { retryAfterSeconds: 1 })
  const isUnanswered = standing === 'replaced' && unanswered.has(liveHash)
  if (standing === 'repeated_by_key' || standing === 'repeated_in_grace' || isUnanswered) {
    const successor = refreshTokens.deriveAgain(presented, rotation_salt, liveHash, macKeys)
    if (!successor) throw new AuthError('AUTH_TOKEN_REVOKED') // the keys were reset since, so nobody can repeat it
    const reason = isUnanswered ? 'unanswered' : standing.replace(/.*_/, '')
    client.tell('token.refresh.repeated', { ...who, reason })
    return issueTokens(context, session, successor)
  }
  if (standing !== 'revoked') {
    await db.revokeSession(database, session.id)
    client.tell('token.refresh.reuse_detected', who)
  }
  throw new AuthError('AUTH_TOKEN_REVOKED')
}

/** Revokes the session that the token belongs to, whichever of its tokens it is. */
export async function logout({ database, keys }: AuthContext, text: string | undefined, client: Client): Promise<void> {
  const { sessionId } = refreshTokens.readRefreshToken(text, keys.macKeys())
  const session = await db.revokeSession(database, sessionId)
  if (!session) throw new AuthError('AUTH_REFRESH_NOT_FOUND')
  client.tell('auth.logout', { user_id: session.user_id, session_id: session.id })
}

/** The user that an access token stands for, as long as its session is not revoked. */
export async function me({ database, verifiedTokens }: AuthContext, accessToken?: string): Promise<PublicUser> {
  const { sid, sub } = await verifiedTokens.verify(accessToken)
  const user = await db.findUserOfSession(database, sid, sub)
  if (!user) throw new AuthError('AUTH_TOKEN_REVOKED')
  return user
}

function issueTokens(context: AuthContext, session: Session, refreshToken: RefreshToken): Tokens {
  if (session.ends_in_seconds < 1) throw new AuthError('AUTH_TOKEN_EXPIRED')
  const accessExpiresInSeconds = Math.min(context.config.accessTtlSeconds, session.ends_in_seconds)
  return {
    accessToken: issueAccessToken(context.keys, context.config, session, accessExpiresInSeconds),
    accessExpiresInSeconds,
    refreshToken: refreshToken.bytes.toString('base64url'),
    refreshExpiresInSeconds: session.expires_in_seconds,
  }
}
