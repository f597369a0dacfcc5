/** What an operator does to sessions; `cerrojo users show` lists them. */
import { type Config, StartError } from '../src/config.ts'
import { type Command, command, type Values } from './command.ts'
import { countOf, tell } from './results.ts'
import { confirm, linesOf } from './terminal.ts'
import { found, whoIs, withAdmin } from './users.ts'

const END_OPTIONS = {
  user: { type: 'string', value: '<email or id>', about: 'all sessions of that user' },
  all: { type: 'boolean', about: 'all sessions of everybody, when that is confirmed' },
  ids: { type: 'string', value: '<file>', about: 'those whose ids stand in a file, one a line; -: on standard input' },
  yes: { type: 'boolean', about: 'with --all: that is meant; it is not asked for' },
  json: { type: 'boolean', about: 'JSON instead of text' },
} as const

async function endSessions(
  config: Config,
  { user: word, all, ids: path, yes, json }: Values<typeof END_OPTIONS>,
  [id]: string[],
): Promise<void> {
  if ([id, word, all, path].filter((choice) => choice !== undefined).length !== 1)
    throw new StartError('"sessions end" takes one of: a session id, --user <email or id>, --all, --ids <file>')
  if (all) await confirm('this logs everybody out: it ends all sessions', yes)
  const ids = path === undefined ? id && [id] : await readIds(path)

  await withAdmin(config, async (admin) => {
    if (ids) {
      const { ended, unknown } = await admin.endSessions(ids)
      if (id && unknown > 0) throw new StartError(`there is no session ${id}`)
      return tell(json, { ended, unknown }, `ended ${countOf(ended, 'session')}${ofOthers(ids, ended, unknown)}`)
    }
    if (word !== undefined) {
      const ended = found(await admin.endSessionsOf(whoIs(word)), word)
      return tell(json, { ended }, `ended ${countOf(ended, 'session')} of ${word}`)
    }
    const ended = await admin.endAllSessions()
    tell(json, { ended }, `ended ${countOf(ended, 'session')}`)
  })
}

async function readIds(path: string): Promise<string[]> {
  const ids = new Set<string>()
  for await (const line of await linesOf(path)) if (line.trim() !== '') ids.add(line.trim().toLowerCase())
  return [...ids]
}

/** What became of the ids whose sessions were not ended. */
function ofOthers(ids: string[], ended: number, unknown: number): string {
  const before = ids.length - ended - unknown
  return `${before > 0 ? `; ${before} had ended before` : ''}${unknown > 0 ? `; ${unknown} unknown` : ''}`
}

export const sessionCommands: Command[] = [
  command(
    'sessions end',
    'log out: end one session, all of a user, those of a list, or all',
    {
      operands: ['[session id]'],
      details: `An ended session refreshes no more, and /auth/me refuses it at once. Servers that verify access tokens
by themselves take those that are out until they expire, within AUTH_ACCESS_TTL_SEC.

After a database was set back, sessions that were ended in the lost time live again. The log knows them, if
LOG_LEVEL=info was set:
  jq -Rr 'fromjson? | select(.event == "auth.logout" or .event == "token.refresh.reuse_detected") | .session_id' log |
    cerrojo sessions end --ids -`,
      options: END_OPTIONS,
    },
    endSessions,
  ),
]
