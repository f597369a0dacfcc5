/** The operator's command, as a program of its own. */
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Environment, ofPrograms } from './server.ts'
import { until } from './wait.ts'

export const COMMAND = join(import.meta.dirname, '../../cli/cerrojo.ts')

export interface Result {
  code: number
  stdout: string
  stderr: string
}

export function cerrojo(env: Environment, ...words: string[]): Promise<Result> {
  return feed(env, '', ...words)
}

/** Runs a command that reads the input. */
export function feed(env: Environment, input: string, ...words: string[]): Promise<Result> {
  return new Promise((resolve) => {
    const options = { env: { ...ofPrograms(), ...env }, cwd: tmpdir() }
    const child = execFile(process.execPath, [COMMAND, ...words], options, (error, stdout, stderr) =>
      resolve({ code: error ? Number(error.code) : 0, stdout, stderr }),
    )
    child.stdin?.on('error', () => {}) // one that refuses its words reads nothing
    child.stdin?.end(input)
  })
}

/** Runs a command that must succeed. */
export async function run(env: Environment, ...words: string[]): Promise<string> {
  const { code, stdout, stderr } = await cerrojo(env, ...words)
  assert.deepEqual([code, stderr], [0, ''])
  return stdout
}

/** Runs a command that must fail, with one line that says why. */
export async function refused(env: Environment, ...words: string[]): Promise<string> {
  const { code, stdout, stderr } = await cerrojo(env, ...words)
  assert.deepEqual([code, stdout], [1, ''], words.join(' '))
  assert.match(stderr, /^cerrojo: .+\n$/)
  return stderr
}

/** A terminal of its own, in which the command runs, with a keyboard and a screen. */
export function atTerminal(env: Environment, ...words: string[]) {
  const line = [process.execPath, COMMAND, ...words].map((word) => `'${word}'`).join(' ')
  const child = spawn('script', ['--quiet', '--return', '--command', line, '/dev/null'], {
    env: { PATH: process.env.PATH, TERM: 'xterm', ...env },
  })
  let screen = ''
  child.stdout.on('data', (chunk) => {
    screen += chunk
  })
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve))
  return {
    /** Waits for a question, and types. */
    async answer(question: string, keys: string): Promise<void> {
      await until(question, () => screen.includes(question))
      child.stdin.write(keys)
    },
    async end(): Promise<{ code: number | null; screen: string }> {
      return { code: await ended, screen }
    },
  }
}
