/**
 * `npm run bench`: measures, and writes RESULTS.md and the pictures beside it; with `-- --quick` into the folder
 * quick/. `--peers file.json` names systems that the reader has running.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { atEnd } from '../test/support/ending.ts'
import { firstToken } from './generator/sessions.ts'
import { measureColdStart } from './measurements/cold_start.ts'
import { measureChainLength, measureMemory, measureTableSizes } from './measurements/growth.ts'
import { measureInstalled } from './measurements/installed.ts'
import { measureOperation } from './measurements/operation.ts'
import { measureRunningPeers, readRunningPeers } from './measurements/running_peers.ts'
import { BETTER_AUTH_USERS, measureSaturated, type Saturated, SESSIONS, USERS } from './measurements/saturated.ts'
import { type Contestant, measureStorm } from './measurements/storm.ts'
import type { Settings } from './peers/running.ts'
import { writeReadmeSection } from './report/opening.ts'
import { drawPeers, drawStorm, drawTableSizes } from './report/pictures.ts'
import { refreshLimit, writeResults } from './report/results.ts'
import { killChildren } from './support/children.ts'
import { startEchoServer } from './support/echo.ts'
import { installFastapi, startBetterAuth, startFastapi } from './support/peers.ts'
import { CORES } from './support/processor.ts'
import { fillTables, openStage, query, type Stage } from './support/stage.ts'
import { median } from './support/statistics.ts'

/** For the storm, apart from those of the saturated turns: at a steady rate, each session comes again seconds later. */
const STORM_SESSIONS = { first: SESSIONS, count: 5000 }
const STEADY_SHARE = 0.3

async function measureAll(stage: Stage, given: Record<string, Settings>) {
  const installed = await measureInstalled(stage) // first, as it may fail where no registry is reached
  const databaseUrl = await stage.createDatabase('saturated')
  const module = await stage.startModule(databaseUrl)
  const sessions = SESSIONS + STORM_SESSIONS.count + 1
  await fillTables(databaseUrl, sessions)
  const fastapi = await startFastapi(stage, sessions)
  const betterAuth = await startBetterAuth(stage)
  // For the statements called bare: a schema made by the module, which then ends.
  const statementsUrl = await stage.createDatabase('statements')
  await (await stage.startModule(statementsUrl)).stop()
  await fillTables(statementsUrl, SESSIONS)
  // The bare server that does all parts has a schema like it to itself: rotations must not meet.
  const partsUrl = await stage.createDatabase('parts')
  await (await stage.startModule(partsUrl)).stop()
  await fillTables(partsUrl, SESSIONS)
  const partsEnvironment = { DATABASE_URL: partsUrl, SESSIONS: String(SESSIONS) }
  const echo = await startEchoServer(module, firstToken(sessions - 1), partsEnvironment)
  stage.progress('servers started, tables filled')

  const saturated = await measureSaturated(stage, { echo, module, databaseUrl, fastapi, betterAuth, statementsUrl })
  const share = (name: keyof Saturated) =>
    (STEADY_SHARE * CORES * 1e6) / median(saturated[name]?.map(({ microseconds }) => microseconds) ?? [])
  const refresh = (sessions: string) => ({ name: 'refresh', sessions, ...STORM_SESSIONS, order: 'random' }) as const
  const contestants: Contestant[] = [
    {
      ...{ name: 'Cerrojo', server: module, steady: refresh('module'), login: { name: 'login', users: USERS } },
      ...{ steadyPerSecond: STEADY_SHARE * refreshLimit(saturated), sweep: { ...refresh('module'), order: 'turns' } },
    },
    {
      ...{ name: 'FastAPI', server: fastapi, steady: refresh('fastapi'), login: { name: 'login', users: USERS } },
      ...{ steadyPerSecond: share('refresh: FastAPI'), sweep: { ...refresh('fastapi'), order: 'turns' } },
    },
    {
      ...{ name: 'better-auth, get-session', server: betterAuth, steady: { name: 'getSession', store: 'better-auth' } },
      ...{ login: { name: 'signIn', users: BETTER_AUTH_USERS } },
      steadyPerSecond: share('me: better-auth get-session'),
    },
  ]
  const comparison = median(saturated['login: comparisons']?.map(({ microseconds }) => microseconds) ?? [])
  const storms = await measureStorm(stage, contestants, comparison)
  for (const server of [module, fastapi, betterAuth, echo.partsServer]) await server.stop()

  const tableSizes = await measureTableSizes(stage)
  const chainLength = await measureChainLength(stage)
  const memory = await measureMemory(stage, echo)
  await echo.server.stop()
  const coldStartMs = await measureColdStart(stage)
  const operation = await measureOperation(stage, installed)
  const runningPeers = await measureRunningPeers(stage, given)
  return { saturated, storms, tableSizes, chainLength, memory, coldStartMs, operation, runningPeers }
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
