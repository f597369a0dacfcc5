/**
 * What a refresh costs as the table grows, as a session grows old, and what the process holds after a million of
 * them.
 */
import type { Load, OperationOptions } from '../generator/load.ts'
import type { EchoServer } from '../support/echo.ts'
import { residentMebibytes } from '../support/processor.ts'
import { fillTables, query, type Stage, type Turn } from '../support/stage.ts'

const CONNECTIONS = 32
const ROTATIONS_A_SESSION = 3

export interface TableSize {
  sessions: number
  turns: Turn[]
  heapOnlyShare: number
  /** Of the table with its indexes and maps, after the turns. */
  bytesASession: number
}

export async function measureTableSizes(stage: Stage): Promise<TableSize[]> {
  const sizes = stage.isQuick ? [1e4, 1e5] : [1e4, 1e5, 1e6, 1e7]
  const rounds = stage.isQuick ? 3 : 4
  const seconds = stage.isQuick ? 1 : 8
  const tables = []
  for (const sessions of sizes) {
    const databaseUrl = await stage.createDatabase(`sessions_${sessions}`)
    const server = await stage.startModule(databaseUrl)
    await fillTables(databaseUrl, sessions)
    stage.progress(`table of ${sessions} sessions filled`)
    tables.push({ sessions, databaseUrl, server, turns: [] as Turn[] })
  }
  const before = await Promise.all(tables.map(({ databaseUrl }) => updates(databaseUrl)))
  for (let round = 1; round <= rounds; round++)
    for (const { sessions, server, turns } of tables) {
      const operation: OperationOptions = {
        ...{ name: 'refresh', sessions: `sessions_${sessions}`, first: 0, count: sessions, order: 'random' },
      }
      const load: Load = {
        url: server.url,
        connections: CONNECTIONS,
        operation,
        warmUpSeconds: stage.isQuick ? 0.3 : 1,
        seconds,
      }
      const turn = await stage.turn(load, server)
      turns.push(turn)
      stage.progress(
        `table size ${round}/${rounds}  ${sessions} sessions: ${turn.microseconds.toFixed(0)} µs, ${turn.load?.errors} errors`,
      )
    }
  for (const { server } of tables) await server.stop()
  const after = await Promise.all(tables.map(({ databaseUrl }) => updates(databaseUrl)))
  const bytes = await Promise.all(tables.map(({ databaseUrl }) => bytesOfSessions(databaseUrl)))
  return tables.map(({ sessions, turns }, index) => {
    const difference = (name: 'all' | 'heapOnly') => (after[index]?.[name] ?? 0) - (before[index]?.[name] ?? 0)
    return {
      sessions,
      turns,
      heapOnlyShare: difference('heapOnly') / difference('all'),
      bytesASession: (bytes[index] ?? Number.NaN) / sessions,
    }
  })
}

/**
 * Of the table with its indexes and maps, once every session was refreshed with an Idempotency-Key, which fills all
 * columns, and refreshed again.
 */
export async function measureBytesASession(stage: Stage): Promise<number> {
  const sessions = stage.isQuick ? 1000 : 10_000
  const databaseUrl = await stage.createDatabase('session_bytes')
  const server = await stage.startModule(databaseUrl)
  await fillTables(databaseUrl, sessions)
  const { errors, errorSamples } = await stage.generator.run({
    url: server.url,
    connections: CONNECTIONS,
    operation: { name: 'refresh', sessions: 'bytes', first: 0, count: sessions, order: 'turns', isKeyed: true },
    warmUpSeconds: 0,
    seconds: 300,
    count: sessions * ROTATIONS_A_SESSION,
  })
  if (errors > 0) throw new Error(`refreshes failed: ${errorSamples.join(' | ')}`)
  await server.stop()
  const bytes = (await bytesOfSessions(databaseUrl)) / sessions
  stage.progress(`a session takes ${bytes.toFixed(0)} bytes`)
  return bytes
}

async function bytesOfSessions(databaseUrl: string): Promise<number> {
  const [row] = await query(databaseUrl, `select pg_total_relation_size('refresh_tokens') bytes`)
  return Number(row.bytes)
}

/** Of the sessions' table since it was made. A backend reports its counts when it ends, at the latest. */
async function updates(databaseUrl: string): Promise<{ all: number; heapOnly: number }> {
  const [row] = await query(
    databaseUrl,
    `select n_tup_upd::int as all, n_tup_hot_upd::int as "heapOnly" from pg_stat_user_tables where relname = 'refresh_tokens'`,
  )
  return row
}

