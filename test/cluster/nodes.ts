/** Three nodes of Cerrojo, which have nothing but the address of the database and the secret in common. */
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { freePort } from '../support/cluster.ts'
import type { Json } from '../support/jose_by_hand.ts'
import { call, DEFAULTS, type Server } from '../support/server.ts'
import { until } from '../support/wait.ts'
import { type Machine, processesIn, signal } from './machine.ts'

const ROOT = join(import.meta.dirname, '../..')

export interface Node extends Server {
  name: string
  start(): Promise<void>
  /** Waits for its end. */
  stop(how: 'SIGTERM' | 'SIGKILL'): Promise<void>
}

export interface Nodes {
  all: Node[]
  startAll(): Promise<void>
  /** With SIGTERM. */
  stopAll(): Promise<void>
  /** `cerrojo keys rotate`: the next keys come into use by themselves some seconds later. */
  rotateKeys(): Promise<void>
  /** The events that all of them have logged so far, at warn and above. */
  events(): Json[]
}

/** All clients have one address, keys live for seconds, and one connection that is lost takes all looks with it. */
const SETTINGS = {
  ...DEFAULTS,
  DATABASE_POOL_SIZE: '4',
  AUTH_JWKS_CACHE_TTL_SEC: '2',
  AUTH_KEY_LEAD_DAYS: String(5 / (24 * 60 * 60)),
}

export async function startNodes(machine: Machine, databaseUrl: string): Promise<Nodes> {
  const env: Record<string, string> = {
    ...SETTINGS,
    DATABASE_URL: databaseUrl,
    AUTH_KEYS_SECRET: randomBytes(32).toString('base64url'),
    AUTH_DATA_DIR: '/dev/null/data', // which can neither be made nor written to
  }
  const ports = [await freePort(), await freePort(), await freePort()]
  const all = ports.map((port, index) => createNode(machine, `node-${index + 1}`, { ...env, PORT: String(port) }))
  const linesOf = ({ name }: Node) =>
    machine
      .log(name)
      .split('\n')
      .filter((line) => /^\{.*\}$/.test(line))
  const nodes: Nodes = {
    all,
    async startAll() {
      await Promise.all(all.map((node) => node.start()))
    },
    async stopAll() {
      await Promise.all(all.map((node) => node.stop('SIGTERM')))
    },
    async rotateKeys() {
      const command = [join(ROOT, 'cli/cerrojo.ts'), 'keys', 'rotate']
      await promisify(execFile)(process.execPath, command, { env: { PATH: process.env.PATH, ...env } })
    },
    events: () => all.flatMap(linesOf).map((line) => JSON.parse(line)),
  }
  await nodes.startAll()
  return nodes
}

function createNode(machine: Machine, name: string, env: Record<string, string>): Node {
  const url = `http://127.0.0.1:${env.PORT}`
  const folder = machine.makeFolder(name)
  let ended: Promise<void> | undefined
  const ask: Node['call'] = (...rest) => call(url, ...rest)
  return {
    name,
    url,
    env,
    call: ask,
    async start() {
      ended = machine.start(name, process.execPath, [join(ROOT, 'src/main.ts')], { env })
      await until(`${name} to listen`, () => ask('GET', '/.well-known/jwks.json').catch(() => undefined))
    },
    async stop(how) {
      for (const { id } of processesIn(folder)) signal(id, how)
      await ended
    },
  }
}
