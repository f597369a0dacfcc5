/** HAProxy in front of the three servers: whoever connects gets the leader, as Patroni's documentation advises. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { freePort } from '../support/cluster.ts'
import { until } from '../support/wait.ts'
import { killAll, type Machine } from './machine.ts'
import type { Member } from './patroni.ts'

export interface HaProxy {
  /** Of a database of the leader. */
  urlOf(user: string, database: string): string
  /** @param closesLost whether it closes the connections to a server that does not answer its checks any more */
  restart(closesLost: boolean): Promise<void>
}

export async function startHaProxy(machine: Machine, members: Member[]): Promise<HaProxy> {
  const port = await freePort()
  const folder = machine.makeFolder('haproxy')
  let ended: Promise<unknown> | undefined

  async function restart(closesLost: boolean): Promise<void> {
    killAll(folder)
    await ended
    writeFileSync(join(folder, 'haproxy.cfg'), configurationOf(port, members, closesLost))
    const before = machine.log('haproxy').length
    ended = machine.start('haproxy', '/usr/sbin/haproxy', ['-db', '-f', join(folder, 'haproxy.cfg')])
    // Until it has checked them, it takes all for leaders.
    const followers = () =>
      machine
        .log('haproxy')
        .slice(before)
        .match(/is DOWN/g)?.length
    await until('HAProxy to know who follows', () => followers() === members.length - 1)
  }
  await restart(true)
  return { urlOf: (user, database) => `postgres://${user}@127.0.0.1:${port}/${database}`, restart }
}

function configurationOf(port: number, members: Member[], closesLost: boolean): string {
  const servers = members.map(
    (member) => `  server ${member.name} ${member.address}:${member.port} check port ${new URL(member.restUrl).port}`,
  )
  return `
defaults
  mode tcp
  timeout connect 2s
  timeout client 1h
  timeout server 1h
  timeout check 1s
listen leader
  bind 127.0.0.1:${port}
  option httpchk OPTIONS /primary
  http-check expect status 200
  default-server inter 1s fall 2 rise 1 ${closesLost ? 'on-marked-down shutdown-sessions' : ''}
${servers.join('\n')}
`
}
