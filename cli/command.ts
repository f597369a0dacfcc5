/** What a command of `cerrojo` is: from its name, operands and options its help is written and its words are read. */
import { parseArgs } from 'node:util'
import { closestMatch } from 'leven'
import { type Config, StartError } from '../src/config.ts'

interface Option {
  type: 'string' | 'boolean'
  /** What stands behind it in the help, like `<days>`. */
  value?: string
  about: string
}
type OptionTable = Record<string, Option>
export type Values<Options extends OptionTable> = {
  [Name in keyof Options]?: Options[Name]['type'] extends 'boolean' ? boolean : string
}

export interface Command {
  /** One or two words. */
  name: string
  /** What stands behind the name, like `<email or id>`; in brackets what may be left out. */
  operands: string[]
  /** A line for the list of all commands. */
  about: string
  /** More, for its own help. */
  details: string
  options: OptionTable
  run(config: Config, values: Record<string, string | boolean | undefined>, operands: string[]): Promise<void>
}

export function command<Options extends OptionTable>(
  name: string,
  about: string,
  { operands = [], details = '', options }: { operands?: string[]; details?: string; options: Options },
  run: (config: Config, values: Values<Options>, operands: string[]) => Promise<void>,
): Command {
  return { name, about, operands, details, options, run: run as Command['run'] }
}

/** Every command takes it. */
const HELP: OptionTable = { help: { type: 'boolean', about: 'this text' } }

/** @throws {StartError} naming the option or operand that is wrong, and what would be right */
export function readWords({ name, operands: wanted, options: own }: Command, words: string[]) {
  const options = { ...own, ...HELP }
  const { tokens } = parseArgs({ args: words, options, strict: false, tokens: true })
  for (const token of tokens) {
    if (token.kind !== 'option' || Object.hasOwn(options, token.name)) continue
    const meant = closestMatch(token.name, Object.keys(options))
    throw new StartError(`"${name}" takes no ${token.rawName}; did you mean --${meant}? See cerrojo ${name} --help`)
  }
  const { values, positionals } = parseArgs({ args: words, options, allowPositionals: true })
  const least = wanted.filter((operand) => !operand.startsWith('[')).length
  if (!values.help && (positionals.length < least || positionals.length > wanted.length))
    throw new StartError(`"${name}" takes ${wanted.join(' ') || 'no operand'}, but got "${positionals.join(' ')}"`)
  return { values, operands: positionals }
}

export function helpOf({ name, operands, about, details, options }: Command): string {
  const rows = Object.entries({ ...options, ...HELP }).map(([option, { value, about }]) => [
    ['  --', option, value && ` ${value}`].join(''),
    about,
  ])
  const usage = ['Usage: cerrojo', name, ...operands, '[options]'].join(' ')
  return [usage, `\n${about}${details && `\n\n${details}`}\n`, ...aligned(rows), ''].join('\n')
}

export function listOf(commands: Command[]): string[] {
  return aligned(commands.map(({ name, operands, about }) => [`  ${[name, ...operands].join(' ')}`, about]))
}

function aligned(rows: (string | undefined)[][]): string[] {
  const width = Math.max(...rows.map(([left = '']) => left.length))
  return rows.map(([left = '', right = '']) => `${left.padEnd(width)}  ${right}`)
}
