/**
 * A PostgreSQL cluster that fails in every way that it is known to, under three nodes, and clients that remember what
 * they were told: `npm run test:cluster`, or with `-- --short` a part of it in less than three minutes. Linux alone.
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { promisify } from 'node:util'
import { printTable } from '../../cli/keys.ts'
import { decodeJson } from '../support/jose_by_hand.ts'
import { until } from '../support/wait.ts'
import { NOTHING } from './losses.ts'
import { type Machine, openMachine } from './machine.ts'
import { postgresFolder } from './patroni.ts'
import { missingPackages, openStage, type Stage } from './stage.ts'
import { type Outcome, type Trial, tryTurn } from './trial.ts'

const isShort = process.argv.includes('--short')
const missing = missingPackages()
const TIMEOUT_MS = 240_000
/** For which nobody may be served longer than the database takes no writes. */
const MOST_SECONDS_MORE = 15

let machine: Machine
let stage: Stage
const table: Record<string, string>[] = []

interface Turn {
  isLong?: boolean
  /** Whether the database forgets, so that only who still stands in it must be served. */
  isSetBack?: boolean
}

function turn(name: string, { isLong, isSetBack }: Turn, fail: (trial: Trial) => Promise<void>): void {
  const options = { timeout: TIMEOUT_MS, skip: isLong && isShort && 'not in the short form' }
  test(name, options, async (context) => {
    const outcome = await tryTurn(stage, context.signal, fail)
    table.push(lineOf(name, outcome))
    context.diagnostic(JSON.stringify(outcome))

    const { losses, toldAhead, noWrite, noRefresh } = outcome
    const { wrongRefusals, strangeAnswers } = losses
    assert.deepEqual(isSetBack ? { ...NOTHING, wrongRefusals, strangeAnswers } : losses, NOTHING)
    if (isSetBack) assert.ok(losses.lostRotations > 0 && toldAhead > 0, 'rotations were lost, and the log tells it')
    assert.ok(
      noRefresh <= noWrite + MOST_SECONDS_MORE,
      `${noRefresh} s without a refresh, ${noWrite} s without a write`,
    )
  })
}

function lineOf(turn: string, { losses, ...outcome }: Outcome): Record<string, string> {
  const line = {
    turn,
    granted: outcome.granted,
    'got 503': outcome.unavailable,
    'cut off': outcome.cutOff,
    'no write': `${outcome.noWrite} s`,
    'no refresh': `${outcome.noRefresh} s`,
    'no look': `${outcome.noLook} s`,
    'of a node': `${outcome.ofOneNode} s`,
    'lost: users': losses.lostUsers,
    sessions: losses.lostSessions,
    rotations: losses.lostRotations,
    logouts: losses.lostLogouts,
    'wrong 401': losses.wrongRefusals.length,
    'no reason': losses.strangeAnswers.length,
  }
  return Object.fromEntries(Object.entries(line).map(([column, value]) => [column, String(value)]))
}

suite('a cluster', { skip: missing.length > 0 && `missing: apt-get install ${missing.join(' ')}` }, () => {
  before(
    async () => {
      machine = openMachine()
      stage = await openStage(machine)
    },
    { timeout: TIMEOUT_MS },
  )
  after(() => {
    machine.close()
    if (table[0]) printTable(Object.keys(table[0]), table)
  })

  turn('hands the lead over while keys rotate', {}, async ({ patroni, nodes, memory }) => {
    const kidOf = () => decodeJson(memory.sessions.at(-1)?.accessToken.split('.')[0] as string).kid
    const kid = kidOf()
    await nodes.rotateKeys()
    await patroni.switchover()
    await patroni.whole()
    await until('a token of the next keys', () => kidOf() !== kid)
  })

  turn('loses its leader to a crash', {}, async ({ patroni }) => {
    const former = await patroni.killLeader()
    await patroni.successorOf(former)
    patroni.bringBack(former)
    await patroni.whole()
  })

  turn('is put back to a backup', { isLong: true, isSetBack: true }, async (trial) => {
    const { nodes, databaseUrl, seen } = trial
    const file = join(trial.machine.folder, 'backup')
    const pg = (program: string, ...words: string[]) => promisify(execFile)(join(postgresFolder(), program), words)
    await pg('pg_dump', '--format=custom', `--file=${file}`, databaseUrl)
    await seen()
    await Promise.all(nodes.all.map((node) => node.stop('SIGTERM')))
    await trial.createDatabase()
    await pg('pg_restore', `--dbname=${databaseUrl}`, file)
    await Promise.all(nodes.all.map((node) => node.start()))
  })

  turn('loses its leader without a word', { isLong: true }, async ({ patroni, served }) => {
    const former = await patroni.cutLeader()
    await patroni.successorOf(former)
    await served()
    patroni.bringBack(former)
    await patroni.whole()
  })

  turn('loses its leader behind a proxy that keeps what hangs', { isLong: true }, async (trial) => {
    const { patroni, proxy, served } = trial
    await proxy.restart(false)
    await served()
    const former = await patroni.cutLeader()
    await patroni.successorOf(former)
    await served()
    patroni.bringBack(former)
    await patroni.whole()
    await proxy.restart(true)
  })

  turn('restarts each of its servers', { isLong: true }, ({ patroni }) => patroni.restartEach())

  turn('goes on while nodes are killed and restarted', { isLong: true }, async ({ nodes, served }) => {
    for (const ending of ['SIGKILL', 'SIGTERM'] as const)
      for (const node of nodes.all) {
        await node.stop(ending)
        await node.start()
        await served()
      }
  })

  turn('loses its leader two seconds ahead of the others', { isSetBack: true }, async ({ patroni, seen }) => {
    await patroni.replicateAsynchronously()
    await seen()
    await patroni.stallReplication()
    await pause(2000)
    const former = await patroni.killLeader()
    await patroni.successorOf(former)
    patroni.bringBack(former)
    await patroni.whole()
  })
})
