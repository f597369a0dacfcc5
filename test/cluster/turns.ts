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
import { printTable } from '../../cli/results.ts'
import { postgresUser } from '../support/cluster.ts'
import { decodeJson } from '../support/jose_by_hand.ts'
import { until } from '../support/wait.ts'
import { NOTHING } from './losses.ts'
import { type Machine, openMachine } from './machine.ts'
import { enterNetwork } from './network.ts'
import { postgresFolder } from './patroni.ts'
import { startProbe } from './probe.ts'
import { missingPackages, openStage, type Stage } from './stage.ts'
import { type Outcome, type Trial, tryTurn } from './trial.ts'

const isShort = process.argv.includes('--short')
const missing = missingPackages()
const network = missing.length === 0 ? enterNetwork() : undefined
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
  /** Whether the nodes are stopped meanwhile, as an operator stops them, so that nobody can be served. */
  isClosed?: boolean
}

function turn(name: string, { isLong, isSetBack, isClosed }: Turn, fail: (trial: Trial) => Promise<void>): void {
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
      isClosed || noRefresh <= noWrite + MOST_SECONDS_MORE,
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

async function pg(program: string, ...words: string[]): Promise<void> {
  await promisify(execFile)(join(postgresFolder(), program), words, postgresUser())
}

/** A leader that is cut off does not know that it leads no more: meanwhile it may take writes, but must answer none. */
async function loseUnheard({ patroni, served }: Trial): Promise<void> {
  const former = await patroni.cutLeader()
  const probe = startProbe(former.socketUrl)
  try {
    await patroni.successorOf(former)
    await served()
  } finally {
    await probe.stop()
  }
  assert.equal(probe.timesMs.length, 0, 'writes that the former leader answered')
  patroni.reconnect(former)
  await patroni.whole()
}

suite('a cluster', { skip: missing.length > 0 && `missing: apt-get install ${missing.join(' ')}` }, () => {
  before(
    async () => {
      machine = openMachine()
      stage = await openStage(machine, network)
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

  turn('is put back to a dump', { isLong: true, isSetBack: true, isClosed: true }, async (trial) => {
    const { nodes, databaseUrl, seen } = trial
    const dump = join(trial.machine.folder, 'dump')
    await pg('pg_dump', '--format=custom', `--file=${dump}`, databaseUrl)
    await seen()
    await nodes.stopAll()
    await trial.createDatabase()
    await pg('pg_restore', `--dbname=${databaseUrl}`, dump)
    await nodes.startAll()
  })

  turn('is put back to a backup', { isLong: true, isSetBack: true, isClosed: true }, async (trial) => {
    const { nodes, patroni, adminUrl, seen } = trial
    const backup = join(trial.machine.folder, 'backup')
    await pg('pg_basebackup', '--checkpoint=fast', `--pgdata=${backup}`, `--dbname=${adminUrl}`)
    await seen()
    await nodes.stopAll()
    await patroni.restore(backup)
    await patroni.whole()
    await nodes.startAll()
  })

  turn('loses its leader without a word', { isLong: true }, loseUnheard)

  turn('loses its leader behind a proxy that keeps what hangs', { isLong: true }, async (trial) => {
    await trial.proxy.restart(false)
    await trial.served()
    await loseUnheard(trial)
    await trial.proxy.restart(true)
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
