/** Hashes passwords by bcrypt: the gate at which clients take turns, and the threads behind it. */
import pLimit from 'p-limit'
import { Piscina } from 'piscina'
import type { Config } from '../config.ts'
import { AuthError, type Client } from '../models/types.ts'
import type { User } from '../models/user.ts'

/**
 * `$2a$` and `$2y$` mean the same as `$2b$`. A cost above 16 would keep a thread for long, and nothing could stop it.
 */
export const HASH_FORM = /^\$2[aby]\$(0[4-9]|1[0-6])\$[./A-Za-z0-9]{53}$/
const IDLE_THREAD_MS = 60_000
const NICE_INCREMENT = 10

export type Passwords = ReturnType<typeof createPasswords>

/**
 * @param refuseAtTurn throws when a client that has waited is not to be served any more
 * @param warn takes a sentence for the operator
 */
export function createPasswords(
  { bcryptRounds, hashConcurrency, hashQueue }: Config,
  refuseAtTurn: (client: Client) => Promise<void>,
  warn: (message: string) => void,
) {
  const turns = pLimit(hashConcurrency)
  const waiting = new Set<Client>()
  const threads = new Piscina({
    filename: import.meta.resolve('./thread.ts'),
    minThreads: 0,
    maxThreads: hashConcurrency,
    idleTimeout: IDLE_THREAD_MS,
    niceIncrement: process.platform === 'linux' ? NICE_INCREMENT : 0, // nice(2) is of one thread there alone
  })

  const hash = (password: string): Promise<string> => threads.run({ password, cost: bcryptRounds }, { name: 'hash' })
  const compare = (password: string, hash: string): Promise<boolean> =>
    threads.run({ password, hash }, { name: 'compare' })

  /** 2^c + 2^c + 2^(c + 1) + … + 2^(current - 1) = 2^current */
  async function compareFurther(password: string, cost: number): Promise<void> {
    for (let next = cost; next < bcryptRounds; next++) await compare(password, strangerHash(next))
  }

  function refuseWhenFull({ wideNetwork }: Client): void {
    if (turns.activeCount < hashConcurrency) return
    const fromThere = [...waiting].filter((other) => other.wideNetwork === wideNetwork)
    if (waiting.size >= hashQueue || fromThere.length >= hashQueue / 4)
      throw new AuthError('AUTH_UNAVAILABLE', { retryAfterSeconds: 1 })
  }

  async function inTurn<Result>(client: Client, work: () => Promise<Result>): Promise<Result> {
    refuseWhenFull(client)
    if (turns.activeCount === hashConcurrency) waiting.add(client)
    return turns(async () => {
      waiting.delete(client)
      if (client.isGone()) throw new AuthError('AUTH_BAD_REQUEST', { message: 'The connection is closed' })
      await refuseAtTurn(client)
      return work()
    })
  }

  return {
    /** To be asked before anything is spent on a request; `hash` and `verify` ask again.
     * @throws {AuthError} AUTH_UNAVAILABLE when too many wait, in all or from this client's network */
    refuseWhenFull,

    hash: (client: Client, password: string) => inTurn(client, () => hash(password)),

    /**
     * Spends as much as one comparison of the current cost, also without a user or on a hash of a lower cost. A
     * disabled user has no right password.
     * @returns a new hash too where a right password has one of another cost or form
     */
    verify: (client: Client, password: string, user: User | undefined) =>
      inTurn(client, async () => {
        const stored = user?.password_hash ?? strangerHash(bcryptRounds)
        const isReadable = HASH_FORM.test(stored)
        if (!isReadable)
          warn(`The password_hash of user ${user?.id} is not bcrypt of cost 4 to 16, so no password fits it`)
        const known = isReadable ? `$2b${stored.slice(3)}` : strangerHash(bcryptRounds)

        const matches = (await compare(password, known)) && !user?.is_disabled
        if (!matches) await compareFurther(password, costOf(known))
        const isCurrent = stored === known && costOf(known) === bcryptRounds
        return { matches, newHash: matches && !isCurrent ? await hash(password) : undefined }
      }),

    close: () => threads.destroy(),
  }
}

/** Well-formed, but the hash of nothing that anybody knows. */
function strangerHash(cost: number): string {
  return `$2b$${String(cost).padStart(2, '0')}$${'.'.repeat(53)}`
}

function costOf(hash: string): number {
  return Number(hash.slice(4, 6))
}
