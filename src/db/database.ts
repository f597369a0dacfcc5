/** What the module asks of a database, whichever it is: one statement, written as a template, at a time. */
import { AuthError, type Log } from '../models/types.ts'
import { createBatches } from './batches.ts'

export type Rows = { rows: unknown[] }

export interface Database {
  /** True for the embedded database, which serves this process alone. */
  isEmbedded: boolean
  /**
   * Runs one statement; a serialization failure or a deadlock is repeated a few times.
   * @throws {AuthError} AUTH_UNAVAILABLE when the database could not be asked, or could not finish
   */
  query(statement: { text: string; values: unknown[] }): Promise<Rows>
  /** Runs the statement of a template, each value in it sent as a parameter, and answers its rows. */
  rows<Row>(texts: TemplateStringsArray, ...values: unknown[]): Promise<Row[]>
  /** The same, and answers its first row. */
  row<Row>(texts: TemplateStringsArray, ...values: unknown[]): Promise<Row | undefined>
  /**
   * The same for a statement that answers many callers at once: each value in it is sent as an array of what its
   * callers gave, and each row tells the `place` of its caller in them, as `unnest … with ordinality` counts.
   */
  rowInBatch<Row>(texts: TemplateStringsArray, ...values: unknown[]): Promise<Row | undefined>
  /** The same over connections of its own, which stalled writes cannot take. */
  reservedRowInBatch<Row>(texts: TemplateStringsArray, ...values: unknown[]): Promise<Row | undefined>
  /**
   * Runs several statements, all or none, each of which sees what others have committed before it. All of them are
   * repeated after a serialization failure, a deadlock, or a lock that did not come in time.
   */
  transaction<Result>(work: (database: Pick<Database, 'rows' | 'row'>) => Promise<Result>): Promise<Result>
  close(): Promise<void>
}

export type Run = (text: string, values: unknown[]) => Promise<Rows>

/** What PostgreSQL and the embedded database have in common. */
export interface Engine {
  isEmbedded: boolean
  /** @param isReserved whether the connections kept for looks are to be used */
  run(text: string, values: unknown[], isReserved: boolean): Promise<Rows>
  transaction<Result>(work: (run: Run) => Promise<Result>): Promise<Result>
  close(): Promise<void>
}

/** So many statements may wait for their turn; whoever comes then is told to come again. */
export const MOST_WAITING = 1000
const ATTEMPTS = 4
/** So long nothing must have failed before the log says that the database is back: where writes stall, looks go on. */
const BACK_AFTER_MS = 5000
const CONFLICT = /^40(001|P01)$/
const LOCK_NOT_AVAILABLE = '55P03'
/** A pooler gave us a connection on which somebody else, or nobody, has prepared the statement. */
const MIXED_UP = /^(26000|42P05)$/

export function createDatabase(engine: Engine, log: Log): Database {
  let isAway = false
  let failedAtMs = 0

  async function persist<Answer>(isPassing: (state: string) => boolean, ask: () => Promise<Answer>): Promise<Answer> {
    for (let attempt = 1; ; attempt++) {
      try {
        const answer = await ask()
        if (isAway && performance.now() - failedAtMs > BACK_AFTER_MS) {
          isAway = false
          log.warn({ event: 'database.back' }, 'the database answers again')
        }
        return answer
      } catch (error) {
        const state = error instanceof Error && 'code' in error ? String(error.code) : ''
        if (isPassing(state) && attempt < ATTEMPTS) continue
        // Classes 22, 23 and 42: the database understood the statement and refused it, so the fault is in the code.
        if (/^(22|23|42)/.test(state) && !MIXED_UP.test(state)) throw error
        if (state !== LOCK_NOT_AVAILABLE) tellOutage(error as Error, state)
        throw new AuthError('AUTH_UNAVAILABLE', { retryAfterSeconds: 1, cause: error })
      }
    }
  }

  const isConflict = (state: string) => CONFLICT.test(state)
  const isConflictOrLock = (state: string) => isConflict(state) || state === LOCK_NOT_AVAILABLE
  const ask = (text: string, values: unknown[], isReserved = false) =>
    persist(isConflict, () => engine.run(text, values, isReserved))

  function tellOutage({ message }: Error, state: string): void {
    failedAtMs = performance.now()
    if (isAway) return
    isAway = true
    const cure = MIXED_UP.test(state) ? '; the pooler must keep connections apart (PgBouncer: pool_mode = session)' : ''
    log.error({ event: 'database.away' }, `the database cannot be asked: ${message}${cure}`)
  }

  function batched(isReserved: boolean): Database['rowInBatch'] {
    const batches = new Map<TemplateStringsArray, ReturnType<typeof createBatches>>()
    return async <Row>(texts: TemplateStringsArray, ...values: unknown[]) => {
      const askForAll = (columns: unknown[][]) => ask(textOf(texts), columns, isReserved)
      const rowOf = batches.get(texts) ?? createBatches(askForAll, isLocked)
      batches.set(texts, rowOf)
      return (await rowOf(values)) as Row | undefined
    }
  }

  return {
    isEmbedded: engine.isEmbedded,
    query: ({ text, values }) => ask(text, values),
    ...templatesOver(ask),
    transaction: (work) => persist(isConflictOrLock, () => engine.transaction((run) => work(templatesOver(run)))),
    rowInBatch: batched(false),
    reservedRowInBatch: batched(true),
    close: () => engine.close(),
  }
}

function templatesOver(run: Run): Pick<Database, 'rows' | 'row'> {
  const rows = async <Row>(texts: TemplateStringsArray, ...values: unknown[]) =>
    (await run(textOf(texts), values)).rows as Row[]
  return {
    rows,
    row: async <Row>(texts: TemplateStringsArray, ...values: unknown[]) => (await rows<Row>(texts, ...values))[0],
  }
}

function textOf(texts: TemplateStringsArray): string {
  return texts.reduce((before, after, index) => `${before}$${index}${after}`)
}

function isLocked(error: unknown): boolean {
  return error instanceof AuthError && (error.cause as { code?: unknown } | undefined)?.code === LOCK_NOT_AVAILABLE
}
