/** One turn: clients at work, something fails, and what they remember is held against what is left. */
import { until } from '../support/wait.ts'
import { createClient, type Memory, type Request, runClients } from './clients.ts'
import { findLosses, type Losses } from './losses.ts'
import { longestGap, startProbe } from './probe.ts'
import type { Stage } from './stage.ts'

/** So many more answers show that all is at work. */
const MANY_ANSWERS = 300

export interface Trial extends Stage {
  memory: Memory
  /** Waits until the clients have got many more answers. */
  seen(): Promise<void>
  /** Waits until every node, from now on, has served a refresh and a look. */
  served(): Promise<void>
}

export interface Outcome {
  granted: number
  unavailable: number
  cutOff: number
  /** The longest time without a success, in seconds: of plain writes, of requests, and of a request to one node. */
  noWrite: number
  noRefresh: number
  noLook: number
  ofOneNode: number
  losses: Losses
  /** Lines of the log that tell of a token.refresh.ahead. */
  toldAhead: number
}

export async function tryTurn(
  stage: Stage,
  signal: AbortSignal,
  fail: (trial: Trial) => Promise<void>,
): Promise<Outcome> {
  const { machine, nodes, databaseUrl, adminUrl } = stage
  const memory: Memory = { registered: [], sessions: [], answers: [] }
  const grants = (wanted: Request, node?: string) =>
    memory.answers.filter(
      (answer) => answer.request === wanted && answer.status === 200 && answer.node === (node ?? answer.node),
    )
  async function seen(): Promise<void> {
    const enough = memory.answers.length + MANY_ANSWERS
    await until('answers', () => memory.answers.length >= enough)
  }
  async function served(): Promise<void> {
    const sinceMs = performance.now()
    for (const { name } of nodes.all)
      for (const wanted of ['refresh', 'look'] as const)
        await until(`a ${wanted} from ${name}`, () => grants(wanted, name).some(({ atMs }) => atMs > sinceMs))
  }

  await stage.patroni.whole()
  const eventsBefore = nodes.events().length
  const client = createClient(nodes.all, memory, signal)
  const probe = startProbe(adminUrl)
  let goesOn = true
  const clients = runClients(client, () => goesOn)
  try {
    await Promise.race([
      clients,
      seen()
        .then(() => fail({ ...stage, memory, seen, served }))
        .then(served),
    ])
  } catch (error) {
    console.error(machine.lastLines())
    throw error
  } finally {
    goesOn = false
    await Promise.all([clients, probe.stop()])
  }

  const countOf = (isMeant: (status: number) => boolean) =>
    memory.answers.filter(({ status = 0 }) => isMeant(status)).length
  const gapOf = (wanted: Request, node?: string) => longestGap(grants(wanted, node).map(({ atMs }) => atMs))
  return {
    granted: countOf((status) => status >= 200 && status < 300),
    unavailable: countOf((status) => status === 503),
    cutOff: countOf((status) => status === 0),
    noWrite: longestGap(probe.timesMs),
    noRefresh: gapOf('refresh'),
    noLook: gapOf('look'),
    ofOneNode: Math.max(...nodes.all.flatMap(({ name }) => [gapOf('refresh', name), gapOf('look', name)])),
    losses: await findLosses(databaseUrl, client, memory),
    toldAhead: nodes
      .events()
      .slice(eventsBefore)
      .filter(({ event }) => event === 'token.refresh.ahead').length,
  }
}
