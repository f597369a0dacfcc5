/**
 * A PostgreSQL cluster that fails in every way there is, under three nodes and clients that remember what they were told:
 * `npm run test:cluster`, or with `-- --short` a part of it in three minutes. Needs Debian's packages patroni, etcd-server,
 * haproxy and postgresql.
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { after, before, suite, type TestContext, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { promisify } from 'node:util'
import { printTable } from '../../cli/keys.ts'
import { decodeJson } from '../support/jose_by_hand.ts'
import { runSql } from '../support/server.ts'
import { until } from '../support/wait.ts'
import { createClient, type Memory, type Request, runClients } from './clients.ts'
import { type HaProxy, startHaProxy } from './haproxy.ts'
import { type Findings, findLosses } from './losses.ts'
import { type Machine, openMachine } from './machine.ts'
import { type Node, type Nodes, startNodes } from './nodes.ts'
import { missingPackages, type Patroni, postgresFolder, startPatroni } from './patroni.ts'
import { longestGap, startProbe } from './probe.ts'

const isShort = process.argv.includes('--short')
const missing = missingPackages()
const TURN_TIMEOUT_MS = 240_000
/** Answers that show that all is at work. */
const WARM = 300
/** For which nobody may be served longer than the database takes no writes. */
const MOST_SECONDS_MORE = 15

let machine: Machine
let patroni: Patroni
let proxy: HaProxy
let nodes: Nodes
let databaseUrl: string
let adminUrl: string
let memory: Memory
const table: Record<string, string>[] = []

const seen = (count: number) => until('answers', () => memory.answers.length >= count)

/** Waits until every node, from now on, has served a refresh and a look. */
async function served(): Promise<void> {
  const sinceMs = performance.now()
  const isServed = (node: Node, wanted: Request) =>
    memory.answers.some(
      (answer) =>
        answer.atMs > sinceMs && answer.node === node.name && answer.request === wanted && answer.status === 200,
    )
  for (const node of nodes.all)
    for (const wanted of ['refresh', 'look'] as const)
      await until(`a ${wanted} from ${node.name}`, () => isServed(node, wanted))
}

const KEPT: Findings = {
  lostUsers: 0,
  lostSessions: 0,
  lostRotations: 0,
  lostLogouts: 0,
  wrongRefusals: [],
  strangeAnswers: [],
}

async function takeTurn(context: TestContext, isSetBack: boolean, fail: () => Promise<void>): Promise<void> {
  memory = { registered: [], sessions: [], answers: [] }
  const client = createClient(nodes.all, memory, context.signal)
  const probe = await startProbe(adminUrl)
  const eventsBefore = nodes.events().length
  let goesOn = true
  const clients = runClients(client, () => goesOn)
  try {
    await Promise.race([clients, seen(WARM).then(fail).then(served)])
  } catch (error) {
    context.diagnostic(machine.lastLines())
    throw error
  } finally {
    goesOn = false
    await Promise.all([clients, probe.stop()])
  }
  const answers = [...memory.answers]
  const found = await findLosses(databaseUrl, client, memory)
  const ahead = nodes
    .events()
    .slice(eventsBefore)
    .filter(({ event }) => event === 'token.refresh.ahead').length

  const countOf = (isMeant: (status: number) => boolean) => answers.filter(({ status = 0 }) => isMeant(status)).length
  const gapOf = (wanted: Request, { name }: { name?: string } = {}) => {
    const isMeant = ({ request, status, node }: (typeof answers)[number]) =>
      request === wanted && status === 200 && node === (name ?? node)
    return longestGap(answers.filter(isMeant).map(({ atMs }) => atMs))
  }
  const seconds = { noWrite: longestGap(probe.timesMs), noRefresh: gapOf('refresh'), noLook: gapOf('look') }
  const line = {
    turn: context.name,
    granted: countOf((status) => status >= 200 && status < 300),
    'got 503': countOf((status) => status === 503),
    'cut off': countOf((status) => status === 0),
    'no write': `${seconds.noWrite} s`,
    'no refresh': `${seconds.noRefresh} s`,
    'no look': `${seconds.noLook} s`,
    'of a node': `${Math.max(...nodes.all.flatMap((node) => [gapOf('refresh', node), gapOf('look', node)]))} s`,
    'users lost': found.lostUsers,
    sessions: found.lostSessions,
    rotations: found.lostRotations,
    logouts: found.lostLogouts,
    'wrong 401': found.wrongRefusals.length,
    'other than these': found.strangeAnswers.length,
  }
  table.push(Object.fromEntries(Object.entries(line).map(([column, value]) => [column, String(value)])))
  context.diagnostic(JSON.stringify(line))

  const { wrongRefusals, strangeAnswers } = found
  assert.deepEqual(isSetBack ? { ...KEPT, wrongRefusals, strangeAnswers } : found, KEPT)
  if (isSetBack) assert.ok(found.lostRotations > 0 && ahead > 0, 'rotations were lost, and the log tells it')
  assert.ok(seconds.noRefresh <= seconds.noWrite + MOST_SECONDS_MORE, JSON.stringify(seconds))
}

