/** All of it together: the servers, HAProxy in front of them, and the nodes behind that. */
import { runSql } from '../support/server.ts'
import { type HaProxy, startHaProxy } from './haproxy.ts'
import type { Machine } from './machine.ts'
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

export async function openStage(machine: Machine): Promise<Stage> {
  const patroni = await startPatroni(machine)
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
