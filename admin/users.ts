/** What an operator, or an adopter's own backend, does to users: looks, and changes that end sessions with them. */
import bcrypt from 'bcrypt'
import type { Config } from '../src/config.ts'
import type { Database } from '../src/db/database.ts'
import { AuthError } from '../src/models/types.ts'
import { checkPasswordPolicy, normalizeEmail, normalizePassword } from '../src/utils/security.ts'
import { isUuid, revokeSessionsOf, type StoredSession, sessionsOf } from './sessions.ts'

/** A user, by the email in any case, or by the id. */
export type Who = { email: string } | { id: string }

/** What is stored of a user, without the hash of the password. */
export interface StoredUser {
  id: string
  email: string
  email_verified: boolean
  disabled_at: Date | null
  created_at: Date
  updated_at: Date
}

export interface ChangedUser extends StoredUser {
  /** How many sessions were ended with the change. */
  ended_sessions: number
}

export interface ExportedUser extends StoredUser {
  /** Like `bcrypt of cost 12`; the hash itself stays in the database. */
  password: string
  sessions: StoredSession[]
}

/** Nulls fit no row. */
function keyOf(who: Who): { id: string | null; email: string | null } {
  if ('email' in who) return { id: null, email: normalizeEmail(who.email) }
  if (!isUuid(who.id)) throw new AuthError('AUTH_BAD_REQUEST', { message: 'id must be a UUID' })
  return { id: who.id, email: null }
}

export async function findUsers(db: Database, part: string, most: number) {
  if (part.includes('\0') || !Number.isSafeInteger(most) || most < 0)
    throw new AuthError('AUTH_BAD_REQUEST', { message: 'find takes a text without NUL, and a whole number from 0' })
  return db.rows<StoredUser>`
    select id, email, email_verified, disabled_at, created_at, updated_at
      from users
     where position(${part.trim().toLowerCase()} in email) > 0
     order by email
     limit ${most}::int`
}

export function getUser(db: Database, who: Who) {
  const { id, email } = keyOf(who)
  return db.row<StoredUser>`
    select id, email, email_verified, disabled_at, created_at, updated_at
      from users
     where id = ${id}::uuid or email = ${email}`
}

export async function exportUser(db: Database, who: Who): Promise<ExportedUser | undefined> {
  const { id, email } = keyOf(who)
  const user = await db.row<StoredUser & { hash_start: string }>`
    select id, email, email_verified, disabled_at, created_at, updated_at, left(password_hash, 6) as hash_start
      from users
     where id = ${id}::uuid or email = ${email}`
  if (!user) return undefined
  const { hash_start, ...stored } = user
  const cost = /^\$2[aby]\$(\d\d)$/.exec(hash_start)?.[1]
  const password = cost ? `bcrypt of cost ${Number(cost)}` : 'something that no password fits'
  return { ...stored, password, sessions: await sessionsOf(db, user.id) }
}

export async function createUser(
  db: Database,
  config: Config,
  emailAsTyped: string,
  passwordAsTyped: string,
  isVerified: boolean,
): Promise<StoredUser> {
  const email = normalizeEmail(emailAsTyped)
  const hash = await hashNewPassword(config, passwordAsTyped, email)
  const user = await db.row<StoredUser>`
    insert into users (email, password_hash, email_verified)
    values (${email}, ${hash}, ${isVerified})
    on conflict (email) do nothing
    returning id, email, email_verified, disabled_at, created_at, updated_at`
  if (!user) throw new AuthError('AUTH_EMAIL_TAKEN')
  return user
}

export function verifyEmail(db: Database, who: Who) {
  const { id, email } = keyOf(who)
  return db.row<StoredUser>`
    update users
       set email_verified = true, updated_at = now()
     where id = ${id}::uuid or email = ${email}
    returning id, email, email_verified, disabled_at, created_at, updated_at`
}

/** A login that compared the old password, and starts its session at this moment, is waited for: see insertSession. */
export async function setPassword(
  db: Database,
  config: Config,
  who: Who,
  passwordAsTyped: string,
  keepSessions: boolean,
): Promise<ChangedUser | undefined> {
  const known = await getUser(db, who)
  if (!known) return undefined
  const hash = await hashNewPassword(config, passwordAsTyped, known.email)
  return db.transaction(async (transaction) => {
    const user = await transaction.row<StoredUser>`
      update users
         set password_hash = ${hash}, updated_at = now()
       where id = ${known.id}
      returning id, email, email_verified, disabled_at, created_at, updated_at`
    return user && { ...user, ended_sessions: keepSessions ? 0 : await revokeSessionsOf(transaction, user.id) }
  })
}

/** Waits for logins as setPassword does. */
export function disableUser(db: Database, who: Who): Promise<ChangedUser | undefined> {
  const { id, email } = keyOf(who)
  return db.transaction(async (transaction) => {
    const user = await transaction.row<StoredUser>`
      update users
         set disabled_at = least(disabled_at, now()), updated_at = now()
       where id = ${id}::uuid or email = ${email}
      returning id, email, email_verified, disabled_at, created_at, updated_at`
    return user && { ...user, ended_sessions: await revokeSessionsOf(transaction, user.id) }
  })
}

export function enableUser(db: Database, who: Who) {
  const { id, email } = keyOf(who)
  return db.row<StoredUser>`
    update users
       set disabled_at = null, updated_at = now()
     where id = ${id}::uuid or email = ${email}
    returning id, email, email_verified, disabled_at, created_at, updated_at`
}

/** The database deletes the sessions with the user; to end them first counts them. */
export function deleteUser(db: Database, who: Who): Promise<ChangedUser | undefined> {
  const { id, email } = keyOf(who)
  return db.transaction(async (transaction) => {
    const user = await transaction.row<StoredUser>`
      select id, email, email_verified, disabled_at, created_at, updated_at
        from users
       where id = ${id}::uuid or email = ${email}
         for update`
    if (!user) return undefined
    const ended_sessions = await revokeSessionsOf(transaction, user.id)
    await transaction.rows`
      delete from users
       where id = ${user.id}`
    return { ...user, ended_sessions }
  })
}

async function hashNewPassword({ bcryptRounds }: Config, passwordAsTyped: string, email: string): Promise<string> {
  const password = normalizePassword(passwordAsTyped)
  await checkPasswordPolicy({ password, email })
  return bcrypt.hash(password, bcryptRounds)
}
