/** The hashing threads of the servers in this process: what they are given to do, and holding it up. */
import { afterEach, mock } from 'node:test'
import { Piscina } from 'piscina'

export interface Task {
  name: 'hash' | 'compare'
  /** By bcrypt's own measure: its cost doubles with each one more. */
  rounds: number
}

export interface Threads {
  /** What they were given so far, in order. */
  tasks: Task[]
  /** Those of each server that had something to hash, in the order of their first task. */
  pools: Piscina[]
  /** How many they work on, or are held up with. */
  running: number
  /** The most that there were at once. */
  mostRunning: number
  /** Forgets what was before, does the work, and tells the rounds that it took. */
  roundsOf(work: () => Promise<unknown>): Promise<number>
  /** Has every task from now on, until the next hold, wait until the function that it answers is called. */
  hold(): () => void
  /** Has the next task alone wait. */
  holdNext(): () => void
}

export function watchThreads(): Threads {
  const run = Piscina.prototype.run
  const releases: (() => void)[] = []
  let held = Promise.resolve()
  let isForNextAlone = false
  afterEach(() => {
    for (const release of releases.splice(0)) release() // of a test that failed
  })

  const threads: Threads = {
    tasks: [],
    pools: [],
    running: 0,
    mostRunning: 0,
    async roundsOf(work) {
      threads.tasks.length = 0
      await work()
      return threads.tasks.reduce((sum, { rounds }) => sum + rounds, 0)
    },
    hold() {
      const { promise, resolve } = Promise.withResolvers<void>()
      held = promise
      const release = () => {
        if (held === promise) held = Promise.resolve()
        resolve()
      }
      releases.push(release)
      return release
    },
    holdNext() {
      isForNextAlone = true
      return threads.hold()
    },
  }

  mock.method(Piscina.prototype, 'run', async function (this: Piscina, ...given: Parameters<typeof run>) {
    const [{ cost, hash }, options] = given
    threads.tasks.push({ name: options?.name as Task['name'], rounds: 2 ** (cost ?? Number(hash.slice(4, 6))) })
    if (!threads.pools.includes(this)) threads.pools.push(this)
    threads.mostRunning = Math.max(threads.mostRunning, ++threads.running)
    const before = held
    if (isForNextAlone) held = Promise.resolve()
    isForNextAlone = false
    try {
      await before
      return await run.apply(this, given)
    } finally {
      threads.running--
    }
  })
  return threads
}
