/** Looks at what a server would start with, and says what to do about each finding. Changes nothing. */
import { type Config, findStrangeVariables, StartError } from '../src/config.ts'
import { isEmbeddedMade } from '../src/db/embedded.ts'
import { reasonOf } from '../src/db/postgres_client.ts'
import { command, type Values } from './command.ts'
import { type Finding, judge } from './doctor/check.ts'
import { openUnchanged, readTableFacts, SERVER_CHECKS, TABLE_CHECKS } from './doctor/database.ts'
import { checkKeys, NO_KEYS, unreadable } from './doctor/keys.ts'
import { SETTINGS_CHECKS } from './doctor/settings.ts'
import { printTable } from './results.ts'

const OPTIONS = {
  json: { type: 'boolean', about: 'JSON instead of a table' },
  quick: { type: 'boolean', about: 'within a second: only settings, and one look at PostgreSQL; for a probe' },
  strict: { type: 'boolean', about: 'exit code 2 when something is risky' },
  nodes: { type: 'string', value: '<n>', about: 'how many servers share the database (1)' },
} as const

const TIMEOUT_MS = 5000
/** The rest of the second is for Node to start. */
const QUICK_TIMEOUT_MS = 500

async function doctor(config: Config, { json, quick = false, strict, nodes = '1' }: Values<typeof OPTIONS>) {
  if (!/^[1-9]\d{0,3}$/.test(nodes)) throw new StartError(`--nodes must be a number from 1 to 9999, but is "${nodes}"`)
  const settings = { config, strangers: findStrangeVariables(process.env) }
  const findings = [
    ...(await checkDatabase(config, Number(nodes), quick)),
    ...judge('settings', SETTINGS_CHECKS, settings, 'nothing dangerous is set'),
  ]
  if (json) console.log(JSON.stringify(findings, null, 2))
  else printTable(['level', 'about', 'found', 'advice'], findings)
  if (strict && findings.some(({ level }) => level === 'risky')) process.exitCode = 2
  if (findings.some(({ level }) => level === 'broken')) process.exitCode = 1
}

async function checkDatabase(config: Config, nodes: number, isQuick: boolean): Promise<Finding[]> {
  if (!config.databaseUrl && isQuick) return []
  if (!config.databaseUrl && !isEmbeddedMade(config.dataDir)) return [NO_KEYS]
  const opened = await openUnchanged(config, nodes, isQuick ? QUICK_TIMEOUT_MS : TIMEOUT_MS).catch(
    (error: Error) => error,
  )
  if (opened instanceof Error) return [unopened(config, opened)]
  const { database, server } = opened
  try {
    const ofServer = server ? judge('database', SERVER_CHECKS, server, `PostgreSQL ${server.version} is in order`) : []
    if (isQuick) return ofServer
    const keys = await checkKeys(config, database)
    const tables = await readTableFacts(database, server?.may_change_schema ?? true)
    return [...keys, ...ofServer, ...judge('tables', TABLE_CHECKS, tables, 'they are as this version needs them')]
  } finally {
    await database.close()
  }
}

/** A server may have the embedded database open, and is in order then. */
function unopened({ databaseUrl }: Config, error: Error): Finding {
  if (!databaseUrl) return unreadable(error.message, 'stop that process to have them read')
  return {
    level: 'broken',
    about: 'database',
    found: reasonOf(error),
    advice: 'check DATABASE_URL, and that PostgreSQL runs',
  }
}

export const doctorCommand = command(
  'doctor',
  'check keys, clock, database and settings; exit code 1 if something is broken',
  {
    options: OPTIONS,
    details:
      'Changes nothing, and needs no right but to read. Each finding is ok, a hint, risky (not safe) or broken\n' +
      '(does not work). Exit code 0: in order; 1: something is broken; 2, with --strict: something is risky.',
  },
  doctor,
)
