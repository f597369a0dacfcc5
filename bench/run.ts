/**
 * `npm run bench`: measures, and writes RESULTS.md and the pictures beside it; with `-- --quick` into the folder
 * quick/. `--peers file.json` names systems that the reader has running.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { atEnd } from '../test/support/ending.ts'
import { firstToken } from './generator/sessions.ts'
import { measureAttacks } from './measurements/attacks.ts'
import { measureColdStart } from './measurements/cold_start.ts'
import { measureFlood } from './measurements/flood.ts'
import { measureChainLength, measureMemory, measureTableSizes } from './measurements/growth.ts'
import { measureInstalled } from './measurements/installed.ts'
import { measureOperation } from './measurements/operation.ts'
import { measureRunningPeers, readRunningPeers } from './measurements/running_peers.ts'
import { BETTER_AUTH_USERS, measureSaturated, type Saturated, SESSIONS } from './measurements/saturated.ts'
import { type Contestant, measureStorm } from './measurements/storm.ts'
import type { Settings } from './peers/running.ts'
import { refreshLimit } from './report/costs.ts'
import { writeReadmeSection } from './report/opening.ts'
import { drawPeers, drawStorm, drawTableSizes } from './report/pictures.ts'
import { writeResults } from './report/results.ts'
import { killChildren, type ServerProcess } from './support/children.ts'
import { startEchoServer } from './support/echo.ts'
import { startFirstEdition } from './support/first_edition.ts'
import { installFastapi, startBetterAuth, startFastapi } from './support/peers.ts'
import { CORES } from './support/processor.ts'
import { fillTables, openStage, query, type Stage } from './support/stage.ts'
import { median } from './support/statistics.ts'

/** At a steady rate, each session comes again seconds later. */
const STORM_SESSIONS = { first: 0, count: 5000 }
const STEADY_SHARE = 0.3
const LOW_STEADY_SHARE = 0.1

async function measureAll(stage: Stage, given: Record<string, Settings>) {
  const installed = await measureInstalled(stage) // first, as it may fail where no registry is reached
  const databaseUrl = await stage.createDatabase('saturated')
  const module = await stage.startModule(databaseUrl)
  await fillTables(databaseUrl, SESSIONS)
  const firstEdition = await startFirstEdition(stage, SESSIONS)
  const fastapi = await startFastapi(stage, SESSIONS)
  const betterAuth = await startBetterAuth(stage)
  // For the statements called bare: a schema made by the module, which then ends.
  const statementsUrl = await stage.createDatabase('statements')
  await (await stage.startModule(statementsUrl)).stop()
  await fillTables(statementsUrl, SESSIONS)
  const echo = await startEchoServer(module, firstToken(SESSIONS - 1))
  stage.progress('servers started, tables filled')

  const servers = { echo, module, databaseUrl, firstEdition, fastapi, betterAuth, statementsUrl }
  const saturated = await measureSaturated(stage, servers)
  for (const server of [module, firstEdition]) await server?.stop()

  const storms = await measureStorms(stage, saturated, fastapi, betterAuth)
  for (const server of [fastapi, betterAuth]) await server.stop()
  const floods = await measureFlood(stage, costOf('login: comparisons', saturated))
  const attacks = await measureAttacks(stage)

  const tableSizes = await measureTableSizes(stage)
  const chainLength = await measureChainLength(stage)
  const memory = await measureMemory(stage, echo)
  await echo.server.stop()
  const coldStartMs = await measureColdStart(stage)
  const operation = await measureOperation(stage, installed)
  const runningPeers = await measureRunningPeers(stage, given)
  return { saturated, attacks, storms, floods, tableSizes, chainLength, memory, coldStartMs, operation, runningPeers }
}

