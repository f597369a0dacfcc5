/** Refreshes at a steady rate, first alone, then while three times as many logins arrive as can be hashed. */
import { setTimeout as pause } from 'node:timers/promises'
import type { Load, LoadResult, OperationOptions } from '../generator/load.ts'
import { type ServerProcess, startWorker } from '../support/children.ts'
import { CORES, processorMicroseconds } from '../support/processor.ts'
import type { Stage } from '../support/stage.ts'

const STEADY_CONNECTIONS = 64
const LOGIN_CONNECTIONS = 512
/** For the answers to what was sent last. */
export const DRAIN_SECONDS = 10
const SETTLE_MAX_MS = 300_000
/** How many times as many logins arrive as the cores can compare. */
export const LOGIN_FACTOR = 3

export interface Contestant {
  name: string
  server: ServerProcess
  /** Sent steadily: refreshes, or what comes nearest. */
  steady: OperationOptions
  steadyPerSecond: number
  rounds: number
  login: OperationOptions
  /** Shows each session once more after the storm. */
  sweep?: Extract<OperationOptions, { name: 'refresh' }>
}

export interface Storm {
  quiet: LoadResult
  steady: LoadResult
  logins: LoadResult
  /** Logins a second that the machine could hash beside the steady load, by what that takes alone. */
  loginLimitPerSecond: number
  lostSessions: number
}

export async function measureStorm(
  stage: Stage,
  contestants: Contestant[],
  comparisonMicroseconds: number,
): Promise<Map<string, Storm[]>> {
  const seconds = stage.isQuick ? 2 : 15
  const quietSeconds = stage.isQuick ? 2 : 12
  const rounds = stage.isQuick ? 1 : Math.max(...contestants.map(({ rounds }) => rounds))
  const loginGenerator = startWorker<Load, LoadResult>('generator/main.ts')
  const loginsPerSecond = (LOGIN_FACTOR * CORES * 1e6) / comparisonMicroseconds
  const results = new Map<string, Storm[]>(contestants.map(({ name }) => [name, []]))

  for (let round = 1; round <= rounds; round++)
    for (const contestant of contestants.filter(({ rounds }) => round <= rounds)) {
      const { name, server, steady, steadyPerSecond, login, sweep } = contestant
      const steadyLoad = (seconds: number): Load => ({
        ...{ url: server.url, connections: STEADY_CONNECTIONS, operation: steady, warmUpSeconds: 1, seconds },
        ...{ ratePerSecond: steadyPerSecond, drainSeconds: DRAIN_SECONDS },
      })
      const everything = [server.processId, stage.postmasterId, stage.generator.processId]
      await settle(contestants)
      let before = 0
      const quiet = await stage.generator.run(steadyLoad(quietSeconds), () => {
        before = processorMicroseconds(everything)
      })
      const coresTaken = (processorMicroseconds(everything) - before) / 1e6 / quiet.elapsedSeconds

      const steadyRun = stage.generator.run(steadyLoad(seconds))
      const logins = await loginGenerator.run({
        ...{ url: server.url, connections: LOGIN_CONNECTIONS, operation: login, warmUpSeconds: 1, seconds },
        ...{ ratePerSecond: loginsPerSecond, drainSeconds: DRAIN_SECONDS },
      })
      const duringStorm = await steadyRun
      const lostSessions = sweep ? await countLost(stage, server, sweep) : 0
      const storm: Storm = {
        ...{ quiet, steady: duringStorm, logins, lostSessions },
        loginLimitPerSecond: ((CORES - coresTaken) * 1e6) / comparisonMicroseconds,
      }
      results.get(name)?.push(storm)
      const [quietP99, stormP99] = [quiet, duringStorm].map(({ latencyMs }) => latencyMs.p99.toFixed(1))
      const loads = [quiet, duringStorm, logins]
      const errors = loads.reduce((sum, load) => sum + load.errors, 0)
      stage.progress(
        `storm ${round}/${rounds}  ${name}: p99 ${quietP99} → ${stormP99} ms, ` +
          `logins ${(logins.done / logins.elapsedSeconds).toFixed(1)}/s of ${storm.loginLimitPerSecond.toFixed(1)}, ` +
          `answered in ${logins.latencyMs.p50.toFixed(0)} ms, ${logins.latencyMs.most.toFixed(0)} at most, ` +
          `${logins.refused} refused within ${logins.refusalMs.most.toFixed(0)} ms, ${lostSessions} lost, ` +
          `${errors} errors ${loads.flatMap(({ errorSamples }) => errorSamples).join(' | ')}`,
      )
    }
  await loginGenerator.stop()
  return results
}

/** Until the logins that any server accepted before are done: less than a twentieth of a core for half a second. */
async function settle(contestants: Contestant[]): Promise<void> {
  const servers = contestants.map(({ server }) => server.processId)
  for (const endsAtMs = performance.now() + SETTLE_MAX_MS; performance.now() < endsAtMs; ) {
    const before = processorMicroseconds(servers)
    await pause(500)
    if (processorMicroseconds(servers) - before < 25_000) return
  }
}

async function countLost(
  stage: Stage,
  server: ServerProcess,
  sweep: Extract<OperationOptions, { name: 'refresh' }>,
): Promise<number> {
  const load: Load = {
    url: server.url,
    connections: 8,
    operation: sweep,
    warmUpSeconds: 0,
    seconds: 120,
    count: sweep.count,
  }
  return (await stage.generator.run(load)).errors
}
