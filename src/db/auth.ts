/** The statements on users and sessions, one function each. Times are judged by the database's clock alone. */
import type { Config } from '../config.ts'
import type { PresentedSession, RefreshToken, RotatedSession, Session } from '../models/refresh_token.ts'
import type { Client } from '../models/types.ts'
import type { PublicUser, User } from '../models/user.ts'
import type { Database } from './database.ts'

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
    select id, email, email_verified, password_hash, disabled_at is not null as is_disabled
      from users
     where email = ${email}`
}

/** Leaves a hash alone that has changed since it was read. */
export function replacePasswordHash(db: Database, user: User, newHash: string) {
  return db.row`
    update users
       set password_hash = ${newHash}, updated_at = now()
     where id = ${user.id} and password_hash = ${user.password_hash}`
}

/**
 * An operator who disables a user or sets a new password, and ends the sessions in the same transaction, waits for this
 * or is waited for.
 * @returns undefined when the user is gone or disabled, or has another password than the one that was compared
 */
export function insertSession(
  db: Database,
  config: Config,
  { id: userId }: User,
  passwordHash: string,
  token: RefreshToken,
  client: Client,
) {
  return db.row<Session>`
    insert into refresh_tokens (id, user_id, token_hash, user_agent, ip, expires_at, ends_at)
    select ${token.sessionId}::uuid, id, ${token.hash}::bytea, ${client.userAgent}::text, ${client.ip}::inet,
           now() + least(${config.refreshTtlSeconds}::int, ${config.sessionMaxSeconds}::int) * interval '1 second',
           now() + ${config.sessionMaxSeconds}::int * interval '1 second'
      from users
     where id = ${userId} and password_hash = ${passwordHash} and disabled_at is null
       for share
    returning id, user_id, extract(epoch from expires_at - now())::int as expires_in_seconds,
              floor(extract(epoch from ends_at - now()))::int as ends_in_seconds`
}

/** Whether a user has a session, neither revoked nor expired, from the same IPv4 address or IPv6 network of 48 bits. */
export async function hasSessionFrom(db: Database, email: string, ip: string): Promise<boolean> {
  const session = await db.row`
    select refresh_tokens.id
      from users
      join refresh_tokens on refresh_tokens.user_id = users.id
     where users.email = ${email} and revoked_at is null and expires_at > now()
       and ip <<= set_masklen(${ip}::inet, case family(${ip}::inet) when 4 then 32 else 48 end)
     limit 1`
  return session !== undefined
}

/**
 * Replaces the live token of a session by its successor: one statement, shared by all who refresh at once, on one row
 * for each of them; it changes no indexed column. A token of ours whose generation is higher than the row's proves that
 * the database lost a rotation, and counts as the live one; of several in a batch the highest, as PostgreSQL would take
 * any. On Citus it goes to the shards of the sessions that it names, if no clock stands beside a column in it: hence
 * `any` and `moment`.
 * @returns undefined when the presented token is not the live one, or its session is revoked or expired
 */
export function rotateToken(
  db: Database,
  config: Config,
  presented: RefreshToken,
  attemptHash: Buffer | null,
  successor: RefreshToken,
  salt: Buffer,
) {
  return db.rowInBatch<RotatedSession>`
    update refresh_tokens
       set token_hash = caller.next_hash, parent_hash = caller.token_hash, rotation_salt = caller.next_salt,
           attempt_hash = caller.attempt_hash, generation = caller.next_generation, issued_at = now(),
           expires_at = least(now() + (${config.refreshTtlSeconds}::int[])[1] * interval '1 second', ends_at),
           ahead_at = case when refresh_tokens.generation < caller.generation then caller.moment else ahead_at end
      from (select *, now() as moment, max(generation) over (partition by session_id) as highest_generation
              from unnest(${presented.sessionId}::uuid[], ${presented.hash}::bytea[],
                          ${believedGeneration(presented)}::int[],
                          ${attemptHash}::bytea[], ${successor.generation}::int[], ${successor.hash}::bytea[],
                          ${salt}::bytea[]) with ordinality
                   as shown (session_id, token_hash, generation, attempt_hash, next_generation, next_hash,
                             next_salt, place)) as caller
     where id = caller.session_id and id = any (${presented.sessionId}::uuid[])
       and (refresh_tokens.token_hash = caller.token_hash or refresh_tokens.generation < caller.generation)
       and caller.generation = caller.highest_generation
       and revoked_at is null and expires_at > now()
       and exists (select 1 from users where users.id = user_id and disabled_at is null)
    returning caller.place, id, user_id, extract(epoch from expires_at - caller.moment)::int as expires_in_seconds,
              floor(extract(epoch from ends_at - caller.moment))::int as ends_in_seconds,
              ahead_at is not distinct from caller.moment as was_ahead`
}

/** Finds a session by any of its tokens, and tells where the presented one stands in it. */
export function findPresentedSession(
  db: Database,
  config: Config,
  presented: RefreshToken,
  attemptHash: Buffer | null,
) {
  return db.row<PresentedSession>`
    select refresh_tokens.id, user_id, token_hash, rotation_salt,
           extract(epoch from expires_at - now())::int as expires_in_seconds,
           floor(extract(epoch from ends_at - now()))::int as ends_in_seconds,
           case when revoked_at is not null or disabled_at is not null then 'revoked'
                when expires_at <= now() then 'expired'
                when token_hash = ${presented.hash} or generation < ${believedGeneration(presented)}::int then 'live'
                when parent_hash is distinct from ${presented.hash} then 'reused'
                when attempt_hash = ${attemptHash} then 'repeated_by_key'
                when issued_at > now() - ${config.refreshGraceSeconds}::int * interval '1 second'
                     and issued_at <= now() then 'repeated_in_grace'
                when ${attemptHash}::bytea is null then 'replaced'
                else 'reused' end as standing
      from refresh_tokens
      join users on users.id = user_id
     where refresh_tokens.id = ${presented.sessionId}`
}

/** @returns undefined when there is no such session; one revoked before stays as it is */
export function revokeSession(db: Database, sessionId: string) {
  return db.row<Pick<Session, 'id' | 'user_id'>>`
    update refresh_tokens
       set revoked_at = least(revoked_at, now())
     where id = ${sessionId}
    returning id, user_id`
}

/** @returns undefined when the session is revoked, past its end or gone, or its user disabled */
export function findUserOfSession(db: Database, sessionId: string, userId: string) {
  return db.reservedRowInBatch<PublicUser>`
    select caller.place, users.id, users.email, users.email_verified
      from unnest(${sessionId}::uuid[], ${userId}::uuid[]) with ordinality as caller (session_id, user_id, place)
      join refresh_tokens on refresh_tokens.id = caller.session_id
      join users on users.id = refresh_tokens.user_id and users.id = caller.user_id
     where refresh_tokens.id = any (${sessionId}::uuid[])
       and revoked_at is null and ends_at > now() and disabled_at is null`
}

/** A generation is believed of a token that we issued; any other is below that of every session. */
function believedGeneration({ isOurs, generation }: RefreshToken): number {
  return isOurs ? generation : -1
}
