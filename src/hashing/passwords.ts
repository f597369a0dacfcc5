/** The queue in front of bcrypt, and the threads that run it. */
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import bcrypt from 'bcrypt'
import pLimit from 'p-limit'
import type { Config } from '../config.ts'
import { AuthError } from '../models/types.ts'
import type { HashTask } from './thread.ts'

export type Passwords = ReturnType<typeof createPasswords>

/** Threads that wait for something to hash, of all servers in this process. */
const idleThreads: Worker[] = []

/** bcrypt takes turns on threads of its own, and beyond a queue nobody waits. */
export function createPasswords({ bcryptRounds, hashConcurrency, hashQueue }: Config) {
  const limit = pLimit(hashConcurrency)
  /** Well-formed and of the current cost, but the hash of nothing that anybody knows. */
  const strangerHash = `$2b$${String(bcryptRounds).padStart(2, '0')}$${'.'.repeat(53)}`

  function refuseWhenFull(): void {
    if (limit.activeCount + limit.pendingCount >= hashConcurrency + hashQueue)
      throw new AuthError('AUTH_UNAVAILABLE', { retryAfterSeconds: 1 })
  }

  async function inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    refuseWhenFull()
    return limit(work)
  }

  const hash = (password: string) => onThread<string>({ password, rounds: bcryptRounds })

  return {
    /** To be asked before anything is spent on a request; `hash` and `verify` ask again.
     * @throws {AuthError} AUTH_UNAVAILABLE when the queue is full */
    refuseWhenFull,

    hash: (password: string) => inTurn(() => hash(password)),

    /** Spends one comparison even without a hash. A password that matches a hash of another cost is hashed anew. */
    verify: (password: string, knownHash = strangerHash) =>
      inTurn(async () => {
        const matches = await onThread<boolean>({ password, hash: knownHash })
        const isOutdated = matches && bcrypt.getRounds(knownHash) !== bcryptRounds
        return { matches, newHash: isOutdated ? await hash(password) : undefined }
      }),
  }
}

async function onThread<Result>(task: HashTask): Promise<Result> {
  const thread = idleThreads.pop() ?? new Worker(new URL('thread.ts', import.meta.url))
  thread.ref()
  thread.postMessage(task)
  const [result] = await once(thread, 'message')
  thread.unref()
  idleThreads.push(thread)
  return result
}
