/**
 * A switch with a cable to each member, which can be pulled. It is made of network namespaces, so it is out of the
 * system's sight, and gone with the last process in it, however that ends.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { postgresUser } from '../support/cluster.ts'

const SUBNET = '10.0.0'
/** In the environment of a process that is in it. */
const MARK = 'CERROJO_TEST_NETWORK'
/** With a /run of its own, where `ip netns` keeps its notes. */
const SET_UP = `
  mount -t tmpfs tmpfs /run && ip link set lo up && ip link add switch type bridge &&
  ip address add ${SUBNET}.1/24 dev switch && ip link set switch up && exec "$@"`

export interface Network {
  /** Of all that is no member. */
  address: string
  /**
   * Plugs a member in.
   * @returns its address, and the words before a command that is to run there, as PostgreSQL's user
   */
  join(name: string): { address: string; enter: string[] }
  /** Pulls the member's cable: what is sent to it or by it is lost without a word, so connections hang. */
  cut(name: string): void
  mend(name: string): void
}

/**
 * Has this process start anew in a network of its own, and so returns only in there.
 * @returns undefined where the system permits none, which it says
 */
export function enterNetwork(): Network | undefined {
  if (process.env[MARK]) return createNetwork()
  const rights = process.getuid?.() === 0 ? [] : ['--user', '--map-current-user', '--keep-caps']
  const enter = [`${MARK}=yes`, 'unshare', ...rights, '--net', '--mount', 'sh', '-c', SET_UP, 'sh']
  const trial = spawnSync('env', [...enter, 'true'], { encoding: 'utf8' })
  if (trial.status === 0) {
    const self = [process.execPath, ...process.execArgv, ...process.argv.slice(1)]
    process.execve?.('/usr/bin/env', ['env', ...enter, ...self])
  }
  console.error(`No network can be made here, so a leader's processes are stopped and not cut off: ${trial.stderr}`)
  return undefined
}

function createNetwork(): Network {
  const ip = (words: string) => execFileSync('ip', words.split(' '))
  const { uid, gid } = postgresUser()
  let joined = 0
  return {
    address: `${SUBNET}.1`,
    join(name) {
      const address = `${SUBNET}.${++joined + 1}`
      ip(`netns add ${name}`)
      ip(`link add ${name} type veth peer name cable netns ${name}`)
      ip(`link set ${name} master switch up`)
      ip(`-n ${name} address add ${address}/24 dev cable`)
      for (const device of ['lo', 'cable']) ip(`-n ${name} link set ${device} up`)
      const become = uid ? [`--setuid=${uid}`, `--setgid=${gid}`] : []
      return { address, enter: ['nsenter', `--net=/run/netns/${name}`, ...become] }
    },
    cut: (name) => ip(`link set ${name} nomaster`),
    mend: (name) => ip(`link set ${name} master switch`),
  }
}
