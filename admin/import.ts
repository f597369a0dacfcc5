/** Takes users in from another system, with the bcrypt hashes that it had, as JSON lines. */
import { randomUUID } from 'node:crypto'
import type { Database } from '../src/db/database.ts'
import { HASH_FORM } from '../src/hashing/passwords.ts'
import { AuthError } from '../src/models/types.ts'
import { normalizeEmail } from '../src/utils/security.ts'
import { isUuid } from './sessions.ts'

/** What a line is to hold; only email and password_hash must be there. */
export interface ImportedUser {
  email: string
  /** bcrypt, `$2a$`, `$2b$` or `$2y$`, of cost 4 to 16. */
  password_hash: string
  email_verified?: boolean
  /** A UUID; without it a new one is made. */
  id?: string
  /** Like 2024-05-01T12:00:00Z. */
  created_at?: string
  disabled?: boolean
}

export interface ImportReport {
  imported: number
  refused: number
}

/** Told while the import goes on. */
export interface ImportListener {
  /** A line, counted from 1, that was not taken, and why; nothing secret is in it. */
  onRefused?(line: number, reason: string): void
  /** After each batch: up to which line all is done. */
  onProgress?(line: number, report: ImportReport): void
}

/** A batch is one statement, so all of it gets into the database or nothing. */
const USERS_A_BATCH = 5000
const FIELDS = ['email', 'password_hash', 'email_verified', 'id', 'created_at', 'disabled']
const TIME_FORM = /^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2}))?$/
const TAKEN = 'the email or the id is taken, by a user or by an earlier line'

type Complete = Required<ImportedUser>

/** @throws {AuthError} AUTH_UNAVAILABLE when the database fails; what onProgress told is done then, the rest is not */
export async function importUsers(
  db: Database,
  lines: AsyncIterable<string>,
  { onRefused, onProgress }: ImportListener,
): Promise<ImportReport> {
  const report: ImportReport = { imported: 0, refused: 0 }
  let number = 0
  let batch: { line: number; user: Complete }[] = []

  function refuse(line: number, reason: string): void {
    report.refused++
    onRefused?.(line, reason)
  }

  async function importBatch(): Promise<void> {
    const inserted = await insertUsers(
      db,
      batch.map(({ user }) => user),
    )
    for (const { line, user } of batch)
      if (inserted.delete(`${user.id} ${user.email}`)) report.imported++
      else refuse(line, TAKEN)
    batch = []
    onProgress?.(number, report)
  }

  for await (const text of lines) {
    number++
    if (text.trim() === '') continue
    const user = readUser(text)
    if (typeof user === 'string') refuse(number, user)
    else batch.push({ line: number, user })
    if (batch.length === USERS_A_BATCH) await importBatch()
  }
  await importBatch()
  return report
}

/** @returns the user, or why the line cannot be one */
function readUser(text: string): Complete | string {
  const fields = readObject(text)
  if (!fields) return 'the line is no JSON object'
  const { password_hash } = fields
  const id = fields.id ?? randomUUID() // what another system does not know, it often writes as null
  const created_at = fields.created_at ?? new Date().toISOString()
  const email_verified = fields.email_verified ?? false
  const disabled = fields.disabled ?? false
  const stranger = Object.keys(fields).find((name) => !FIELDS.includes(name))
  if (stranger !== undefined) return `there is no field ${JSON.stringify(stranger)}, only ${FIELDS.join(', ')}`
  if (typeof fields.email !== 'string') return 'email must be a text'
  if (typeof password_hash !== 'string' || !HASH_FORM.test(password_hash))
    return 'password_hash must be bcrypt, $2a$, $2b$ or $2y$, of cost 4 to 16'
  if (typeof id !== 'string' || !isUuid(id)) return 'id must be a UUID'
  if (typeof email_verified !== 'boolean') return 'email_verified must be true or false'
  if (typeof disabled !== 'boolean') return 'disabled must be true or false'
  if (typeof created_at !== 'string' || !isPastTime(created_at))
    return 'created_at must be a time of the past like 2024-05-01T12:00:00Z'
  try {
    const email = normalizeEmail(fields.email)
    const createdAt = new Date(created_at).toISOString() // 30 February is 1 March to it, and to no database
    return { email, password_hash, email_verified, id: id.toLowerCase(), created_at: createdAt, disabled }
  } catch (error) {
    if (error instanceof AuthError) return error.message
    throw error
  }
}

function readObject(text: string): Record<string, unknown> | undefined {
  try {
    const value = JSON.parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : undefined
  } catch {
    return undefined // its message would show a piece of the line
  }
}

function isPastTime(text: string): boolean {
  const time = TIME_FORM.test(text) ? Date.parse(text) : Number.NaN
  return time > 0 && time <= Date.now()
}

/** @returns id and email, as one text, of each that was inserted */
async function insertUsers(db: Database, users: Complete[]): Promise<Set<string>> {
  const column = <Name extends keyof Complete>(name: Name) => users.map((user) => user[name])
  const inserted = await db.rows<{ key: string }>`
    insert into users (id, email, password_hash, email_verified, created_at, disabled_at)
    select id, email, password_hash, email_verified, created_at, case when disabled then now() end
      from unnest(${column('id')}::uuid[], ${column('email')}::text[], ${column('password_hash')}::text[],
                  ${column('email_verified')}::boolean[], ${column('created_at')}::timestamptz[],
                  ${column('disabled')}::boolean[])
           as imported (id, email, password_hash, email_verified, created_at, disabled)
    on conflict do nothing
    returning id || ' ' || email as key`
  return new Set(inserted.map(({ key }) => key))
}
