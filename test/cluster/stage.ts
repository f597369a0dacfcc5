/** All of it together: the servers, HAProxy in front of them, and the nodes behind that. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { findPostgres } from '../support/cluster.ts'
import { runSql } from '../support/server.ts'
import { type HaProxy, startHaProxy } from './haproxy.ts'
import type { Machine } from './machine.ts'
import type { Network } from './network.ts'
import { type Nodes, startNodes } from './nodes.ts'
import { type Patroni, startPatroni } from './patroni.ts'

export interface Stage {
  machine: Machine
  patroni: Patroni
  proxy: HaProxy
  nodes: Nodes
  /** Of the nodes' database, as they have it. */
  databaseUrl: string
  /** Of the maintenance database, for a superuser. */
  adminUrl: string
  /** Makes the nodes' database, with nothing in it. */
  createDatabase(): Promise<void>
}

export async function openStage(machine: Machine, network: Network | undefined): Promise<Stage> {
  const patroni = await startPatroni(machine, network)
  const proxy = await startHaProxy(machine, patroni.members)
  const adminUrl = proxy.urlOf('postgres', 'postgres')
  const databaseUrl = proxy.urlOf('cerrojo', 'cerrojo')
  const administer = (sql: string) => runSql({ DATABASE_URL: adminUrl }, sql)
  await administer('create role cerrojo login')
  await administer('create table probes (at timestamptz default now())')
  const createDatabase = async () => {
    await administer('drop database if exists cerrojo with (force)')
    await administer('create database cerrojo owner cerrojo')
  }
  await createDatabase()
  const nodes = await startNodes(machine, databaseUrl)
  return { machine, patroni, proxy, nodes, databaseUrl, adminUrl, createDatabase }
}

/** @returns what is missing here, by the names of Debian's packages */
export function missingPackages(): string[] {
  const isInstalled = (program: string) =>
    ['/usr/sbin', ...(process.env.PATH ?? '').split(':')].some((folder) => existsSync(join(folder, program)))
  const needed = { patroni: 'patroni', etcd: 'etcd-server', haproxy: 'haproxy', ip: 'iproute2' }
  const missing = Object.entries(needed)
    .filter(([program]) => !isInstalled(program))
    .map(([, name]) => name)
  return findPostgres() ? missing : ['postgresql', ...missing]
}
