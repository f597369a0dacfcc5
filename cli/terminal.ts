/** What a command has from outside: from whoever sits at the terminal, from a pipe, and by a signal. */
import { once } from 'node:events'
import { open } from 'node:fs/promises'
import { constants } from 'node:os'
import { createInterface } from 'node:readline/promises'
import { type Readable, Writable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { StartError } from '../src/config.ts'

/** Typed twice at a terminal, which does not show it; else the one line of standard input. */
export async function readNewPassword(): Promise<string> {
  if (!process.stdin.isTTY) return readOneLine()
  const password = await ask('New password: ', { isHidden: true })
  if ((await ask('The same once more: ', { isHidden: true })) !== password)
    throw new StartError('the two passwords differ; nothing was changed')
  return password
}

/**
 * @param effect what is about to be done, as a sentence without its full stop
 * @throws {StartError} unless it was said by --yes, or is at the terminal
 */
export async function confirm(effect: string, yes: boolean | undefined): Promise<void> {
  if (yes) return
  if (!process.stdin.isTTY) throw new StartError(`${effect}; if that is meant, say --yes`)
  const answer = await ask(`${effect}. Type yes if that is meant: `, { isHidden: false })
  if (answer.trim() !== 'yes') throw new StartError('nothing was changed')
}

/** The lines of a file, or without one, or with `-`, of standard input. */
export async function linesOf(path = '-'): Promise<AsyncIterable<string>> {
  if (path === '-' && process.stdin.isTTY) throw new StartError('a file is wanted, or lines on standard input')
  return readLines(path === '-' ? process.stdin : (await open(path)).createReadStream())
}

/** Begins when the first is asked for, as lines that come before would be lost. */
async function* readLines(input: Readable) {
  yield* createInterface({ input })
}

async function readOneLine(): Promise<string> {
  const bytes = await buffer(process.stdin)
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes).replace(/\r?\n$/, '')
    if (/^[^\r\n]+$/.test(text)) return text
  } catch {} // told below, like no line or several
  throw new StartError('standard input must be one line of UTF-8, the new password')
}

/**
 * Ends the command at SIGINT and SIGTERM, whatever it waits for, but not in the middle of what is done in one go.
 * Without it the system does so, in the middle of anything.
 * @param lastWord answers the exit code; undefined for the one by which shells tell the signal
 */
export function atSignal(lastWord: (signal: string) => number | undefined = () => undefined): void {
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.once(signal, () => process.exit(lastWord(signal) ?? 128 + constants.signals[signal]))
}

/** Questions go to standard error, so that standard output holds the result alone. */
async function ask(question: string, { isHidden }: { isHidden: boolean }): Promise<string> {
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() })
  const output = isHidden ? nowhere : process.stderr
  const terminal = createInterface({ input: process.stdin, output, terminal: true })
  process.stderr.write(question) // now that nothing typed is shown
  const givenUp = once(terminal, 'close').then(() => Promise.reject()) // Ctrl-C, or Ctrl-D
  try {
    return await Promise.race([terminal.question(''), givenUp])
  } catch {
    throw new StartError('given up; nothing was changed')
  } finally {
    terminal.close()
    if (isHidden) process.stderr.write('\n')
  }
}
