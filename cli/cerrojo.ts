/** The operator's command: keys, migrations, old sessions, and a look at what is set up. */
import { parseArgs } from 'node:util'
import { loadConfig, loadEnvironment, StartError } from '../src/config.ts'
import { migrate, purge } from './database.ts'
import { doctor } from './doctor.ts'
import { exportKeys, listKeys, rekeyKeys, resetKeys, rotateKeys } from './keys.ts'
import { OPTIONS } from './options.ts'

const HELP = `Usage: cerrojo <command> [options]

Reads the same environment, and file .env, as the server.

  keys list                 a table of all keys: use, kid, alg, state, since, until
  keys rotate               make the next key of each use; it comes into use when everybody can know it
      --use <use>           only sig, enc, enc_front or mac (which rotates in no other way)
      --alg <alg>           of that algorithm (needs --use); set it in the environment too
      --now                 for a leaked key: in use at once, and the old keys end
  keys export               what a resource server needs: private enc keys, the JWKS address, issuer and audience.
                            Keep it secret.
      --url <url>           where the module is reached, like https://auth.example.com
      --out <file>          into that file, readable by you alone, and put in its place in one step
      --watch               and goes on until a signal: as keys rotate, the file follows (needs --out)
  keys rekey                seal all keys anew, with AUTH_KEYS_SECRET; opens them with AUTH_KEYS_SECRET_PREVIOUS too
  keys reset --yes          delete all keys, when their secret is lost for good: access tokens die, sessions live
  migrate                   bring the database's schema up to date, as a start does
  purge                     delete sessions that ended long ago
      --days <n>            that many days ago at least (AUTH_PURGE_AFTER_DAYS, or 30)
  doctor                    check keys, clock, database and settings; exit code 1 if something is broken

  --json                    for keys list and doctor: JSON instead of a table
  --help

Examples:
  npx cerrojo keys list
  npx cerrojo keys rotate --use sig --now
  npx cerrojo keys export --url https://auth.example.com --out ./cerrojo-keys.json
  npx cerrojo doctor --json
`

/** Each command, with the options it takes. */
const COMMANDS = {
  'keys list': { run: listKeys, takes: ['json'] },
  'keys rotate': { run: rotateKeys, takes: ['use', 'alg', 'now'] },
  'keys export': { run: exportKeys, takes: ['url', 'out', 'watch'] },
  'keys rekey': { run: rekeyKeys, takes: [] },
  'keys reset': { run: resetKeys, takes: ['yes'] },
  migrate: { run: migrate, takes: [] },
  purge: { run: purge, takes: ['days'] },
  doctor: { run: doctor, takes: ['json'] },
} as const

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({ options: OPTIONS, allowPositionals: true })
  const name = positionals.join(' ')
  if (values.help || name === '') return void process.stdout.write(HELP)
  if (!Object.hasOwn(COMMANDS, name)) throw new StartError(`there is no command "${name}"; see cerrojo --help`)
  const { run, takes } = COMMANDS[name as keyof typeof COMMANDS]
  const stranger = Object.keys(values).find((option) => !(takes as readonly string[]).includes(option))
  if (stranger) throw new StartError(`"${name}" takes no --${stranger}; see cerrojo --help`)

  await run(loadConfig(loadEnvironment()), values)
}

await main().catch((error) => {
  const isExplained = error instanceof StartError || String(error.code).startsWith('ERR_PARSE_ARGS')
  console.error(`cerrojo: ${isExplained ? error.message.replaceAll('\n', '; ') : error.message}`)
  process.exitCode = 1
})
