/** Every statement of the module, one function each. Times are judged by the database's clock alone. */
import type { Config } from '../config.ts'
import type { NextToken, PresentedSession, Session, TokenHashes } from '../models/refresh_token.ts'
import type { Client } from '../models/types.ts'
import type { PublicUser, User } from '../models/user.ts'
import type { Database } from './database.ts'

const USER_AGENT_MAX_CHARACTERS = 512

/** @returns undefined when the email is taken */
export function insertUser(db: Database, email: string, passwordHash: string) {
  return db.row<PublicUser>`
    insert into users (email, password_hash)
    values (${email}, ${passwordHash})
    on conflict (email) do nothing
    returning id, email, email_verified`
}

export function findUserByEmail(db: Database, email: string) {
  return db.row<User>`
    select id, email, email_verified, password_hash
      from users
     where email = ${email}::citext`
}

/** Leaves a hash alone that has changed since it was read. */
export function replacePasswordHash(db: Database, user: User, newHash: string) {
  return db.row`
    update users
       set password_hash = ${newHash}, updated_at = now()
     where id = ${user.id} and password_hash = ${user.password_hash}`
}

/** @returns undefined when the user is gone */
export function insertSession(db: Database, config: Config, userId: string, hashes: TokenHashes, client: Client) {
  const userAgent = client.userAgent?.slice(0, USER_AGENT_MAX_CHARACTERS)
  return db.row<Session>`
    insert into refresh_tokens (user_id, family_hash, token_hash, user_agent, ip, expires_at)
    select id, ${hashes.family}::bytea, ${hashes.token}::bytea, ${userAgent}::text, ${client.ip}::inet,
           now() + make_interval(secs => least(${config.refreshTtlSeconds}::int, ${config.sessionMaxSeconds}::int))
      from users
     where id = ${userId}
    returning id, user_id, extract(epoch from expires_at - now())::int as expires_in_seconds`
}

/**
 * Replaces the live token of a session by its successor: one statement, shared by all who refresh at once, on one row for each
 * of them; it changes no indexed column.
 * @returns undefined when the presented token is not the live one, or its session is revoked or expired
 */
export function rotateToken(db: Database, config: Config, presented: TokenHashes, next: NextToken) {
  return db.rowInBatch<Session>`
    update refresh_tokens
       set token_hash = caller.next_hash, parent_hash = token_hash, rotation_salt = caller.next_salt,
           attempt_hash = caller.attempt, issued_at = now(),
           expires_at = least(now() + make_interval(secs => caller.ttl_seconds),
                              created_at + make_interval(secs => caller.max_seconds))
      from unnest(${presented.family}::bytea[], ${presented.token}::bytea[], ${presented.attempt}::bytea[],
                  ${next.hash}::bytea[], ${next.salt}::bytea[],
                  ${config.refreshTtlSeconds}::int[], ${config.sessionMaxSeconds}::int[]) with ordinality
             as caller (family, token, attempt, next_hash, next_salt, ttl_seconds, max_seconds, place)
     where family_hash = caller.family and token_hash = caller.token
       and revoked_at is null and expires_at > now()
    returning caller.place, id, user_id, extract(epoch from expires_at - now())::int as expires_in_seconds`
}

/** Finds a session by any of its tokens, and tells where the presented one stands in it. */
export function findPresentedSession(db: Database, config: Config, presented: TokenHashes) {
  const graceSeconds = presented.attempt ? 0 : config.refreshGraceSeconds
  return db.row<PresentedSession>`
    select id, user_id, rotation_salt,
           extract(epoch from expires_at - now())::int as expires_in_seconds,
           case when revoked_at is not null then 'revoked'
                when expires_at <= now() then 'expired'
                when token_hash = ${presented.token} then 'live'
                when parent_hash = ${presented.token} and attempt_hash = ${presented.attempt} then 'repeated'
                when parent_hash = ${presented.token} and issued_at <= now()
                     and now() < issued_at + make_interval(secs => ${graceSeconds}::int) then 'repeated'
                else 'reused' end as standing
      from refresh_tokens
     where family_hash = ${presented.family}`
}

/** @returns undefined when there is no such session; one revoked before stays as it is */
export function revokeSession(db: Database, familyHash: Buffer) {
  return db.row<Pick<Session, 'id' | 'user_id'>>`
    update refresh_tokens
       set revoked_at = coalesce(revoked_at, now())
     where family_hash = ${familyHash}
    returning id, user_id`
}

/** @returns undefined when the session is revoked or gone */
export function findUserOfSession(db: Database, sessionId: string, userId: string) {
  return db.rowInBatch<PublicUser>`
    select caller.place, users.id, users.email, users.email_verified
      from unnest(${sessionId}::uuid[], ${userId}::uuid[]) with ordinality as caller (session_id, user_id, place)
      join refresh_tokens on refresh_tokens.id = caller.session_id
      join users on users.id = refresh_tokens.user_id and users.id = caller.user_id
     where refresh_tokens.revoked_at is null`
}
