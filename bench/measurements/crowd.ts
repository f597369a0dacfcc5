/** Refreshes of honest clients, alone, and beside connections that say nothing or half a request. */
import type { Crowd, CrowdResult } from '../generator/crowd.ts'
import type { Load, LoadResult } from '../generator/load.ts'
import { startWorker } from '../support/children.ts'
import { residentMebibytes } from '../support/processor.ts'
import { fillTables, type Stage } from '../support/stage.ts'

const SESSIONS = 5000
const CONNECTIONS = 64
/** About a tenth of what one node can do, so that the wait is the crowd's doing. */
const REFRESHES_PER_SECOND = 300
/** The crowd outlasts the refreshes beside it. */
const MARGIN_SECONDS = 2

export interface Crowded {
  silent: number
  halfSent: number
  refreshesPerSecond: number
  rounds: { quiet: LoadResult; crowded: LoadResult; crowd: CrowdResult; mebibytes: number }[]
}

export async function measureCrowd(stage: Stage): Promise<Crowded> {
  const [silent, halfSent] = stage.isQuick ? [1000, 100] : [10_000, 1000]
  const seconds = stage.isQuick ? 6 : 12
  const databaseUrl = await stage.createDatabase('crowd')
  const server = await stage.startModule(databaseUrl)
  await fillTables(databaseUrl, SESSIONS)
  const load: Load = {
    url: server.url,
    connections: CONNECTIONS,
    operation: { name: 'refresh', sessions: 'crowd', first: 0, count: SESSIONS, order: 'random' },
    warmUpSeconds: 1,
    seconds,
    ratePerSecond: REFRESHES_PER_SECOND,
    drainSeconds: 10,
  }
  const rounds: Crowded['rounds'] = []
  for (let round = 1; round <= (stage.isQuick ? 1 : 3); round++) {
    const quiet = await stage.generator.run(load)
    const worker = startWorker<Crowd, CrowdResult>('generator/crowd.ts')
    const { promise: isThere, resolve: begin } = Promise.withResolvers<void>()
    const crowdRun = worker.run({ url: server.url, silent, halfSent, seconds: seconds + MARGIN_SECONDS }, begin)
    await isThere
    const crowded = await stage.generator.run(load)
    const mebibytes = residentMebibytes(server.processId)
    const crowd = await crowdRun
    await worker.stop()
    rounds.push({ quiet, crowded, crowd, mebibytes })
    const p99s = [quiet, crowded].map(({ latencyMs }) => latencyMs.p99.toFixed(1)).join(' → ')
    stage.progress(
      `crowd ${round}: p99 ${p99s} ms, ${crowd.leastOpen} open, ${crowd.openedAnew} anew, ${crowded.errors} errors`,
    )
  }
  await server.stop()
  return { silent, halfSent, refreshesPerSecond: REFRESHES_PER_SECOND, rounds }
}
