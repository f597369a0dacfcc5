/** The launcher, as npm and people start it, on Nodes of every kind. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { chmodSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { until } from '../support/wait.ts'

const LAUNCHER = join(import.meta.dirname, '../../scripts/run.cjs')
const folder = mkdtempSync(join(tmpdir(), 'cerrojo-launcher-'))
after(() => rmSync(folder, { recursive: true, force: true }))

const write = (name: string, content: string) => {
  const path = join(folder, name)
  writeFileSync(path, content)
  return path
}
/** Has a Node say that it is an old one. */
const olderNode = write('older.cjs', `Object.defineProperty(process.versions, 'node', { value: '20.20.2' })`)
const program = write('program.js', `console.log(process.argv.slice(2).join(' ')); process.exitCode = 7`)
const waiting = write(
  'waiting.js',
  `for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'])
     process.on(signal, () => { console.log('got', signal); process.exit(0) })
   setInterval(() => {}, 1000)
   console.log('started', process.pid)`,
)

/** The launcher, beside a pinned Node that is this script. */
function withPinnedNode(name: string, script: string): string {
  const [scripts, binaries] = [join(folder, name, 'scripts'), join(folder, name, 'node_modules')]
  const platform = `node-${process.platform}-${process.arch}`
  mkdirSync(scripts, { recursive: true })
  mkdirSync(join(binaries, platform, 'bin'), { recursive: true })
  copyFileSync(LAUNCHER, join(scripts, 'run.cjs'))
  copyFileSync(join(LAUNCHER, '../../package.json'), join(scripts, '../package.json'))
  writeFileSync(join(binaries, platform, 'bin', 'node'), script)
  chmodSync(join(binaries, platform, 'bin', 'node'), 0o755)
  return join(scripts, 'run.cjs')
}

function start(command: string, args: string[], env: Record<string, string> = {}) {
  const { npm_lifecycle_event: _, NODE_COMPILE_CACHE: __, ...own } = process.env
  const child = spawn(command, args, { env: { ...own, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  after(() => child.kill('SIGKILL'))
  let output = ''
  child.stdout.on('data', (chunk) => (output += chunk))
  child.stderr.on('data', (chunk) => (output += chunk))
  const ended = new Promise<number | NodeJS.Signals | null>((resolve) =>
    child.once('close', (code, signal) => resolve(signal ?? code)),
  )
  return { child: child as ChildProcess, ended, output: () => output }
}

suite('the launcher', { skip: process.platform === 'win32' && 'these cases are made of shell scripts' }, () => {
  test('runs a program on the Node that started it, if new enough, and hands arguments and exit code on', async () => {
    const { ended, output } = start(process.execPath, [LAUNCHER, '--no-warnings', program, 'one', 'two words'])
    assert.equal(await ended, 7)
    assert.equal(output().trim(), 'one two words')
  })

  test('runs it on the Node that npm installed, when the own one is too old', async () => {
    const launcher = withPinnedNode(
      'good',
      `#!/bin/sh\n[ "$1" = --version ] && echo v26.10.0 && exit\necho "pinned $*"; command -v node; exit 3\n`,
    )
    const { ended, output } = start(process.execPath, ['-r', olderNode, launcher, program, 'one'])
    assert.equal(await ended, 3)
    assert.match(output(), new RegExp(`^pinned ${program} one\n${folder}/good/`), 'and finds it by its name')
  })

  test('keeps what Node has compiled beside the packages, for the next start, or where it is told to', async () => {
    const launcher = withPinnedNode('cached', '')
    const compiled = join(folder, 'cached/node_modules/.cache')
    const elsewhere = join(folder, 'elsewhere')
    await start(process.execPath, [launcher, program], { NODE_COMPILE_CACHE: elsewhere }).ended
    assert.ok(existsSync(elsewhere) && !existsSync(compiled))
    await start(process.execPath, [launcher, program]).ended
    assert.ok(existsSync(compiled))
  })

  for (const [what, script] of Object.entries({
    'cannot run, as on another libc': '#!/nowhere/ld-musl\n',
    fails: '#!/bin/sh\nexit 1\n',
    'is too old itself': '#!/bin/sh\necho v24.1.0\n',
  }))
    test(`says in one sentence what to install when the Node that npm installed ${what}`, async () => {
      const launcher = withPinnedNode(what, script)
      const { ended, output } = start(process.execPath, ['-r', olderNode, launcher, program])
      assert.equal(await ended, 1)
      assert.equal(output().trim().split('\n').length, 1, output())
      assert.match(output(), /needs Node 24\.2 or newer, but this is Node 20\.20\.2.*nodejs\.org/)
    })

  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const)
    test(`hands ${signal} on, and ends with its program`, async () => {
      const { child, ended, output } = start(process.execPath, [LAUNCHER, waiting])
      await until('the program to start', () => output().includes('started'))
      child.kill(signal)
      assert.equal(await ended, 0)
      assert.match(output(), new RegExp(`got ${signal}`))
    })

  test('ends by the signal that its program ended by', async () => {
    const { ended, output } = start(process.execPath, [LAUNCHER, waiting])
    await until('the program to start', () => output().includes('started'))
    process.kill(programId(output()), 'SIGKILL')
    assert.equal(await ended, 'SIGKILL')
  })

  test('ends its program when npm ends the shell between them', async () => {
    // The second command keeps the shell from becoming the launcher.
    const shell = start('sh', ['-c', `"${process.execPath}" "${LAUNCHER}" "${waiting}"; true`], {
      npm_lifecycle_event: 'start',
    })
    await until('the program to start', () => shell.output().includes('started'))
    shell.child.kill('SIGKILL')
    await until('the program to end', () => shell.output().includes('got SIGTERM'))
  })

  test('goes on after the shell that started it without npm', async () => {
    const shell = start('sh', ['-c', `"${process.execPath}" "${LAUNCHER}" "${waiting}" & wait`])
    await until('the program to start', () => shell.output().includes('started'))
    const id = programId(shell.output())
    shell.child.kill('SIGKILL')
    // Another one under npm notices its own shell's end meanwhile, so there was time to notice.
    const other = start('sh', ['-c', `"${process.execPath}" "${LAUNCHER}" "${waiting}"; true`], {
      npm_lifecycle_event: 'start',
    })
    await until('the other program to start', () => other.output().includes('started'))
    other.child.kill('SIGKILL')
    await until('the other program to end', () => other.output().includes('got SIGTERM'))
    assert.doesNotThrow(() => process.kill(id, 0), 'it still runs')
    process.kill(id, 'SIGKILL')
  })
})

function programId(output: string): number {
  return Number(/started (\d+)/.exec(output)?.[1])
}
