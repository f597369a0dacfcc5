/** Three PostgreSQL servers under Patroni, which keeps its mind in etcd: one leads, two follow. */
import { execFileSync } from 'node:child_process'
import { realpathSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { findPostgres, freePort } from '../support/cluster.ts'
import { until } from '../support/wait.ts'
import { freezeAll, killAll, type Machine, processesIn, signal } from './machine.ts'
import type { Network } from './network.ts'

/** Seconds after which a leader that is silent is no leader any more. */
const TTL_SECONDS = 20
const LOOPBACK = '127.0.0.1'
const SCOPE = 'cerrojo'
/** Far longer than any of it takes, and each look asks three servers. */
const PATIENCE = { withinMs: 120_000, everyMs: 200 }

export interface Member {
  name: string
  address: string
  port: number
  restUrl: string
  /** In which Patroni and its PostgreSQL work. */
  folder: string
  /** Of the maintenance database, past all networks, for a superuser. */
  socketUrl: string
  /** The words before a command that is to run where it runs. */
  enter: string[]
}

export interface Patroni {
  members: Member[]
  /** Waits until one member leads and all others follow it, one of them in step where replication is synchronous. */
  whole(): Promise<void>
  /** Hands the lead over to a follower. */
  switchover(): Promise<void>
  /** Restarts the PostgreSQL of each member, the leader's last. */
  restartEach(): Promise<void>
  /** Kills the leader's PostgreSQL and Patroni at once. */
  killLeader(): Promise<Member>
  /** Cuts the leader off from everything: connections to it hang. */
  cutLeader(): Promise<Member>
  /** Connects it again. */
  reconnect(member: Member): void
  /** Stops what sends the leader's changes to the followers. */
  stallReplication(): Promise<void>
  /** Waits until another member than this one leads. */
  successorOf(leader: Member): Promise<void>
  /** Starts it again. */
  bringBack(member: Member): void
  /** Puts a base backup in place of all data, as operators do: on the leader, from which the others clone theirs. */
  restore(backup: string): Promise<void>
  /** From now on the leader waits for no follower. */
  replicateAsynchronously(): Promise<void>
}

function replication(isSynchronous: boolean) {
  return { synchronous_mode: isSynchronous, synchronous_mode_strict: isSynchronous }
}

interface Status {
  name: string
  role: string
  state: string
  timeline?: number
}

/** @param network none: all is on the loopback address, and who is cut off is stopped */
export async function startPatroni(machine: Machine, network: Network | undefined): Promise<Patroni> {
  const home = { address: LOOPBACK, enter: [] }
  const { address: etcdAddress } = network ?? home
  const etcdUrl = `http://${etcdAddress}:${await freePort()}`
  const peerUrl = `http://${etcdAddress}:${await freePort()}`
  const etcd = {
    'data-dir': machine.makeFolder('etcd/data'),
    'listen-client-urls': etcdUrl,
    'advertise-client-urls': etcdUrl,
    'listen-peer-urls': peerUrl,
    'initial-advertise-peer-urls': peerUrl,
    'initial-cluster': `default=${peerUrl}`,
  }
  machine.start(
    'etcd',
    'etcd',
    Object.entries(etcd).map(([name, value]) => `--${name}=${value}`),
  )

  const members: Member[] = []
  let isSynchronous = true
  for (const name of ['ada', 'bea', 'cat']) {
    const { address, enter } = network?.join(name) ?? home
    const [port, restPort, folder] = [await freePort(), await freePort(), machine.makeFolder(name)]
    const socketUrl = `postgres://postgres@/postgres?host=${folder}&port=${port}`
    members.push({ name, address, port, restUrl: `http://${address}:${restPort}`, folder, socketUrl, enter })
  }
  for (const member of members) {
    // YAML is what it reads, and JSON is YAML.
    writeFileSync(configurationFileOf(member), JSON.stringify(configurationOf(member, new URL(etcdUrl).host)))
    start(member)
  }

  function start(member: Member): void {
    const { name, enter } = member
    const options = enter.length > 0 ? {} : undefined // who enters becomes PostgreSQL's user there
    machine.start(name, 'env', [...enter, 'patroni', configurationFileOf(member)], options)
  }

  /** Stops Patroni, and with it PostgreSQL. */
  async function stop({ name, folder }: Member): Promise<void> {
    for (const { id, title } of processesIn(folder)) if (title.includes('patroni.yml')) signal(id, 'SIGTERM')
    await until(`${name} to stop`, () => processesIn(folder).length === 0, PATIENCE)
  }

  /** Of all members, as any of them that answers sees it. */
  async function statuses(): Promise<Status[]> {
    const answers = members.map(async ({ restUrl }) => {
      const response = await fetch(`${restUrl}/cluster`, { signal: AbortSignal.timeout(2000) })
      return ((await response.json()) as { members: Status[] }).members
    })
    return Promise.any(answers).catch(() => [])
  }

  async function leader(): Promise<Member> {
    const name = (await statuses()).find(({ role }) => role === 'leader')?.name
    const found = members.find((member) => member.name === name)
    if (!found) throw new Error('Patroni has no leader')
    return found
  }

  async function tell(member: Member, method: string, path: string, body: object): Promise<void> {
    const answer = await fetch(member.restUrl + path, { method, body: JSON.stringify(body) })
    if (!answer.ok) throw new Error(`Patroni's ${path} answered ${answer.status}: ${await answer.text()}`)
  }

  const patroni: Patroni = {
    members,
    whole: () =>
      until(
        'one leader and two followers',
        async () => {
          const all = await statuses()
          const first = all.find(({ role }) => role === 'leader')
          const isRunning = ({ state, timeline }: Status) =>
            /^(running|streaming)$/.test(state) && timeline === first?.timeline
          return (
            first &&
            all.filter(isRunning).length === members.length &&
            all.some(({ role }) => role === 'sync_standby') === isSynchronous
          )
        },
        PATIENCE,
      ),
    async switchover() {
      const former = await leader()
      await tell(former, 'POST', '/switchover', { leader: former.name })
    },
    async restartEach() {
      const last = await leader()
      for (const member of [...members.filter((member) => member !== last), last]) {
        await tell(member, 'POST', '/restart', {})
        await patroni.whole()
      }
    },
    async killLeader() {
      const former = await leader()
      killAll(former.folder)
      return former
    },
    async cutLeader() {
      const former = await leader()
      if (network) network.cut(former.name)
      else freezeAll(former.folder)
      return former
    },
    reconnect(member) {
      if (network) network.mend(member.name)
      // Woken, Patroni 3.0.2 takes the lead back (patroni/patroni#2689); a watchdog resets it, as this does.
      else patroni.bringBack(member)
    },
    async stallReplication() {
      const senders = processesIn((await leader()).folder).filter(({ title }) => title.includes('walsender'))
      if (senders.length !== members.length - 1) throw new Error(`${senders.length} members follow the leader`)
      for (const { id } of senders) signal(id, 'SIGSTOP')
    },
    successorOf: (former) =>
      until(
        'a new leader',
        async () => {
          const found = await leader().catch(() => undefined)
          return found && found !== former
        },
        PATIENCE,
      ),
    bringBack(member) {
      killAll(member.folder)
      start(member)
    },
    async restore(backup) {
      const first = await leader()
      const others = members.filter((member) => member !== first)
      await Promise.all(others.map(stop))
      await stop(first)
      // It would not lead from behind of what Patroni remembers.
      const remove = ['-c', configurationFileOf(first), 'remove', SCOPE]
      execFileSync('patronictl', remove, { input: `${SCOPE}\nYes I am aware\n` })
      for (const { folder } of members) rmSync(dataOf(folder), { recursive: true })
      renameSync(backup, dataOf(first.folder))
      start(first)
      await until('the backup to lead', () => leader().catch(() => undefined), PATIENCE)
      for (const member of others) start(member)
    },
    async replicateAsynchronously() {
      isSynchronous = false
      await tell(await leader(), 'PATCH', '/config', replication(isSynchronous))
      await patroni.whole()
    },
  }
  await patroni.whole()
  return patroni
}

/** Where all programs of PostgreSQL are, and not only links to some. */
export function postgresFolder(): string {
  return dirname(realpathSync(join(findPostgres() as string, 'postgres')))
}

function dataOf(folder: string): string {
  return join(folder, 'data')
}

function configurationFileOf({ folder }: Member): string {
  return join(folder, 'patroni.yml')
}

function configurationOf({ name, address, port, restUrl, folder }: Member, etcdHost: string) {
  const restHost = new URL(restUrl).host
  return {
    scope: SCOPE,
    name,
    etcd3: { host: etcdHost },
    restapi: { listen: restHost, connect_address: restHost },
    bootstrap: {
      dcs: {
        ttl: TTL_SECONDS,
        loop_wait: 4,
        retry_timeout: 8,
        maximum_lag_on_failover: 1024 ** 3,
        ...replication(true),
        postgresql: { use_pg_rewind: true, parameters: { max_connections: 100 } },
      },
      initdb: [{ encoding: 'UTF8' }, { locale: 'C' }],
    },
    postgresql: {
      listen: `${address}:${port}`,
      connect_address: `${address}:${port}`,
      data_dir: dataOf(folder),
      bin_dir: postgresFolder(),
      pgpass: join(folder, 'pgpass'),
      use_unix_socket: true,
      authentication: { superuser: { username: 'postgres' }, replication: { username: 'replicator' } },
      pg_hba: ['local all all trust', 'host all all samenet trust', 'host replication all samenet trust'],
      parameters: { unix_socket_directories: folder },
    },
  }
}
