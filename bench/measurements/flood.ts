/** What logins from many addresses get done, first alone, then while one address floods the module with its own. */
import { setTimeout as pause } from 'node:timers/promises'
import type { Load, LoadResult } from '../generator/load.ts'
import { startWorker } from '../support/children.ts'
import { CORES } from '../support/processor.ts'
import { fillTables, LIMITS_BY_DEFAULT, type Stage } from '../support/stage.ts'

/** Of what the cores can compare: a busy day. */
export const HONEST_SHARE = 0.8
/** Passwords that are right, as no limit counts these; ten times and more what the cores can compare. */
export const FLOOD_PER_SECOND = 100
const FLOOD_ADDRESS = '203.0.113.7'
const USERS = 100
const CONNECTIONS = 256

export interface Flood {
  alone: LoadResult
  /** The same logins while the other address floods. */
  beside: LoadResult
  flood: LoadResult
}

/** With all limits as they are by default. */
export async function measureFlood(stage: Stage, comparisonMicroseconds: number): Promise<Flood[]> {
  const rounds = stage.isQuick ? 1 : 3
  const seconds = stage.isQuick ? 3 : 15
  const warmUpSeconds = stage.isQuick ? 2 : 8 // until the queue is as long as it gets
  const databaseUrl = await stage.createDatabase('flood')
  const env = { ...LIMITS_BY_DEFAULT, AUTH_TRUST_PROXY: '127.0.0.1' }
  const module = await stage.startModule(databaseUrl, { env })
  await fillTables(databaseUrl, 10 * USERS)
  const floodGenerator = startWorker<Load, LoadResult>('generator/main.ts')
  const load = (from: string, ratePerSecond: number): Load => ({
    ...{ url: module.url, connections: CONNECTIONS, operation: { name: 'login', users: USERS, from } },
    ...{ warmUpSeconds, seconds, ratePerSecond },
  })
  const honest = load('anywhere', (HONEST_SHARE * CORES * 1e6) / comparisonMicroseconds)

  const floods: Flood[] = []
  for (let round = 1; round <= rounds; round++) {
    const alone = await stage.generator.run(honest)
    await pause(1000) // those that were under way are let go of
    const besideRun = stage.generator.run(honest)
    const flood = await floodGenerator.run(load(FLOOD_ADDRESS, FLOOD_PER_SECOND))
    const beside = await besideRun
    await pause(1000)
    floods.push({ alone, beside, flood })
    const [before, during, flooding] = [alone, beside, flood].map(({ done }) => (done / seconds).toFixed(1))
    const problems = [alone, beside, flood].flatMap(({ errorSamples }) => errorSamples).join(' | ')
    stage.progress(`flood ${round}/${rounds}  ${before} → ${during} logins/s, the flood ${flooding}/s ${problems}`)
  }
  await floodGenerator.stop()
  await module.stop()
  return floods
}
