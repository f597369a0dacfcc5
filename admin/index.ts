/**
 * What `cerrojo users` and `cerrojo sessions` do, as functions for a backend of your own: `import { openAdmin } from
 * 'cerrojo/admin'`. It speaks to the database alone, and knows nothing of servers that run.
 */
import { type Config, loadConfig, loadEnvironment } from '../src/config.ts'
import { openDatabase, SILENT } from '../src/db/connection.ts'
import type { Database } from '../src/db/database.ts'
import type { Log } from '../src/models/types.ts'
import { type ImportListener, type ImportReport, importUsers } from './import.ts'
import type { EndedSessions } from './sessions.ts'
import * as sessions from './sessions.ts'
import type { ChangedUser, ExportedUser, StoredUser, Who } from './users.ts'
import * as users from './users.ts'

export { AuthError } from '../src/models/types.ts'
export type { ImportedUser, ImportListener, ImportReport } from './import.ts'
export type { EndedSessions, StoredSession } from './sessions.ts'
export type { ChangedUser, ExportedUser, StoredUser, Who } from './users.ts'

/**
 * Each function that takes a user answers undefined when there is none. An email may be in any case.
 * Each may throw an AuthError: its `code` is AUTH_BAD_REQUEST when an email, an id or a password breaks a rule, which
 * the message names, and AUTH_UNAVAILABLE when the database cannot be asked; each can then be asked for again.
 */
export interface Admin {
  /** Those whose email has that part in it, by email.
   * @param most how many at most, 100 unless told otherwise */
  findUsers(part: string, most?: number): Promise<StoredUser[]>
  getUser(who: Who): Promise<StoredUser | undefined>
  /** Everything that is stored of a person: the user and all sessions, in place of the password's hash its cost. */
  exportUser(who: Who): Promise<ExportedUser | undefined>
  /** @throws {AuthError} AUTH_EMAIL_TAKEN too */
  createUser(email: string, password: string, options?: { isVerified?: boolean }): Promise<StoredUser>
  /** Call it when the address has proved to be the user's: AUTH_REQUIRE_VERIFIED_EMAIL then lets him log in. */
  verifyEmail(who: Who): Promise<StoredUser | undefined>
  /** Holds the password to the rules of a registration, and ends all sessions in the same transaction. */
  setPassword(who: Who, password: string, options?: { keepSessions?: boolean }): Promise<ChangedUser | undefined>
  /** Logins answer as for a wrong password from now on, and all sessions end in the same transaction. */
  disableUser(who: Who): Promise<ChangedUser | undefined>
  /** Sessions that ended do not come back. */
  enableUser(who: Who): Promise<StoredUser | undefined>
  /** For good, and everything of his. */
  deleteUser(who: Who): Promise<ChangedUser | undefined>
  /**
   * Takes users in from JSON lines, see ImportedUser, in batches of 5,000: memory does not grow with their number.
   * A batch is in the database whole or not at all; a line that is refused keeps no other out.
   */
  importUsers(lines: AsyncIterable<string>, listener?: ImportListener): Promise<ImportReport>
  /** Ends those that have these ids, each a UUID. */
  endSessions(ids: string[]): Promise<EndedSessions>
  /** @returns how many it ended */
  endSessionsOf(who: Who): Promise<number | undefined>
  /** Of everybody, if they began before this call.
   * @returns how many it ended */
  endAllSessions(): Promise<number>
}

/**
 * Opens the database that the environment, and the file .env, name, and waits for its answers as long as they take.
 * Close it when you are done.
 * @param log told when a database that is away is waited for
 * @throws {StartError} when the database cannot be used; the embedded one serves one process at a time
 */
export async function openAdmin(
  config: Config = loadConfig(loadEnvironment()),
  log: Log = SILENT,
): Promise<Admin & { close(): Promise<void> }> {
  const database = await openDatabase(config, log, 0)
  return { ...createAdmin(config, database), close: () => database.close() }
}

/** For a program that buildApp is part of: `createAdmin(config, app.getDecorator('database'))`. */
export function createAdmin(config: Config, database: Database): Admin {
  return {
    findUsers: (part, most = 100) => users.findUsers(database, part, most),
    getUser: async (who) => users.getUser(database, who),
    exportUser: (who) => users.exportUser(database, who),
    createUser: (email, password, { isVerified = false } = {}) =>
      users.createUser(database, config, email, password, isVerified),
    verifyEmail: async (who) => users.verifyEmail(database, who),
    setPassword: (who, password, { keepSessions = false } = {}) =>
      users.setPassword(database, config, who, password, keepSessions),
    disableUser: async (who) => users.disableUser(database, who),
    enableUser: async (who) => users.enableUser(database, who),
    deleteUser: async (who) => users.deleteUser(database, who),
    importUsers: (lines, listener = {}) => importUsers(database, lines, listener),
    endSessions: async (ids) => sessions.endSessions(database, ids),
    endSessionsOf: async (who) => {
      const user = await users.getUser(database, who)
      return user && sessions.endSessionsOf(database, user.id)
    },
    endAllSessions: () => sessions.endAllSessions(database),
  }
}