interface Turn {
  isLong?: boolean
  /** Whether the database forgets, so that only who still stands in it must be served. */
  isSetBack?: boolean
}

function turn(name: string, { isLong = false, isSetBack = false }: Turn, fail: () => Promise<void>): void {
  const options = { timeout: TURN_TIMEOUT_MS, skip: isLong && isShort && 'not in the short form' }
  test(name, options, (context) => takeTurn(context, isSetBack, fail))
}

suite('a cluster', { skip: missing.length > 0 && `missing: apt-get install ${missing.join(' ')}` }, () => {
  before(
    async () => {
      machine = openMachine()
      patroni = await startPatroni(machine)
      proxy = await startHaProxy(machine, patroni.members)
      adminUrl = proxy.urlOf('postgres', 'postgres')
      databaseUrl = proxy.urlOf('cerrojo', 'cerrojo')
      await runSql({ DATABASE_URL: adminUrl }, 'create role cerrojo login')
      await runSql({ DATABASE_URL: adminUrl }, 'create database cerrojo owner cerrojo')
      nodes = await startNodes(machine, databaseUrl)
    },
    { timeout: TURN_TIMEOUT_MS },
  )
  after(() => {
    machine.close()
    if (table.length > 0) printTable(Object.keys(table[0] as object), table)
  })

  turn('hands the lead over while keys rotate', {}, async () => {
    const kidOf = () => decodeJson(memory.sessions.at(-1)?.accessToken.split('.')[0] as string).kid
    const kid = kidOf()
    await nodes.rotateKeys()
    await patroni.switchover()
    await patroni.whole()
    await until('a token of the next keys', () => kidOf() !== kid)
  })

  turn('loses its leader to a crash', {}, async () => {
    const former = await patroni.killLeader()
    await patroni.successorOf(former)
    patroni.bringBack(former)
    await patroni.whole()
  })

  turn('is put back to a backup', { isLong: true, isSetBack: true }, async () => {
    const file = join(machine.folder, 'backup')
    const pg = (program: string, ...words: string[]) => promisify(execFile)(join(postgresFolder(), program), words)
    await pg('pg_dump', '--format=custom', `--file=${file}`, databaseUrl)
    await seen(memory.answers.length + WARM)
    await Promise.all(nodes.all.map((node) => node.stop('SIGTERM')))
    await runSql({ DATABASE_URL: adminUrl }, 'drop database cerrojo with (force)')
    await runSql({ DATABASE_URL: adminUrl }, 'create database cerrojo owner cerrojo')
    await pg('pg_restore', `--dbname=${databaseUrl}`, file)
    await Promise.all(nodes.all.map((node) => node.start()))
  })

  turn('loses its leader without a word', { isLong: true }, async () => {
    const former = await patroni.cutLeader()
    await patroni.successorOf(former)
    await served()
    patroni.bringBack(former)
    await patroni.whole()
  })

  turn('loses its leader behind a proxy that keeps what hangs', { isLong: true }, async () => {
    await proxy.restart(false)
    await served()
    const former = await patroni.cutLeader()
    await patroni.successorOf(former)
    await served()
    patroni.bringBack(former)
    await patroni.whole()
    await proxy.restart(true)
  })

  turn('restarts each of its servers', { isLong: true }, () => patroni.restartEach())

  turn('goes on while nodes are killed and restarted', { isLong: true }, async () => {
    for (const ending of ['SIGKILL', 'SIGTERM'] as const)
      for (const node of nodes.all) {
        await node.stop(ending)
        await node.start()
        await served()
      }
  })

  turn('loses its leader two seconds ahead of the others', { isSetBack: true }, async () => {
    await patroni.replicate('asynchronously')
    await seen(memory.answers.length + WARM)
    await patroni.stallReplication()
    await pause(2000)
    const former = await patroni.killLeader()
    await patroni.successorOf(former)
    patroni.bringBack(former)
    await patroni.whole()
  })
})
