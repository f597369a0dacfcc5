/** PgBouncer, between the module and a PostgreSQL. */
import { spawn } from 'node:child_process'
import { chownSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after } from 'node:test'
import { freePort, postgresUser } from './cluster.ts'

/** @returns its program, or undefined when it is not installed */
export function findPooler(): string | undefined {
  return ['/usr/sbin/pgbouncer', '/usr/bin/pgbouncer'].find((path) => existsSync(path))
}

/**
 * In front of the cluster with that address, until the test file ends.
 * @returns the address of the same database, by way of it
 */
export async function startPooler(
  url: string,
  mode: 'session' | 'transaction',
  serverConnections: number,
): Promise<string> {
  const { port, pathname } = new URL(url)
  const folder = mkdtempSync(join(tmpdir(), 'cerrojo-pooler-'))
  const poolerPort = await freePort()
  writeFileSync(join(folder, 'users'), '"cerrojo" ""\n')
  writeFileSync(
    join(folder, 'ini'),
    `[databases]
     * = host=127.0.0.1 port=${port} user=cerrojo
     [pgbouncer]
     listen_addr = 127.0.0.1
     listen_port = ${poolerPort}
     unix_socket_dir =
     auth_type = any
     auth_file = ${join(folder, 'users')}
     pool_mode = ${mode}
     default_pool_size = ${serverConnections}
     max_client_conn = 100`,
  )
  const user = postgresUser()
  for (const name of ['.', 'users', 'ini']) if (user.uid) chownSync(join(folder, name), user.uid, user.gid)
  const pooler = spawn(findPooler() as string, [join(folder, 'ini')], { ...user, stdio: 'ignore' })
  after(() => {
    pooler.kill('SIGKILL')
    rmSync(folder, { recursive: true, force: true })
  })
  return `postgres://cerrojo@127.0.0.1:${poolerPort}${pathname}`
}
