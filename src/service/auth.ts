/** What the endpoints do, in the words of the contract. Knows neither HTTP nor SQL. */
import type { Config } from '../config.ts'
import * as db from '../db/auth.ts'
import type { Database } from '../db/database.ts'
import type { Passwords } from '../hashing/passwords.ts'
import type { VerifiedTokens } from '../jose/verified_tokens.ts'
import type { RateLimits } from '../limits/rate_limits.ts'
import type { Session } from '../models/refresh_token.ts'
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
  verifiedTokens: VerifiedTokens
}

export async function register(context: AuthContext, body: CredentialsBody, client: Client): Promise<PublicUser> {
  context.passwords.refuseWhenFull()
  const { email, password, jti } = await readCredentials(context, body)
  checkPasswordPolicy(password, email)
  await context.limits.countRegistration(client.network)
  await refuseReplay(context, jti)
  const passwordHash = await context.passwords.hash(password)
  const user = await db.insertUser(context.database, email, passwordHash)
  if (!user) throw new AuthError('AUTH_EMAIL_TAKEN')
  client.tell('auth.register', { user_id: user.id })
  return user
}

export async function login(context: AuthContext, body: CredentialsBody, client: Client): Promise<Tokens> {
  const { config, database, limits, passwords } = context
  passwords.refuseWhenFull()
  const { email, password, jti } = await readCredentials(context, body)
  await limits.countLogin(email, client.network)
  await refuseReplay(context, jti)

  const user = await db.findUserByEmail(database, email)
  const { matches, newHash } = await passwords.verify(password, user?.password_hash)
  if (!user || !matches) {
    client.tell('auth.login.failure', { reason: user ? 'password' : 'unknown', user_id: user?.id })
    throw new AuthError('AUTH_INVALID_CREDENTIALS')
  }
  await limits.refuseBlocked(client.network) // which may have used up its failures while this one waited
  if (config.requireVerifiedEmail && !user.email_verified) {
    client.tell('auth.login.failure', { reason: 'unverified', user_id: user.id })
    throw new AuthError('AUTH_EMAIL_NOT_VERIFIED')
  }
  if (newHash) await db.replacePasswordHash(database, user, newHash)

  const token = refreshTokens.createRefreshToken()
  const hashes = refreshTokens.hashRefreshToken(token)
  const session = await db.insertSession(database, config, user.id, hashes, client)
  if (!session) throw new AuthError('AUTH_INVALID_CREDENTIALS')
  client.tell('auth.login.success', { user_id: user.id, session_id: session.id })
  return issueTokens(context, session, token)
}

/**
 * Rotates the presented refresh token. The token just replaced, shown again with the idempotency key of that rotation
 * or within the grace, gets the same successor; any other token of the session shown again revokes it.
 */
export async function refresh(
  context: AuthContext,
  token: string | undefined,
  idempotencyKey: string | undefined,
  client: Client,
): Promise<Tokens> {
  const { config, database, limits } = context
  const presented = refreshTokens.decodeRefreshToken(token)
  const hashes = refreshTokens.hashRefreshToken(presented, idempotencyKey)

  const rotationRefusal = await limits.rotationRefusal(hashes.family)
  if (!rotationRefusal) {
    const salt = refreshTokens.createRotationSalt()
    const successor = refreshTokens.deriveSuccessor(presented, salt)
    const next = { hash: refreshTokens.sha256(successor), salt }
    const session = await db.rotateToken(database, config, hashes, next)
    if (session) {
      await limits.countRotation(hashes.family)
      client.tell('token.refresh.success', { user_id: session.user_id, session_id: session.id })
      return issueTokens(context, session, successor)
    }
  }

  const session = await db.findPresentedSession(database, config, hashes)
  if (!session) throw new AuthError('AUTH_REFRESH_NOT_FOUND')
  if (session.standing === 'expired') throw new AuthError('AUTH_TOKEN_EXPIRED')
  if (session.standing === 'live') throw rotationRefusal ?? new AuthError('AUTH_UNAVAILABLE', { retryAfterSeconds: 1 })
  const who = { user_id: session.user_id, session_id: session.id }
  if (session.standing === 'repeated') {
    client.tell('token.refresh.repeated', { ...who, reason: idempotencyKey ? 'key' : 'grace' })
    return issueTokens(context, session, refreshTokens.deriveSuccessor(presented, session.rotation_salt))
  }
  if (session.standing === 'reused') {
    await db.revokeSession(database, hashes.family)
    client.tell('token.refresh.reuse_detected', who)
  }
  throw new AuthError('AUTH_TOKEN_REVOKED')
}

/** Revokes the session that the token belongs to, whichever of its tokens it is. */
export async function logout({ database }: AuthContext, token: string | undefined, client: Client): Promise<void> {
  const { family } = refreshTokens.hashRefreshToken(refreshTokens.decodeRefreshToken(token))
  const session = await db.revokeSession(database, family)
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

async function issueTokens(context: AuthContext, session: Session, refreshToken: Buffer): Promise<Tokens> {
  return {
    accessToken: await issueAccessToken(context.keys, context.config, session),
    refreshToken: refreshToken.toString('base64url'),
    refreshExpiresInSeconds: session.expires_in_seconds,
  }
}
