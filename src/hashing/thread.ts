/** A thread of its own for bcrypt, which on Linux yields to those that answer requests. Elsewhere all have one priority. */
import { constants, getPriority, setPriority } from 'node:os'
import { parentPort } from 'node:worker_threads'
import bcrypt from 'bcrypt'

/** A password to hash at a cost, or to compare with a hash. */
export type HashTask = { password: string; rounds: number } | { password: string; hash: string }

if (process.platform === 'linux') setPriority(Math.max(getPriority(), constants.priority.PRIORITY_BELOW_NORMAL))

parentPort?.on('message', (task: HashTask) => {
  const { password } = task
  parentPort?.postMessage(
    'hash' in task ? bcrypt.compareSync(password, task.hash) : bcrypt.hashSync(password, task.rounds),
  )
})
