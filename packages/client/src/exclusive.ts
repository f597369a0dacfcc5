/** One at a time: across the tabs of an origin where there are any, else within this client. */
import { attempt } from './attempt.ts'
import type { Page, PageStorage } from './page.ts'
import { randomText } from './random.ts'

export type Exclusively = <Result>(work: () => Promise<Result>) => Promise<Result>

/**
 * By then a write to localStorage and a message have reached the other tabs: they are promised in no order with locks.
 * So a turn ends that much later than its work.
 */
const SETTLING_MS = 50

/**
 * Whoever has waited for other tabs for `limitMs` goes ahead without its turn: one that hangs must not hold up the
 * rest. A client by itself waits without limit, as each of its requests has one.
 */
export function createExclusively({ locks, storage }: Page, name: string, limitMs: number): Exclusively {
  if (locks) return (work) => underWebLock(locks, name, limitMs, work)
  if (storage) return (work) => underLease(storage, `${name}:lease`, limitMs, work)

  let last: Promise<unknown> = Promise.resolve()
  return (work) => {
    const result = last.then(work)
    last = result.catch(() => undefined)
    return result
  }
}

function underWebLock<Result>(
  locks: NonNullable<Page['locks']>,
  name: string,
  limitMs: number,
  work: () => Promise<Result>,
): Promise<Result> {
  return new Promise((resolve) => {
    let hasCome = false
    // Older browsers wait without limit.
    const signal = attempt(() => AbortSignal.timeout(limitMs))
    const turn = locks.request(name, { ...(signal && { signal }) }, () => {
      hasCome = true
      const result = work()
      resolve(result)
      return endOfTurn(result)
    })
    // Rejected when it never comes, and when somebody steals it.
    turn.catch(() => hasCome || resolve(work()))
  })
}

/** For pages without Web Locks (those on plain HTTP): a note in localStorage that says who goes, and until when. */
async function underLease<Result>(
  storage: PageStorage,
  name: string,
  limitMs: number,
  work: () => Promise<Result>,
): Promise<Result> {
  const owner = randomText()
  const giveUpAtMs = performance.now() + limitMs
  const readOwner = () => {
    const [holder, until] = storage.get(name)?.split(' ') ?? []
    const remainingMs = Number(until) - Date.now()
    // Longer than a lease can be: somebody has set the clock back.
    return remainingMs > 0 && remainingMs <= limitMs ? holder : undefined
  }
  const release = () => {
    if (readOwner() === owner) storage.remove(name)
    globalThis.removeEventListener?.('pagehide', release)
  }

  do {
    // A full storage keeps no lease.
    if (!readOwner() && !storage.set(name, `${owner} ${Date.now() + limitMs}`)) return work()
    await settle()
  } while (readOwner() !== owner && performance.now() < giveUpAtMs)
  globalThis.addEventListener?.('pagehide', release)
  const result = work()
  endOfTurn(result).then(release)
  return result
}

function settle(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, SETTLING_MS))
}

async function endOfTurn(result: Promise<unknown>): Promise<void> {
  await result.catch(() => undefined)
  await settle()
}
