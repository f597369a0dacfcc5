/** What an operator does to users. What is done stands in admin/; here words are read and results told. */
import {
  type Admin,
  type ChangedUser,
  createAdmin,
  type StoredSession,
  type StoredUser,
  type Who,
} from '../admin/index.ts'
import { type Config, StartError } from '../src/config.ts'
import { type Command, command, type Values } from './command.ts'
import { withDatabase } from './database.ts'
import { countOf, printTable, tell, timeOf } from './results.ts'
import { atSignal, confirm, linesOf, readNewPassword } from './terminal.ts'

const JSON_OPTION = { json: { type: 'boolean', about: 'JSON instead of text' } } as const
const YES_OPTION = { yes: { type: 'boolean', about: 'that is meant; it is not asked for' } } as const
const KEEP_OPTION = { 'keep-sessions': { type: 'boolean', about: 'end no session' } } as const
const VERIFIED_OPTION = { verified: { type: 'boolean', about: 'the email is known to be theirs' } } as const
const USER = ['<email or id>']
const PASSWORD_DETAILS = `The password is asked for twice at a terminal, which does not show it, or is the one line of
standard input. It must keep the rules of a registration.`
const MOST_FOUND = 100
const PROGRESS_INTERVAL_MS = 1000

export function withAdmin<Result>(config: Config, work: (admin: Admin) => Promise<Result>): Promise<Result> {
  return withDatabase(config, (database) => work(createAdmin(config, database)), 0)
}

/** As a command's operand names a user. */
export function whoIs(word: string): Who {
  return word.includes('@') ? { email: word } : { id: word }
}

/** @throws {StartError} when there is no such user */
export function found<Result>(result: Result | undefined, word: string): Result {
  if (result === undefined) throw new StartError(`there is no user ${word}; see cerrojo users find`)
  return result
}

function findUsers(config: Config, { json }: Values<typeof JSON_OPTION>, [part = '']: string[]): Promise<void> {
  return withAdmin(config, async (admin) => {
    const users = await admin.findUsers(part, MOST_FOUND + 1)
    const shown = users.slice(0, MOST_FOUND)
    if (json) console.log(JSON.stringify(shown, null, 2))
    else printTable(['id', 'email', 'verified', 'disabled', 'created'], shown.map(rowOf))
    if (users.length > MOST_FOUND) console.error(`there are more than these ${MOST_FOUND}; give a longer part`)
  })
}

function showUser(config: Config, { json }: Values<typeof JSON_OPTION>, [word = '']: string[]): Promise<void> {
  return withAdmin(config, async (admin) => {
    const user = found(await admin.exportUser(whoIs(word)), word)
    if (json) return console.log(JSON.stringify(user, null, 2))
    const lines = { ...rowOf(user), changed: dateOf(user.updated_at), password: user.password }
    for (const [name, value] of Object.entries(lines)) console.log(`${name.padEnd(8)}  ${value}`)
    if (user.sessions.length === 0) return console.log('\nno sessions')
    console.log()
    printTable(
      ['session', 'state', 'since', 'last refresh', 'expires', 'address', 'agent'],
      user.sessions.map(sessionRowOf),
    )
  })
}

function rowOf({ id, email, email_verified, disabled_at, created_at }: StoredUser) {
  const verified = email_verified ? 'yes' : 'no'
  return { id, email, verified, disabled: disabled_at ? dateOf(disabled_at) : 'no', created: dateOf(created_at) }
}

function sessionRowOf({ id, state, created_at, issued_at, expires_at, ip, user_agent }: StoredSession) {
  return {
    session: id,
    state,
    since: dateOf(created_at),
    'last refresh': dateOf(issued_at),
    expires: dateOf(expires_at),
    address: ip ?? '-',
    agent: (user_agent ?? '-').replaceAll(/\p{Cc}/gu, '?'), // a client chose it, and a terminal would obey it
  }
}

function dateOf(date: Date): string {
  return timeOf(date.getTime() / 1000)
}

