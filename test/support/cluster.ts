/**
 * A throwaway PostgreSQL cluster of the system's own binaries, on a loopback port, run by a user that is not root. It
 * ends with this process, unless that is killed with SIGKILL.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import {
  appendFileSync,
  chownSync,
  existsSync,
  globSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import pg from 'pg'
import type { Certificate } from './certificates.ts'
import { atEnd } from './ending.ts'

export interface Cluster {
  /** Of the maintenance database. */
  url: string
  /** As a standby it is in recovery until it is promoted. */
  start(as?: { isStandby: boolean }): Promise<void>
  /** To all of its processes, without waiting. */
  signal(signal: 'SIGSTOP' | 'SIGCONT'): void
  /** `SIGINT` is PostgreSQL's fast shutdown, `SIGKILL` a crash of every one of its processes. */
  stop(signal: 'SIGINT' | 'SIGKILL'): Promise<void>
  remove(): Promise<void>
}

/** @returns the folder of initdb and postgres, or undefined when PostgreSQL is not installed */
export function findPostgres(): string | undefined {
  const folders = [...(process.env.PATH ?? '').split(':'), ...globSync('/usr/lib/postgresql/*/bin').sort().reverse()]
  return folders.find((folder) => existsSync(join(folder, 'initdb')) && existsSync(join(folder, 'postgres')))
}

/** @param certificate with which it offers TLS; none: it offers none */
export async function startCluster(certificate?: Certificate): Promise<Cluster> {
  const binaries = findPostgres()
  if (!binaries) throw new Error('PostgreSQL is not installed. On Debian: apt-get install postgresql')
  const folder = mkdtempSync(join(tmpdir(), 'cerrojo-cluster-'))
  const user = postgresUser()
  if (user.uid) chownSync(folder, user.uid, user.gid)
  const data = join(folder, 'data')
  const port = await freePort()
  const url = `postgres://cerrojo@127.0.0.1:${port}/postgres`
  let server: ChildProcess | undefined
  const isRunning = () => server?.pid && server.exitCode === null && server.signalCode === null
  const removeFolder = () => rmSync(folder, { recursive: true, force: true, maxRetries: 10 })
  const forget = atEnd(() => {
    if (isRunning()) {
      cluster.signal('SIGCONT') // who is stopped would not notice the end of its parent
      process.kill(server?.pid as number, 'SIGKILL')
    }
    removeFolder()
  })

  execFileSync(
    join(binaries, 'initdb'),
    ['--pgdata', data, '--username', 'cerrojo', '--auth', 'trust', '--encoding', 'UTF8', '--no-sync'],
    { ...user, cwd: folder, stdio: 'pipe' },
  )

  if (certificate) offerTls(data, certificate, user)

  const cluster: Cluster = {
    url,
    async start({ isStandby } = { isStandby: false }) {
      if (isStandby) writeFileSync(join(data, 'standby.signal'), '')
      const options = ['-c', 'listen_addresses=127.0.0.1', '-c', `port=${port}`, '-c', 'max_connections=200']
      server = spawn(join(binaries, 'postgres'), ['-D', data, ...options, '-c', 'unix_socket_directories='], {
        ...user,
        cwd: folder,
        stdio: 'ignore',
        detached: true, // a process group of its own, so that a crash can take all of it
      })
      while (!(await accepts(url))) {
        if (server.exitCode !== null) throw new Error(`postgres ended with ${server.exitCode}`)
        await pause(20)
      }
    },
    signal(signal) {
      for (const id of [server?.pid as number, ...childrenOf(server?.pid as number)]) process.kill(id, signal)
    },
    async stop(signal) {
      if (!server?.pid || !isRunning()) return
      const ended = new Promise((resolve) => server?.once('exit', resolve))
      process.kill(signal === 'SIGKILL' ? -server.pid : server.pid, signal)
      await ended
    },
    async remove() {
      await cluster.stop('SIGKILL')
      removeFolder()
      forget()
    },
  }
  await cluster.start()
  return cluster
}

/** PostgreSQL takes a private key that only its user may read. */
function offerTls(data: string, { certificate, key }: Certificate, user: ReturnType<typeof postgresUser>): void {
  writeFileSync(join(data, 'server.key'), readFileSync(key), { mode: 0o600 })
  if (user.uid) chownSync(join(data, 'server.key'), user.uid, user.gid)
  writeFileSync(join(data, 'server.crt'), readFileSync(certificate))
  appendFileSync(join(data, 'postgresql.conf'), 'ssl = on\n')
}

/** PostgreSQL gives each of its processes a group of its own. */
function childrenOf(parent: number): number[] {
  const isChild = (stat: string) => Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]) === parent
  return globSync('/proc/[0-9]*/stat').flatMap((path) => {
    try {
      return isChild(readFileSync(path, 'utf8')) ? [Number(path.split('/')[2])] : []
    } catch {
      return [] // it has ended meanwhile
    }
  })
}

/** Who runs what refuses to be run by root; nobody else where this is not root. */
export function postgresUser(): { uid: number; gid: number } | { uid?: undefined; gid?: undefined } {
  return process.getuid?.() === 0 ? { uid: userId('-u'), gid: userId('-g') } : {}
}

function userId(flag: '-u' | '-g'): number {
  return Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' }))
}

async function accepts(url: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: url })
  client.on('error', () => {})
  try {
    await client.connect()
    return true
  } catch {
    return false
  } finally {
    await client.end()
  }
}

/**
 * One that nobody else gets by chance before its server listens, or while that is away: systems hand out those from
 * 32768 on.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(10_000, 32_768)
    if (await isFree(port)) return port
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer()
    probe.once('error', () => resolve(false))
    probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)))
  })
}
