/** Systems that the reader has running, named in a file of theirs, in turns with the module. */
import { readFileSync } from 'node:fs'
import type { Load, OperationOptions } from '../generator/load.ts'
import { ADAPTERS } from '../peers/adapters.ts'
import type { Settings } from '../peers/running.ts'
import { fillTables, type Stage, type Turn } from '../support/stage.ts'

const SESSIONS = 48
const CONNECTIONS = 32

/** By name and operation; without process ids only the rates are of use. */
export type RunningPeersTurns = Record<string, { turns: Turn[]; hasCost: boolean }>

/** @throws when the file names a system that has no adapter, or lacks what its adapter needs */
export function readRunningPeers(path: string): Record<string, Settings> {
  const given: Record<string, Settings> = JSON.parse(readFileSync(path, 'utf8'))
  for (const [key, settings] of Object.entries(given)) {
    const peer = ADAPTERS[key]
    if (!peer) throw new Error(`${path} names ${key}; there are ${Object.keys(ADAPTERS).join(', ')}`)
    const missing = ['url', ...peer.settings].filter((name) => !settings[name])
    if (missing.length > 0) throw new Error(`${path} lacks, for ${key}: ${missing.join(', ')}`)
  }
  return given
}

export async function measureRunningPeers(stage: Stage, given: Record<string, Settings>): Promise<RunningPeersTurns> {
  if (Object.keys(given).length === 0) return {}
  const databaseUrl = await stage.createDatabase('running_peers')
  const module = await stage.startModule(databaseUrl)
  await fillTables(databaseUrl, SESSIONS)
  const seconds = stage.isQuick ? 1 : 6
  const load = (url: string, operation: OperationOptions): Load => ({
    url,
    connections: CONNECTIONS,
    operation,
    warmUpSeconds: stage.isQuick ? 0.3 : 1,
    seconds,
  })
  const sessions = 'running_peers'
  const own = (operation: OperationOptions) => () => stage.turn(load(module.url, operation), module)
  const turns: Record<string, () => Promise<Turn>> = {
    'Cerrojo: refresh': own({ name: 'refresh', sessions, first: 0, count: SESSIONS, order: 'turns', store: sessions }),
    'Cerrojo: look': own({ name: 'me', store: sessions, shown: 'again' }),
    'Cerrojo: keys': own({ name: 'jwks' }),
  }
  const hasCost = new Map<string, boolean>()
  for (const [key, settings] of Object.entries(given)) {
    const peer = ADAPTERS[key]
    if (!peer) continue
    const { origin, pathname } = new URL(settings.url)
    const logins = []
    for (let login = 0; login < SESSIONS; login++) logins.push(await peer.login(settings))
    stage.progress(`${peer.name}: ${SESSIONS} sessions`)
    const processes = (settings.processIds ?? []).map((processId) => ({ processId }))
    for (const what of ['refresh', 'look', 'keys'] as const) {
      if (what === 'keys' ? !peer.keysPath : !peer[what]) continue
      const basePath = pathname.replace(/\/$/, '')
      const operation: OperationOptions = { name: 'peer', key, what, settings, basePath, logins }
      turns[`${peer.name}: ${what}`] = () => stage.turn(load(origin, operation), ...processes)
      hasCost.set(`${peer.name}: ${what}`, processes.length > 0)
    }
  }
  const results: RunningPeersTurns = {}
  for (let round = 1; round <= (stage.isQuick ? 1 : 3); round++)
    for (const [name, take] of Object.entries(turns)) {
      const turn = await take()
      results[name] ??= { turns: [], hasCost: hasCost.get(name) ?? true }
      results[name].turns.push(turn)
      const { errors = 0, errorSamples = [] } = turn.load ?? {}
      stage.progress(`${name}: ${turn.perSecond.toFixed(0)}/s, ${errors} errors ${errorSamples.join(' | ')}`)
    }
  await module.stop()
  return results
}
