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
import { type Findings, findings } from './findings.ts'
import { type HaProxy, startHaProxy } from './haproxy.ts'
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
  } finally {
    goesOn = false
    await Promise.all([clients, probe.stop()])
  }
  const answers = [...memory.answers]
  const found = await findings(databaseUrl, client, memory)
  const ahead = nodes
    .events()
    .slice(eventsBefore)
    .filter(({ event }) => event === 'token.refresh.ahead').length

  const countOf = (isMeant: (status: number) => boolean) => answers.filter(({ status = 0 }) => isMeant(status)).length
  const gapOf = (wanted: Request, nodeName?: string) =>
    longestGap(
      answers
        .filter(({ request, status, node }) => request === wanted && status === 200 && node === (nodeName ?? node))
        .map(({ atMs }) => atMs),
    )
  const worstNode = (wanted: Request) => Math.max(...nodes.all.map(({ name }) => gapOf(wanted, name)))
  const seconds = { writes: longestGap(probe.timesMs), refreshes: gapOf('refresh') }
  table.push({
    turn: context.name,
    granted: String(countOf((status) => status >= 200 && status < 300)),
    '503': String(countOf((status) => status === 503)),
    'cut off': String(countOf((status) => status === 0)),
    'no write': `${seconds.writes} s`,
    'no refresh': `${seconds.refreshes} s`,
    'one node': `${worstNode('refresh')} s`,
    'no look': `${gapOf('look')} s`,
    'one node ': `${worstNode('look')} s`,
    lost: `${found.lostUsers}+${found.lostSessions}+${found.lostRotations}+${found.lostLogouts}`,
    'wrong 401': String(found.wrongRefusals.length),
    others: String(found.strangeAnswers.length),
  })
  context.diagnostic(JSON.stringify(table.at(-1)))

  if (isSetBack) {
    assert.deepEqual({ ...KEPT, wrongRefusals: found.wrongRefusals, strangeAnswers: found.strangeAnswers }, KEPT)
    assert.ok(found.lostRotations > 0, 'something was lost')
    assert.ok(ahead > 0, 'the log tells that the database was behind')
  } else assert.deepEqual(found, KEPT)
  assert.ok(seconds.refreshes <= seconds.writes + MOST_SECONDS_MORE, JSON.stringify(seconds))
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
    await patroni.bringBack(former)
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
    await patroni.bringBack(former)
    await patroni.whole()
  })

  turn('loses its leader behind a proxy that keeps what hangs', { isLong: true }, async () => {
    await proxy.restart(false)
    await served()
    const former = await patroni.cutLeader()
    await patroni.successorOf(former)
    await served()
    await patroni.bringBack(former)
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
    await patroni.bringBack(former)
    await patroni.whole()
  })
})