async function createUser(
  config: Config,
  { json, verified = false }: Values<typeof JSON_OPTION & typeof VERIFIED_OPTION>,
  [email = '']: string[],
): Promise<void> {
  const password = await readNewPassword()
  await withAdmin(config, async (admin) => {
    const user = await admin.createUser(email, password, { isVerified: verified })
    tell(json, user, `created ${user.email}, ${user.id}`)
  })
}

async function setPassword(
  config: Config,
  { json, 'keep-sessions': keepSessions = false }: Values<typeof JSON_OPTION & typeof KEEP_OPTION>,
  [word = '']: string[],
): Promise<void> {
  await withAdmin(config, async (admin) => {
    found(await admin.getUser(whoIs(word)), word)
    const password = await readNewPassword()
    const user = found(await admin.setPassword(whoIs(word), password, { keepSessions }), word)
    tell(json, user, `set the password of ${user.email}; ${endedWith(user)}`)
  })
}

/**
 * @param state what the user is afterwards
 * @param wasSo whether the user was so before
 */
function changing(
  state: string,
  wasSo: (before: StoredUser) => boolean,
  change: (admin: Admin, who: Who) => Promise<StoredUser | ChangedUser | undefined>,
) {
  return (config: Config, { json }: Values<typeof JSON_OPTION>, [word = '']: string[]): Promise<void> =>
    withAdmin(config, async (admin) => {
      const before = found(await admin.getUser(whoIs(word)), word)
      const user = found(await change(admin, whoIs(word)), word)
      const ended = 'ended_sessions' in user ? `; ${endedWith(user)}` : ''
      tell(json, user, `${user.email} is ${state}${wasSo(before) ? ', and was before' : ' now'}${ended}`)
    })
}

const isDisabled = ({ disabled_at }: StoredUser) => disabled_at !== null
const verifyUser = changing(
  'verified',
  (user) => user.email_verified,
  (admin, who) => admin.verifyEmail(who),
)
const disableUser = changing('disabled', isDisabled, (admin, who) => admin.disableUser(who))
const enableUser = changing(
  'enabled',
  (user) => !isDisabled(user),
  (admin, who) => admin.enableUser(who),
)

function deleteUser(
  config: Config,
  { json, yes }: Values<typeof JSON_OPTION & typeof YES_OPTION>,
  [word = '']: string[],
): Promise<void> {
  return withAdmin(config, async (admin) => {
    const { id, email, sessions } = found(await admin.exportUser(whoIs(word)), word)
    await confirm(`this deletes ${email} (${id}) and ${countOf(sessions.length, 'session')}, for good`, yes)
    const user = found(await admin.deleteUser({ id }), word)
    tell(json, user, `deleted ${user.email}, ${user.id}; ${endedWith(user)}`)
  })
}

function endedWith({ ended_sessions }: ChangedUser): string {
  return `ended ${countOf(ended_sessions, 'session')}`
}

function exportUser(config: Config, _values: Values<typeof JSON_OPTION>, [word = '']: string[]): Promise<void> {
  return showUser(config, { json: true }, [word])
}

async function importUsers(config: Config, { json }: Values<typeof JSON_OPTION>, [path]: string[]): Promise<void> {
  const lines = await linesOf(path)
  const refusals: { line: number; reason: string }[] = []
  const progress = createProgress()
  let done = 0

  function onRefused(line: number, reason: string): void {
    if (json) return void refusals.push({ line, reason })
    progress.clear()
    console.error(`line ${line}: ${reason}`)
  }
  function onProgress(line: number, { imported }: { imported: number }): void {
    done = line
    progress.show(imported)
  }

  atSignal((signal) => {
    progress.clear()
    const error = `stopped by ${signal}; lines 1 to ${done} are done, of those behind them perhaps one batch`
    console.error(json ? JSON.stringify({ error }) : `cerrojo: ${error}`)
    return undefined
  })
  await withAdmin(config, async (admin) => {
    const report = await admin
      .importUsers(lines, { onRefused, onProgress })
      .catch((error) => {
        throw new Error(`stopped; lines 1 to ${done} are done, those behind them not`, { cause: error })
      })
      .finally(progress.clear)
    if (report.refused > 0) process.exitCode = 1
    const sentence = `imported ${countOf(report.imported, 'user')}; refused ${countOf(report.refused, 'line')}`
    tell(json, { ...report, refusals }, sentence)
  })
}

