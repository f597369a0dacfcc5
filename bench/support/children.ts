/** Child processes: servers that tell where they listen, and workers that answer messages. */
import { type ChildProcess, fork, type Serializable, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'

const FOLDER = join(import.meta.dirname, '..')
const START_TIMEOUT_MS = 60_000
const STOP_TIMEOUT_MS = 10_000

export interface ServerProcess {
  url: string
  processId: number
  stop(): Promise<void>
}

const running = new Set<ChildProcess>()

/** Ends, by its own process id, whatever still runs; for a bench that ends early. */
export function killChildren(): void {
  for (const child of running) signal(child, 'SIGKILL')
}

/** Starts a server and waits until it prints `… listens on http://…`, or `Uvicorn running on http://…`. */
export async function startServer(
  command: string,
  args: string[],
  env: Record<string, string>,
  cwd = FOLDER,
): Promise<ServerProcess> {
  const child = watch(
    spawn(command, args, {
      cwd,
      env: { PATH: process.env.PATH, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true, // a process group of its own, so that its workers end with it
    }),
  )
  let output = ''
  const url = await new Promise<string>((resolve, reject) => {
    const fail = () => reject(new Error(`${command} ${args.join(' ')} did not start: ${output}`))
    const timer = setTimeout(fail, START_TIMEOUT_MS)
    const collect = (chunk: Buffer) => {
      output = (output + chunk).slice(-10_000)
      const found = /(?:listens|running) on (http:\/\/[\d.:]+)/.exec(output)?.[1]
      if (!found) return
      clearTimeout(timer)
      resolve(found)
    }
    child.stdout?.on('data', collect)
    child.stderr?.on('data', collect)
    child.once('exit', fail)
  })
  return { url, processId: child.pid as number, stop: () => stop(child) }
}

export interface Worker<Task extends Serializable, Answer> {
  processId: number
  /** `onBegin` is called when the worker has warmed up and what it does now counts. */
  run(task: Task, onBegin?: () => void): Promise<Answer>
  stop(): Promise<void>
}

/** A worker process of this folder, which sends `begin` and then its answer for each task. */
export function startWorker<Task extends Serializable, Answer>(
  file: string,
  env: Record<string, string> = {},
): Worker<Task, Answer> {
  const child = watch(
    fork(join(FOLDER, file), { env: { PATH: process.env.PATH, ...env }, detached: true, serialization: 'advanced' }),
  )
  return {
    processId: child.pid as number,
    run: (task, onBegin) =>
      new Promise((resolve, reject) => {
        const receive = (message: unknown) => {
          if (message === 'begin') return onBegin?.()
          child.off('message', receive)
          child.off('exit', fail)
          resolve(message as Answer)
        }
        const fail = (code: number | null) => reject(new Error(`${file} ended with ${code}`))
        child.on('message', receive)
        child.once('exit', fail)
        child.send(task)
      }),
    stop: () => stop(child),
  }
}

/** The worker's side of it. */
export function serveTasks<Task>(work: (task: Task, begin: () => void) => Promise<unknown>): void {
  process.on('message', async (task: Task) => {
    const answer = await work(task, () => process.send?.('begin'))
    process.send?.(answer)
  })
  process.on('disconnect', () => process.exit())
}

function watch(child: ChildProcess): ChildProcess {
  running.add(child)
  child.once('exit', () => running.delete(child))
  return child
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, 'exit')
  child.kill('SIGTERM')
  const timer = setTimeout(() => signal(child, 'SIGKILL'), STOP_TIMEOUT_MS)
  await ended
  clearTimeout(timer)
}

/** To the child and its descendants. */
function signal(child: ChildProcess, name: NodeJS.Signals): void {
  try {
    if (child.pid) process.kill(-child.pid, name)
  } catch {} // it has just ended
}