async function measureStorms(stage: Stage, saturated: Saturated, fastapi: ServerProcess, betterAuth: ServerProcess) {
  const stormUrl = await stage.createDatabase('storm')
  const stormModule = await stage.startModule(stormUrl, { env: { AUTH_TRUST_PROXY: '127.0.0.1' } })
  await fillTables(stormUrl, STORM_SESSIONS.count)
  const share = (name: keyof Saturated) => (STEADY_SHARE * CORES * 1e6) / costOf(name, saturated)
  const users = STORM_SESSIONS.count / 10
  const refresh = (sessions: string) => ({ name: 'refresh', sessions, ...STORM_SESSIONS, order: 'random' }) as const
  const ours = (name: string, steadyShare: number): Contestant => ({
    ...{ name, rounds: 5, server: stormModule },
    ...{ steady: refresh('storm'), steadyPerSecond: steadyShare * refreshLimit(saturated) },
    ...{ login: { name: 'login', users, from: 'anywhere' }, sweep: { ...refresh('storm'), order: 'turns' } },
  })
  const contestants: Contestant[] = [
    ours('Cerrojo', STEADY_SHARE),
    ours('Cerrojo, a third of that', LOW_STEADY_SHARE),
    {
      ...{ name: 'FastAPI', rounds: 1, server: fastapi, steady: refresh('fastapi'), login: { name: 'login', users } },
      ...{ steadyPerSecond: share('refresh: FastAPI'), sweep: { ...refresh('fastapi'), order: 'turns' } },
    },
    {
      ...{ name: 'better-auth, get-session', rounds: 1, server: betterAuth },
      steady: { name: 'getSession', store: 'better-auth' },
      ...{ login: { name: 'signIn', users: BETTER_AUTH_USERS } },
      steadyPerSecond: share('me: better-auth get-session'),
    },
  ]
  const storms = await measureStorm(stage, contestants, costOf('login: comparisons', saturated))
  await stormModule.stop()
  return storms
}

function costOf(name: keyof Saturated, saturated: Saturated): number {
  return median(saturated[name]?.map(({ microseconds }) => microseconds) ?? [])
}

/** Between the marks that the README has for it. */
function writeIntoReadme(section: string): void {
  const path = join(import.meta.dirname, '../README.md')
  const [before, , after] = readFileSync(path, 'utf8').split(/(?<=<!-- bench -->\n\n)|(?=\n\n<!-- end of bench -->)/)
  writeFileSync(path, `${before}${section}${after}`)
}

const { values: options } = parseArgs({
  options: { quick: { type: 'boolean', default: false }, peers: { type: 'string' } },
})
const isQuick = options.quick
const given = options.peers ? readRunningPeers(resolve(process.env.INIT_CWD ?? '', options.peers)) : {}
const startedAtMs = performance.now()
console.log('    0 s  installing the FastAPI peer, unless it is there')
await installFastapi()
const stage = await openStage(isQuick)
atEnd(killChildren)
try {
  const measured = await measureAll(stage, given)
  const [{ server_version }] = (await query(stage.cluster.url, 'show server_version')) as [{ server_version: string }]
  const folder = join(import.meta.dirname, isQuick ? 'quick' : '.')
  mkdirSync(folder, { recursive: true })
  const write = (fileName: string, text: string) => writeFileSync(join(folder, fileName), text)
  const date = new Date().toISOString().slice(0, 10)
  const minutes = (performance.now() - startedAtMs) / 60_000
  const postgresVersion = server_version.split(' ')[0] as string
  const results = { ...measured, isQuick, date, minutes, postgresVersion }
  write('RESULTS.md', writeResults(results))
  if (!isQuick) writeIntoReadme(writeReadmeSection(results))
  write('storm.svg', drawStorm(measured.storms))
  write('table_size.svg', drawTableSizes(measured.tableSizes))
  write('peers.svg', drawPeers(measured.saturated))
  stage.progress(`wrote RESULTS.md, storm.svg, table_size.svg and peers.svg to ${folder}`)
} finally {
  await stage.close()
  killChildren()
}
