/** The operator's command. Each group of commands stands in a file of its own. */
import { closestMatch } from 'leven'
import manifest from '../package.json' with { type: 'json' }
import { loadConfig, loadEnvironment, StartError } from '../src/config.ts'
import { helpOf, listOf, readWords } from './command.ts'
import { databaseCommands } from './database.ts'
import { doctorCommand } from './doctor.ts'
import { keyCommands } from './keys.ts'
import { sessionCommands } from './sessions.ts'
import { startCommand } from './start.ts'
import { userCommands } from './users.ts'

const COMMANDS = [startCommand, ...userCommands, ...sessionCommands, ...keyCommands, ...databaseCommands, doctorCommand]

const HELP = `Usage: cerrojo <command> [options]

Reads the same environment, and file .env, as the server. cerrojo <command> --help tells more,
cerrojo --version which this is.

${listOf(COMMANDS).join('\n')}
`

async function main(words: string[]): Promise<void> {
  const optionsAt = words.findIndex((word) => word.startsWith('-'))
  const leading = (optionsAt === -1 ? words : words.slice(0, optionsAt)).slice(0, 2).join(' ')
  const isHelp = words.includes('--help')
  if (leading === '' && (isHelp || words.length === 0)) return void process.stdout.write(HELP)
  if (leading === '' && words.includes('--version')) return console.log(manifest.version)
  if (leading === '') {
    const meant = closestMatch(words[0] as string, ['--help', '--version'])
    throw new StartError(`a command is wanted before ${words[0]}; did you mean ${meant}? See cerrojo --help`)
  }
  const command = COMMANDS.find(({ name }) => `${leading} `.startsWith(`${name} `))
  if (command === undefined) {
    const group = COMMANDS.filter(({ name }) => name.startsWith(`${leading} `))
    if (group.length > 0 && isHelp) return console.log(listOf(group).join('\n'))
    const meant =
      group[0]?.name ??
      closestMatch(
        leading,
        COMMANDS.map(({ name }) => name),
      )
    throw new StartError(`there is no command "${leading}"; did you mean "${meant}"? See cerrojo --help`)
  }

  const { values, operands } = readWords(command, words.slice(command.name.split(' ').length))
  if (values.help) return void process.stdout.write(helpOf(command))
  await command.run(loadConfig(loadEnvironment()), values, operands)
}

function messageWithCause({ message, cause }: Error): string {
  return cause instanceof Error ? `${message}: ${messageWithCause(cause)}` : message
}

const words = process.argv.slice(2)
await main(words).catch((error) => {
  const isExplained = error instanceof StartError || String(error.code).startsWith('ERR_PARSE_ARGS')
  const message = isExplained ? error.message.replaceAll('\n', '; ') : messageWithCause(error)
  console.error(words.includes('--json') ? JSON.stringify({ error: message }) : `cerrojo: ${message}`)
  process.exitCode = 1
})
