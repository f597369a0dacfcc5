/** PostgreSQL over TLS, with an authority of the operator's own. */
import assert from 'node:assert/strict'
import { after, suite, test } from 'node:test'
import { isThere, makeAuthority } from '../support/certificates.ts'
import { findPostgres, startCluster } from '../support/cluster.ts'
import { freshEnvironment, logInSomebody, refresh, runSql, startProcess, startServer } from '../support/server.ts'
import { until } from '../support/wait.ts'

const PASSWORD = 'a-password-that-nobody-prints'
const skip = !findPostgres() ? 'PostgreSQL is not installed' : !isThere('openssl') && 'openssl is not installed'

suite('PostgreSQL over TLS', { skip }, async () => {
  if (skip) return
  const authority = makeAuthority()
  const cluster = await startCluster(authority.issue('localhost'))
  after(() => cluster.remove())

  /** DATABASE_URL with `sslmode=verify-full`. */
  function urlFor(host: string, sslrootcert: string): string {
    const url = new URL(cluster.url)
    const parameters = new URLSearchParams({ sslmode: 'verify-full', sslrootcert })
    return Object.assign(url, { host: `${host}:${url.port}`, password: PASSWORD, search: parameters }).href
  }

  /** What the module says, all of it, when it does not start. */
  async function refusal(databaseUrl: string): Promise<string> {
    const start = startProcess(await freshEnvironment({ DATABASE_URL: databaseUrl }))
    const { message } = await start.then(
      () => assert.fail('it started'),
      (error: Error) => error,
    )
    assert.ok(!message.includes(PASSWORD))
    return message.replace('ended with 1 before it listened: The database that DATABASE_URL names cannot be used: ', '')
  }

  test('serves the module whose DATABASE_URL names the authority, and each connection is encrypted', async () => {
    const server = await startServer(
      await freshEnvironment({ DATABASE_URL: urlFor('localhost', authority.certificate) }),
    )
    const { refresh_token } = await logInSomebody(server)
    assert.equal((await refresh(server, refresh_token)).status, 200)
    const connections = await runSql(
      { DATABASE_URL: cluster.url },
      `select ssl from pg_stat_ssl join pg_stat_activity using (pid)
        where backend_type = 'client backend' and pid <> pg_backend_pid()`,
    )
    assert.ok(connections.length > 0)
    assert.ok(connections.every(({ ssl }) => ssl))
  })

  test('whose certificate is of another authority is refused', async () => {
    assert.equal(
      await refusal(urlFor('localhost', makeAuthority().certificate)),
      'its certificate is of no authority that is trusted here (UNABLE_TO_VERIFY_LEAF_SIGNATURE); ' +
        "give that authority's file as sslrootcert\n",
    )
  })

  test('whose certificate is for another name is refused', async () => {
    assert.match(
      await refusal(urlFor('127.0.0.1', authority.certificate)),
      /^Hostname\/IP does not match certificate's altnames: IP: 127\.0\.0\.1 is not in the cert's list: \n$/,
    )
  })

  test('is not begun without the file of the authority', async () => {
    assert.equal(
      await refusal(urlFor('localhost', '/nowhere/ca.crt')),
      "ENOENT: no such file or directory, open '/nowhere/ca.crt'\n",
    )
  })

  test('that the server does not offer is not done without', async () => {
    const admin = (sql: string) => runSql({ DATABASE_URL: cluster.url }, sql)
    await admin('alter system set ssl = off')
    await admin('select pg_reload_conf()')
    await until('the setting', async () => (await admin('show ssl'))[0]?.ssl === 'off')
    assert.equal(
      await refusal(urlFor('localhost', authority.certificate)),
      'The server does not support SSL connections\n',
    )
  })
})
