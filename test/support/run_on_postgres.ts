/** Runs the whole test suite on a throwaway PostgreSQL cluster, or on the one that TEST_DATABASE_URL names. */
import { spawn } from 'node:child_process'
import { findPostgres, startCluster } from './cluster.ts'

if (!findPostgres()) {
  console.error('These tests need PostgreSQL 14 or newer. On Debian or Ubuntu: apt-get install postgresql')
  process.exit(1)
}
const cluster = await startCluster()
const tests = spawn('npm', ['test', '--', ...process.argv.slice(2)], {
  env: { ...process.env, TEST_DATABASE_URL: cluster.url },
  stdio: 'inherit',
  shell: process.platform === 'win32', // where npm is a script
})
const exitCode = await new Promise<number | null>((resolve) => tests.once('exit', resolve))
await cluster.remove()
process.exit(exitCode ?? 1)