export interface ChainLength {
  /** Rotations that the sessions have behind them when they are measured; one turn a round. */
  ages: { rotations: number; turns: Turn[] }[]
  bytesBefore: number
  bytesAfter: number
  rotations: number
}

export async function measureChainLength(stage: Stage): Promise<ChainLength> {
  const ages = (stage.isQuick ? [1, 100, 300] : [1, 100, 10_000]).map((rotations) => ({
    rotations,
    turns: [] as Turn[],
  }))
  const rounds = stage.isQuick ? 2 : 7
  const rotationsMeasured = stage.isQuick ? 60 : 200
  const databaseUrl = await stage.createDatabase('chains')
  const server = await stage.startModule(databaseUrl)
  await fillTables(databaseUrl, CONNECTIONS * (2 + 2 * rounds))
  let unused = 0
  /** As many sessions that nobody refreshed yet as there are connections. */
  const newSessions = () => CONNECTIONS * unused++
  const rotate = (first: number, rotations: number) => {
    const operation: OperationOptions = {
      name: 'refresh',
      sessions: 'chains',
      first,
      count: CONNECTIONS,
      order: 'turns',
    }
    const load: Load = {
      url: server.url,
      connections: CONNECTIONS,
      operation,
      warmUpSeconds: 0,
      seconds: 600,
      count: rotations * CONNECTIONS,
    }
    return stage.turn(load, server)
  }
  const tableBytes = async () =>
    Number((await query(databaseUrl, `select pg_table_size('refresh_tokens') bytes`))[0].bytes)
  let rotations = 0

  await rotate(newSessions(), rotationsMeasured) // warms up
  const oldest = newSessions()
  const bytesBefore = await tableBytes()
  const preparation = await rotate(oldest, ages.at(-1)?.rotations ?? 0)
  rotations += preparation.load?.done ?? 0
  stage.progress(`${CONNECTIONS} sessions have ${ages.at(-1)?.rotations} rotations behind them`)
  for (let round = 1; round <= rounds; round++)
    for (const [index, { rotations: age, turns }] of ages.entries()) {
      const first = index === ages.length - 1 ? oldest : newSessions()
      if (first !== oldest) await rotate(first, age)
      const turn = await rotate(first, rotationsMeasured)
      turns.push(turn)
      stage.progress(
        `chain length ${round}/${rounds}  ${age} rotations: ${turn.microseconds.toFixed(0)} µs, ${turn.load?.errors} errors`,
      )
    }
  const bytesAfter = await tableBytes()
  await server.stop()
  return { ages, bytesBefore, bytesAfter, rotations }
}

export interface Memory {
  requests: number
  /** Mebibytes resident at the start and after each tenth of the requests. */
  module: number[]
  emptyServer: number[]
  errors: number
}

export async function measureMemory(stage: Stage, emptyServer: EchoServer): Promise<Memory> {
  const requests = stage.isQuick ? 10_000 : 1_000_000
  const steps = 10
  const databaseUrl = await stage.createDatabase('memory')
  const module = await stage.startModule(databaseUrl)
  await fillTables(databaseUrl, 10_000)
  const refresh: OperationOptions = { name: 'refresh', sessions: 'memory', first: 0, count: 10_000, order: 'random' }
  let errors = 0
  const runThrough = async (name: string, server: { url: string; processId: number }, operation: OperationOptions) => {
    const resident = [residentMebibytes(server.processId)]
    for (let step = 1; step <= steps; step++) {
      const load: Load = {
        url: server.url,
        connections: CONNECTIONS,
        operation,
        warmUpSeconds: 0,
        seconds: 300,
        count: requests / steps,
      }
      const result = await stage.generator.run(load)
      errors += result.errors + (result.done < requests / steps ? 1 : 0)
      resident.push(residentMebibytes(server.processId))
      stage.progress(`memory  ${name} after ${(step * requests) / steps} requests: ${resident.at(-1)?.toFixed(0)} MiB`)
    }
    return resident
  }
  const ours = await runThrough('module', module, refresh)
  const theirs = await runThrough('empty server', emptyServer.server, emptyServer.refresh)
  await module.stop()
  return { requests, module: ours, emptyServer: theirs, errors }
}