/** One line that is written over and over, at a terminal alone. */
function createProgress() {
  const startMs = performance.now()
  let shownMs = Number.NEGATIVE_INFINITY
  const write = (text: string) => process.stderr.isTTY && process.stderr.write(`\r\x1b[K${text}`)
  return {
    show(imported: number): void {
      if (performance.now() - shownMs < PROGRESS_INTERVAL_MS) return
      shownMs = performance.now()
      const aSecond = Math.round(imported / ((shownMs - startMs) / 1000))
      write(`imported ${countOf(imported, 'user')}, ${aSecond.toLocaleString('en')} a second`)
    },
    clear: () => write(''),
  }
}

export const userCommands: Command[] = [
  command(
    'users find',
    'a table of users whose email has that part in it',
    { operands: ['<part of an email>'], options: JSON_OPTION },
    findUsers,
  ),
  command(
    'users show',
    'a user and all sessions: since when, last refresh, address, agent',
    {
      operands: USER,
      details: 'Ended sessions are shown until they are purged, AUTH_PURGE_AFTER_DAYS after their end.',
      options: JSON_OPTION,
    },
    showUser,
  ),
  command(
    'users create',
    'make a user, with a password that is asked for',
    { operands: ['<email>'], details: PASSWORD_DETAILS, options: { ...VERIFIED_OPTION, ...JSON_OPTION } },
    createUser,
  ),
  command(
    'users verify',
    'mark an email as verified, as AUTH_REQUIRE_VERIFIED_EMAIL wants it',
    { operands: USER, options: JSON_OPTION },
    verifyUser,
  ),
  command(
    'users set-password',
    'set a password that is asked for, and end all sessions of the user',
    { operands: USER, details: PASSWORD_DETAILS, options: { ...KEEP_OPTION, ...JSON_OPTION } },
    setPassword,
  ),
  command(
    'users disable',
    'refuse logins as for a wrong password, and end all sessions of the user',
    { operands: USER, options: JSON_OPTION },
    disableUser,
  ),
  command(
    'users enable',
    'let a disabled user log in again; sessions that ended do not come back',
    { operands: USER, options: JSON_OPTION },
    enableUser,
  ),
  command(
    'users delete',
    'delete a user and everything that is stored of them, when that is confirmed',
    { operands: USER, options: { ...YES_OPTION, ...JSON_OPTION } },
    deleteUser,
  ),
  command(
    'users export',
    'everything that is stored of a user, as JSON',
    {
      operands: USER,
      details: `The user and all sessions. The hash of the password stays in the database; its cost is told. Of refresh
tokens nothing is stored but hashes, and the rate limits hold hashes for a while; neither tells of a person.`,
      options: JSON_OPTION,
    },
    exportUser,
  ),
  command(
    'users import',
    'take users in from another system, with their bcrypt hashes, as JSON lines',
    {
      operands: ['[file]'],
      details: `Each line of the file, or of standard input, is a JSON object with
  email           like name@example.com
  password_hash   bcrypt: $2a$, $2b$ or $2y$, of cost 4 to 16
and, where you have it, with
  email_verified  true or false; false without it
  id              a UUID; a new one without it
  created_at      a time of the past like 2024-05-01T12:00:00Z; now without it
  disabled        true or false; false without it

Lines that cannot be taken are listed with their number and the reason, and the others go in; the exit code is 1 then.
They go in by batches of 5,000 lines, each whole or not at all.`,
      options: JSON_OPTION,
    },
    importUsers,
  ),
]
