/** Two nodes on one machine behind HAProxy: what a second one costs, and what is lost when one is killed. */
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { freePort } from '../../test/support/cluster.ts'
import type { Load, LoadResult } from '../generator/load.ts'
import { type ServerProcess, startServer } from '../support/children.ts'
import { fillTables, type Stage, type Turn } from '../support/stage.ts'

const SESSIONS = 5000
const CONNECTIONS = 32
const REFRESHES_PER_SECOND = 200
const PINNED = ['taskset', '--cpu-list', '0']

export interface TwoNodes {
  one: Turn[]
  two: Turn[]
  /** Refreshes at a steady rate, in whose middle one of two nodes is killed. */
  killed: LoadResult
  sessions: number
  /** Sessions that did not take their newest answered token afterwards. */
  lost: number
}

/** @returns undefined where HAProxy is not installed */
export async function measureTwoNodes(stage: Stage): Promise<TwoNodes | undefined> {
  if (!isInstalled('haproxy', '-v')) {
    stage.progress('two nodes: skipped, as HAProxy is not installed (apt-get install haproxy)')
    return undefined
  }
  const databaseUrl = await stage.createDatabase('two_nodes')
  const start = () => stage.startModule(databaseUrl, { command: PINNED })
  const nodes = [await start(), await start(), await start()] as const
  await fillTables(databaseUrl, SESSIONS)
  const [alone, ...pair] = nodes
  const oneProxy = await startHaproxy(stage, 'one', [alone])
  const twoProxy = await startHaproxy(stage, 'two', pair)

  const load = (proxy: ServerProcess): Load => ({
    url: proxy.url,
    connections: CONNECTIONS,
    operation: { name: 'refresh', sessions: 'two_nodes', first: 0, count: SESSIONS, order: 'random', isKeyed: true },
    warmUpSeconds: 1,
    seconds: stage.isQuick ? 2 : 8,
  })
  const one: Turn[] = []
  const two: Turn[] = []
  for (let round = 1; round <= (stage.isQuick ? 1 : 4); round++) {
    one.push(await stage.turn(load(oneProxy), alone))
    two.push(await stage.turn(load(twoProxy), ...pair))
    const costs = [one, two].map((turns) => turns.at(-1)?.microseconds.toFixed(0)).join(' and ')
    stage.progress(`one node and two on one core ${round}: ${costs} µs`)
  }

  const seconds = stage.isQuick ? 3 : 10
  const killedRun = stage.generator.run({
    ...load(twoProxy),
    seconds,
    ratePerSecond: REFRESHES_PER_SECOND,
    drainSeconds: 10,
  })
  await pause((1 + seconds / 2) * 1000)
  process.kill(pair[1].processId, 'SIGKILL')
  const killed = await killedRun
  const sweep: Load = { ...load(twoProxy), warmUpSeconds: 0, seconds: 120, count: SESSIONS }
  const { errors: lost } = await stage.generator.run({
    ...sweep,
    operation: { ...sweep.operation, order: 'turns' } as Load['operation'],
  })
  stage.progress(`one of two killed: ${killed.done} answered, ${killed.errors} cut off, ${lost} sessions lost`)
  for (const server of [...nodes, oneProxy, twoProxy]) await server.stop()
  return { one, two, killed, sessions: SESSIONS, lost }
}

/** As in deploy/haproxy.cfg, without TLS. */
async function startHaproxy(stage: Stage, name: string, nodes: readonly ServerProcess[]): Promise<ServerProcess> {
  const port = await freePort()
  const file = join(stage.folder, `haproxy_${name}.cfg`)
  const servers = nodes.map(({ url }, index) => `  server node_${index} ${new URL(url).host}`)
  writeFileSync(
    file,
    `defaults
  mode http
  timeout connect 2s
  timeout client 30s
  timeout server 30s
frontend cerrojo
  bind 127.0.0.1:${port}
  default_backend cerrojo_nodes
backend cerrojo_nodes
  balance leastconn
  option httpchk GET /.well-known/jwks.json
  option redispatch 1
  default-server check inter 1s fall 2 rise 1
${servers.join('\n')}
`,
  )
  const tell = `echo HAProxy listens on http://127.0.0.1:${port}; exec haproxy -db -f ${file}`
  const proxy = await startServer('sh', ['-c', tell], {})
  while (
    !(await fetch(`${proxy.url}/.well-known/jwks.json`).then(
      ({ ok }) => ok,
      () => false,
    ))
  )
    await pause(50)
  return proxy
}

function isInstalled(command: string, argument: string): boolean {
  try {
    execFileSync(command, [argument], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}
