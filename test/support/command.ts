/** The operator's command, as a program of its own. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Environment } from './server.ts'

const COMMAND = join(import.meta.dirname, '../../cli/cerrojo.ts')

export interface Result {
  code: number
  stdout: string
  stderr: string
}

export function cerrojo(env: Environment, ...words: string[]): Promise<Result> {
  return new Promise((resolve) => {
    const options = { env: { PATH: process.env.PATH, ...env }, cwd: tmpdir() }
    execFile(process.execPath, [COMMAND, ...words], options, (error, stdout, stderr) =>
      resolve({ code: error ? Number(error.code) : 0, stdout, stderr }),
    )
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
