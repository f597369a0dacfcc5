/** What an operator, or an adopter's own backend, does to sessions: looks at them, and ends them. */
import type { Database } from '../src/db/database.ts'
import { AuthError } from '../src/models/types.ts'

/** One session, as far as it says something of a person; what is stored of its token is a hash and a salt. */
export interface StoredSession {
  /** The sid claim, and the session_id of the log. */
  id: string
  state: 'live' | 'expired' | 'revoked'
  /** The login. */
  created_at: Date
  /** The last refresh, or the login. */
  issued_at: Date
  /** How often it was refreshed. */
  generation: number
  expires_at: Date
  /** The absolute end, which no refresh moves. */
  ends_at: Date
  revoked_at: Date | null
  /** When the database was found to have lost a refresh of it. */
  ahead_at: Date | null
  /** Address and browser of the login. */
  ip: string | null
  user_agent: string | null
}

export interface EndedSessions {
  ended: number
  /** Ids that no session has. */
  unknown: number
}

const SESSIONS_A_STEP = 1000
const UUID_FORM = /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/i

/** Whether a text is the id of a session, or of a user, as far as its form tells. */
export function isUuid(text: string): boolean {
  return UUID_FORM.test(text)
}

/** Those last refreshed come first. */
export function sessionsOf(db: Database, userId: string) {
  return db.rows<StoredSession>`
    select id, created_at, issued_at, generation, expires_at, ends_at, revoked_at, ahead_at, host(ip) as ip, user_agent,
           case when revoked_at is not null then 'revoked'
                when expires_at <= now() then 'expired'
                else 'live' end as state
      from refresh_tokens
     where user_id = ${userId}
     order by issued_at desc, id`
}

/**
 * Those that have expired too, as their last access token may live a little longer.
 * @param transaction in which the user's row has been changed or locked before, so that no login adds one meanwhile
 */
export async function revokeSessionsOf(transaction: Pick<Database, 'rows'>, userId: string): Promise<number> {
  const ended = await transaction.rows`
    update refresh_tokens
       set revoked_at = now()
     where user_id = ${userId} and revoked_at is null and ends_at > now()
    returning id`
  return ended.length
}

/** The user's row is locked, so that a login at this moment is waited for, and its session ended too. */
export function endSessionsOf(db: Database, userId: string): Promise<number> {
  return db.transaction(async (transaction) => {
    await transaction.rows`
      select id
        from users
       where id = ${userId}
         for update`
    return revokeSessionsOf(transaction, userId)
  })
}

export async function endSessions(db: Database, ids: string[]): Promise<EndedSessions> {
  const place = ids.findIndex((id) => !isUuid(id)) + 1
  if (place > 0)
    throw new AuthError('AUTH_BAD_REQUEST', {
      message: `the id of a session must be a UUID, but number ${place} is none`,
    })
  const all: EndedSessions = { ended: 0, unknown: 0 }
  for (let from = 0; from < ids.length; from += SESSIONS_A_STEP) {
    const step = ids.slice(from, from + SESSIONS_A_STEP)
    const counts = await db.transaction((transaction) => revokeSessions(transaction, step))
    all.ended += counts?.ended ?? 0
    all.unknown += counts?.unknown ?? 0
  }
  return all
}

function revokeSessions(transaction: Pick<Database, 'row'>, ids: string[]) {
  return transaction.row<EndedSessions>`
    with asked as (
      select distinct id from unnest(${ids}::uuid[]) as id
    ), ended as (
      update refresh_tokens
         set revoked_at = now()
        from asked
       where refresh_tokens.id = asked.id and revoked_at is null and ends_at > now()
      returning refresh_tokens.id
    )
    select (select count(*) from ended)::int as ended,
           (select count(*)
              from asked
             where not exists (select 1 from refresh_tokens where id = asked.id))::int as unknown`
}

/** In steps, so that no lock is held for long; of those that begin meanwhile some live on. */
export async function endAllSessions(db: Database): Promise<number> {
  let ended = 0
  let last: string | null = '00000000-0000-0000-0000-000000000000'
  while (last) {
    const step: { ended: number; last: string | null } | undefined = await db.transaction((transaction) =>
      revokeSessionsAfter(transaction, last as string),
    )
    ended += step?.ended ?? 0
    last = step?.last ?? null
  }
  return ended
}

function revokeSessionsAfter(transaction: Pick<Database, 'row'>, id: string) {
  return transaction.row<{ ended: number; last: string | null }>`
    with step as (
      select id from refresh_tokens where id > ${id} order by id limit ${SESSIONS_A_STEP}::int
    ), ended as (
      update refresh_tokens
         set revoked_at = now()
        from step
       where refresh_tokens.id = step.id and revoked_at is null and ends_at > now()
      returning refresh_tokens.id
    )
    select (select count(*) from ended)::int as ended, (select id from step order by id desc limit 1) as last`
}
