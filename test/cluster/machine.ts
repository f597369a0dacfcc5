/** A folder, and programs that run in it. All of them end with this process, unless that is killed. */
import { type SpawnOptions, spawn } from 'node:child_process'
import {
  chownSync,
  closeSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { postgresUser } from '../support/cluster.ts'
import { atEnd } from '../support/ending.ts'

const LOOK_AGAIN_MS = 10

export interface Machine {
  folder: string
  /** Makes a folder below, which is the user's whom PostgreSQL runs as. */
  makeFolder(name: string): string
  /**
   * Starts a program in the folder of that name; what it prints is added to `<name>.log`.
   * @returns resolves when it has ended
   */
  start(name: string, command: string, args: string[], options?: SpawnOptions): Promise<void>
  /** What the program printed so far. */
  log(name: string): string
  /** The end of every program's log. */
  lastLines(): string
  /** Kills what runs, and removes the folder. */
  close(): void
}

export function openMachine(): Machine {
  const user = postgresUser()
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'cerrojo-ha-')))
  const makeFolder = (name: string) => {
    const path = join(folder, name)
    mkdirSync(path, { recursive: true, mode: 0o700 })
    if (user.uid) chownSync(path, user.uid, user.gid)
    return path
  }
  if (user.uid) chownSync(folder, user.uid, user.gid)

  const close = () => {
    killAll(folder)
    rmSync(folder, { recursive: true, force: true, maxRetries: 10 })
  }
  atEnd(close)

  return {
    folder,
    makeFolder,
    start(name, command, args, options = user) {
      const log = openSync(join(folder, `${name}.log`), 'a')
      const child = spawn(command, args, {
        ...options,
        cwd: makeFolder(name),
        stdio: ['ignore', log, log],
        detached: true, // Ctrl-C of a terminal is for this process, which then ends all others
      })
      closeSync(log)
      return new Promise((resolve, reject) => child.once('exit', () => resolve()).once('error', reject))
    },
    log(name) {
      const path = join(folder, `${name}.log`)
      return existsSync(path) ? readFileSync(path, 'utf8') : ''
    },
    lastLines() {
      const names = globSync('*.log', { cwd: folder })
      return names.map((name) => `${name}:\n${readFileSync(join(folder, name), 'utf8').slice(-2000)}`).join('\n')
    },
    close,
  }
}

/** The processes that work in a folder or below it, and thus were started for it, and what they call themselves. */
export function processesIn(folder: string): { id: number; title: string }[] {
  return globSync('/proc/[0-9]*').flatMap((path) => {
    try {
      if (!`${readlinkSync(`${path}/cwd`)}/`.startsWith(`${folder}/`)) return []
      return [{ id: Number(path.split('/')[2]), title: readFileSync(`${path}/cmdline`, 'utf8').replaceAll('\0', ' ') }]
    } catch {
      return [] // it has ended meanwhile
    }
  })
}

/** Returns when the last process in a folder has ended. */
export function killAll(folder: string): void {
  for (let running = processesIn(folder); running.length > 0; running = processesIn(folder)) {
    for (const { id } of running) signal(id, 'SIGKILL')
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, LOOK_AGAIN_MS)
  }
}

/** Stops all processes in a folder, and those that they have started meanwhile. */
export function freezeAll(folder: string): void {
  const frozen = new Set<number>()
  const running = () => processesIn(folder).filter(({ id }) => !frozen.has(id))
  for (let others = running(); others.length > 0; others = running())
    for (const { id } of others) {
      signal(id, 'SIGSTOP')
      frozen.add(id)
    }
}

/** To one that may have ended meanwhile. */
export function signal(id: number, name: NodeJS.Signals): void {
  try {
    process.kill(id, name)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
