/** Each check of `cerrojo doctor`, where things are in order and where one of them is not. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import { chownSync, existsSync, mkdtempSync, realpathSync, rmSync } from 'node:fs'
import { chmod, readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, suite, test } from 'node:test'
import { judge } from '../../cli/doctor/check.ts'
import { openUnchanged, SERVER_CHECKS, type ServerFacts, TABLE_CHECKS } from '../../cli/doctor/database.ts'
import { KEY_CHECKS } from '../../cli/doctor/keys.ts'
import { SETTINGS_CHECKS } from '../../cli/doctor/settings.ts'
import { loadConfig } from '../../src/config.ts'
import { findPostgres, postgresUser, startCluster } from '../support/cluster.ts'
import { cerrojo, refused, run } from '../support/command.ts'
import { addKey, age, type HeldKey, readKeys, replaceKey, type Use } from '../support/keys.ts'
import { findPooler, startPooler } from '../support/pooler.ts'
import { type Environment, freshEnvironment, runSql, startServer } from '../support/server.ts'
import { until } from '../support/wait.ts'

const DAY_SECONDS = 86_400
const newSecret = () => randomBytes(32).toString('base64url')
const fileOf = (env: Environment) => join(env.AUTH_DATA_DIR as string, 'keys-secret')
const held = async (env: Environment, use: Use) => (await readKeys(env)).find((key) => key.use === use) as HeldKey

/** All advice that was ever given, to see in the end that no check has gone untried. */
const advised = new Set<string>()

/** What it says of one thing, as `level: found: advice`. */
async function says(
  about: string,
  env: Environment,
  ...words: string[]
): Promise<{ code: number; findings: string[] }> {
  const { code, stdout, stderr } = await cerrojo(env, 'doctor', '--json', ...words)
  assert.equal(stderr, '')
  const findings = (JSON.parse(stdout) as Record<string, string>[]).filter((finding) => finding.about === about)
  for (const { advice } of findings) advised.add(advice as string)
  return { code, findings: findings.map(({ level, found, advice }) => `${level}: ${found}: ${advice}`) }
}

function assertMatches(found: string[], patterns: RegExp[]): void {
  assert.equal(found.length, patterns.length, found.join('\n'))
  for (const [index, pattern] of patterns.entries()) assert.match(found[index] as string, pattern)
}

suite('cerrojo doctor, on settings', () => {
  /** Each at the last value that is in order. No PostgreSQL answers at that address, which settings do not ask. */
  const IN_ORDER = {
    DATABASE_URL: 'postgres://somebody:hidden@127.0.0.1:1/none',
    AUTH_ISS: 'https://auth.example.com',
    AUTH_AUD: 'example',
    AUTH_BCRYPT_ROUNDS: '10',
    AUTH_RATE_LIMIT_ACCOUNT: '1',
    AUTH_REFRESH_GRACE_SEC: '60',
    AUTH_ACCESS_TTL_SEC: '3600',
    AUTH_CORS_ORIGINS: 'https://app.example.com',
    HOST: '0.0.0.0',
    AUTH_REFRESH_TRANSPORT: 'cookie',
    AUTH_TRUST_PROXY: '10.0.0.0/8, fc00::/7, 192.0.2.1, 2001:db8::1',
    LOG_LEVEL: 'warn',
  }
  const onSettings = async (change: Environment) =>
    (await says('settings', { ...IN_ORDER, ...change }, '--quick')).findings

  test('says that nothing is dangerous where nothing is', async () => {
    const onePage = { HOST: 'localhost', AUTH_TRUST_PROXY: '', AUTH_REFRESH_TRANSPORT: 'body', LOG_LEVEL: 'info' }
    for (const change of [{}, onePage]) assert.deepEqual(await onSettings(change), ['ok: nothing dangerous is set: '])
  })

  const LIMITS = ['LOGIN', 'ACCOUNT', 'REGISTER', 'REFRESH', 'FAILURES'].map((what) => `AUTH_RATE_LIMIT_${what}`)

  test('finds whatever is a step past that', async () => {
    const dangerous = {
      AUTH_RATE_LIMT_LOGIN: '5',
      AUTH_BCRYPT_ROUND: '12',
      AUTH_ISS: '',
      AUTH_AUD: 'auth-mvp-clients',
      AUTH_BCRYPT_ROUNDS: '9',
      ...Object.fromEntries(LIMITS.map((name) => [name, '0'])),
      AUTH_REFRESH_GRACE_SEC: '61',
      AUTH_ACCESS_TTL_SEC: '3601',
      AUTH_CORS_ORIGINS: 'https://a.example, http://b.example',
      AUTH_TRUST_PROXY: '192.0.2.1, 0.0.0.0/0, 128.0.0.0/7, ::/0, 2000::/3',
    }
    assertMatches(await onSettings(dangerous), [
      /^risky: AUTH_RATE_LIMT_LOGIN is no variable.*mean AUTH_RATE_LIMIT_LOGIN\?: correct/,
      /^risky: AUTH_BCRYPT_ROUND is no variable.*AUTH_BCRYPT_ROUNDS/,
      /^risky: AUTH_ISS is auth-mvp, /,
      /^risky: AUTH_AUD is auth-mvp-clients, /,
      /^risky: AUTH_BCRYPT_ROUNDS is 9: use 12$/,
      ...LIMITS.map((name) => new RegExp(`^risky: ${name} is 0: take it out`)),
      /^risky: AUTH_REFRESH_GRACE_SEC is 61: .*Idempotency-Key/,
      /^risky: AUTH_ACCESS_TTL_SEC is 3601: use 900/,
      /^risky: AUTH_CORS_ORIGINS has http:\/\/b\.example: /,
      /^risky: AUTH_TRUST_PROXY has 0\.0\.0\.0\/0: name the proxies alone/,
      /^risky: AUTH_TRUST_PROXY has 128\.0\.0\.0\/7: /,
      /^risky: AUTH_TRUST_PROXY has ::\/0: /,
      /^risky: AUTH_TRUST_PROXY has 2000::\/3: /,
    ])
  })

  const cases: [Environment, ...RegExp[]][] = [
    [
      { AUTH_TRUST_PROXY: '', AUTH_REFRESH_TRANSPORT: 'body', LOG_LEVEL: 'trace' },
      /^risky: HOST is 0\.0\.0\.0 and AUTH_TRUST_PROXY is unset: put a proxy/,
      /^risky: LOG_LEVEL is trace: use info or higher/,
    ],
    [
      { AUTH_TRUST_PROXY: '', HOST: '127.0.0.1', LOG_LEVEL: 'debug' },
      /^risky: AUTH_REFRESH_TRANSPORT is cookie and AUTH_TRUST_PROXY is unset: name the proxy/,
      /^risky: LOG_LEVEL is debug: use info or higher/,
    ],
    [
      { AUTH_COOKIE_SECURE: 'false', AUTH_TRUST_PROXY: '', HOST: 'localhost', LOG_LEVEL: 'error' },
      /^risky: AUTH_COOKIE_SECURE is false: only for development/,
      /^risky: LOG_LEVEL is error: use warn/,
    ],
    [
      { DATABASE_URL: '', LOG_LEVEL: 'silent' },
      /^risky: DATABASE_URL is set to nothing/,
      /^risky: the embedded database is in use: for production/,
      /^risky: LOG_LEVEL is silent: use warn/,
    ],
    [{ LOG_LEVEL: 'fatal' }, /^risky: LOG_LEVEL is fatal: use warn/],
  ]
  for (const [change, ...patterns] of cases)
    test(`finds what is dangerous: ${JSON.stringify(change)}`, async () => {
      assertMatches(await onSettings(change), patterns)
    })
})

suite('cerrojo doctor, on keys', () => {
  const onKeys = (env: Environment) => says('keys', env)
  async function inOrder(): Promise<Environment & { AUTH_KEYS_SECRET: string }> {
    const env = await freshEnvironment()
    return { ...env, AUTH_KEYS_SECRET: await readFile(fileOf(env), 'utf8') }
  }
  const soon = () => Math.floor(Date.now() / 1000) + 3600

  const cases: Record<string, { change: (env: Environment) => unknown; says: RegExp[]; code?: number }> = {
    'they are in order, and all nodes have their secret': {
      change: () => {},
      says: [/^ok: 4 open with the secret from AUTH_KEYS_SECRET: $/],
    },
    'there are none': {
      change: (env) => runSql(env, 'delete from keys'),
      says: [/^risky: there are none yet: the first start of a server makes them$/],
    },
    'the database has no schema yet': {
      change: (env) => runSql(env, 'drop table keys'),
      says: [/^risky: there are none yet/],
    },
    'one is missing': {
      change: (env) => runSql(env, "delete from keys where use = 'enc'"),
      says: [/^risky: there is no enc key: the next start of a server makes one$/],
    },
    'one has ended': {
      change: async (env) => replaceKey(env, await held(env, 'sig'), { ends_at: soon() - 7200 }),
      says: [/^risky: there is no sig key: /],
    },
    'one is overdue, and no next one made': {
      change: (env) => age(env, 91 * DAY_SECONDS, ['sig']),
      says: [/^risky: the sig key is in use since \d{4}-\S+Z, .*: cerrojo keys rotate, and see why no server does$/],
    },
    'one is overdue, but the next one is made': {
      change: async (env) => {
        await age(env, 91 * DAY_SECONDS, ['sig'])
        await addKey(env, { use: 'sig', first_use: soon() })
      },
      says: [/^ok: 5 open/],
    },
    'an enc key is not to be replaced yet, but its successor is due': {
      change: (env) => age(env, 84 * DAY_SECONDS, ['enc']),
      says: [/^risky: the enc key is in use since \d{4}-\S+Z, and no next one is made: /],
    },
    'the successor of a key has been due for less than servers may take': {
      change: (env) => age(env, 83 * DAY_SECONDS + 600, ['enc']),
      says: [/^ok: 4 open/],
    },
    'the next enc key is made, which resource servers must have': {
      change: (env) => addKey(env, { use: 'enc', first_use: soon() + 6 * DAY_SECONDS }),
      says: [
        /^ok: 5 open/,
        /^hint: the enc key 2 comes into use on \d{4}-\S+Z; its kid is [\w-]{43}: resource .*cerrojo keys export$/,
      ],
    },
    'a mac key is old, which is no fault': {
      change: (env) => age(env, 4000 * DAY_SECONDS, ['mac']),
      says: [/^ok: 4 open/],
    },
    'one comes into use when no key does': {
      change: (env) => addKey(env, { use: 'enc', first_use: soon() + 400 * DAY_SECONDS }),
      says: [/^risky: the enc key 2 comes into use on \d{4}-\S+Z: a server replaces it; set the database by NTP$/],
    },
    'the secret is wrong': {
      change: (env) => Object.assign(env, { AUTH_KEYS_SECRET: newSecret() }),
      says: [
        /^broken: The \w+ key 1 in the database does not open with the secret from AUTH_KEYS_SECRET: .*reset --yes/,
      ],
      code: 1,
    },
    'a row was changed': {
      change: (env) => runSql(env, "update keys set kid = 'other' where use = 'enc'"),
      says: [/^broken: The row of the enc key 1 is not the one .*: restore it/],
      code: 1,
    },
    'some are still sealed with the previous secret': {
      change: (env) => {
        const { AUTH_KEYS_SECRET: AUTH_KEYS_SECRET_PREVIOUS } = env
        Object.assign(env, { AUTH_KEYS_SECRET: newSecret(), AUTH_KEYS_SECRET_PREVIOUS })
      },
      says: [/^risky: 4 are sealed with AUTH_KEYS_SECRET_PREVIOUS: cerrojo keys rekey$/],
    },
  }
  for (const [title, { change, says, code = 0 }] of Object.entries(cases))
    test(title, async () => {
      const env = await inOrder()
      const secrets = (await readKeys(env)).flatMap(({ jwk }) => [jwk.d, jwk.k]).filter(Boolean)
      await change(env)
      const report = await onKeys(env)
      assertMatches(report.findings, says)
      assert.equal(report.code, code)
      for (const secret of [...secrets, env.AUTH_KEYS_SECRET]) assert.ok(!report.findings.join().includes(secret))
    })

  test('the secret is in a file', async () => {
    const env = await freshEnvironment()
    const onlyHere = [`risky: their secret is in ${fileOf(env)} alone: give it to all nodes as AUTH_KEYS_SECRET`]
    const isWell = [`ok: 4 open with the secret from ${fileOf(env)}: `]
    assert.deepEqual((await onKeys(env)).findings, env.DATABASE_URL ? onlyHere : isWell)
    await chmod(fileOf(env), 0o640)
    const others = `risky: others may read ${fileOf(env)}: chmod 600 it`
    assert.deepEqual((await onKeys(env)).findings, [others, ...(env.DATABASE_URL ? onlyHere : [])])
  })

  test('a server has the embedded database open, or there is none yet', async (t) => {
    const env = await freshEnvironment()
    if (env.DATABASE_URL) return t.skip('PostgreSQL serves several at once')
    const nowhere = { ...env, AUTH_DATA_DIR: join(env.AUTH_DATA_DIR as string, 'nowhere') }
    assert.deepEqual((await onKeys(nowhere)).findings, [
      'risky: there are none yet: the first start of a server makes them',
    ])
    assert.ok(!existsSync(nowhere.AUTH_DATA_DIR), 'and it makes none')
    await startServer(env)
    const { code, findings } = await onKeys(env)
    assert.equal(code, 0)
    assert.match(findings.join(), /^risky: they cannot be read: .* in use by process \d+: stop that process/)
  })
})

suite('cerrojo doctor, on tables', () => {
  const IN_ORDER = 'ok: they are as this version needs them: '
  const bcrypt = `$2b$12$${'x'.repeat(53)}`
  const addUser = (env: Environment, hash: string) =>
    runSql(env, 'insert into users (email, password_hash) values ($1, $2)', [`${randomUUID()}@example.com`, hash])

  test('they are in order, with hashes of every form that logins match', async () => {
    const env = await freshEnvironment()
    for (const hash of [bcrypt, bcrypt.replace('b', 'a'), bcrypt.replace('b', 'y'), bcrypt.replace('12', '04')])
      await addUser(env, hash)
    assert.deepEqual((await says('tables', env)).findings, [IN_ORDER])
  })

  test('a migration is not applied, and it stays so', async () => {
    const env = await freshEnvironment()
    await runSql(env, 'delete from schema_migrations')
    const { code, findings } = await says('tables', env)
    assert.equal(code, 0)
    assertMatches(findings, [/^risky: 001_auth\.sql not applied: cerrojo migrate, or the next start$/])
    assert.deepEqual(await runSql(env, 'select file_name from schema_migrations'), [])
  })

  test('a newer version has added to them, or changed them', async () => {
    const env = await freshEnvironment()
    await runSql(env, `insert into schema_migrations values ('900_more.sql')`)
    const added = await says('tables', env)
    assert.equal(added.code, 0)
    assertMatches(added.findings, [
      /^ok: /,
      /^hint: a newer version has added to it: 900_more\.sql: .*start the newer one/,
    ])
    await runSql(env, `insert into schema_migrations values ('901_less.breaking.sql')`)
    const { code, findings } = await says('tables', env)
    assert.equal(code, 1)
    assertMatches(findings, [
      /^broken: a newer version has changed it: 901_less\.breaking\.sql: start that version$/,
      /^hint: .*900_more/,
    ])
  })

  test('some users have a password hash that no login can match', async () => {
    const env = await freshEnvironment()
    await addUser(env, bcrypt)
    const strange = ['!', '$argon2id$v=19$m=65536', bcrypt.slice(1), `${bcrypt}x`, bcrypt.replace('12', '17')]
    for (const hash of strange) await addUser(env, hash)
    assertMatches((await says('tables', env)).findings, [
      /^risky: password hashes that no login can match: 5: store hashes of bcrypt/,
    ])
  })
})

suite('cerrojo doctor, on PostgreSQL', { skip: findPostgres() ? false : 'PostgreSQL is not installed' }, async () => {
  if (!findPostgres()) return
  const cluster = await startCluster()
  after(() => cluster.remove())
  const admin = (sql: string) => runSql({ DATABASE_URL: cluster.url }, sql)
  const addressOf = (database: string, role?: string) =>
    Object.assign(new URL(cluster.url), { pathname: `/${database}`, ...(role && { username: role }) }).href

  /** A database that has the schema, with options of its own or a copy of the first. */
  async function newDatabase(name: string, options = 'template original'): Promise<Environment> {
    await admin(`create database ${name} ${options}`)
    await admin(`alter database ${name} set wal_compression = on`)
    return { ...shared, DATABASE_URL: addressOf(name), AUTH_KEYS_SECRET: secret }
  }
  const shared = await freshEnvironment() // its folder is of no use to a PostgreSQL
  const secret = newSecret()
  await (await startServer(await newDatabase('original', ''))).close()

  /** With a role that may do what a server does, and no more. */
  async function inOrder(options?: string) {
    const name = `doctor_${randomUUID().replaceAll('-', '')}`
    const owner = await newDatabase(name, options)
    if (options) await (await startServer(owner)).close()
    await admin(`create role ${name} login`)
    await runSql(owner, `grant select, insert, update, delete on users, refresh_tokens, keys, rate_limits to ${name}`)
    await runSql(owner, `grant select on schema_migrations to ${name}`)
    const env: Environment = { ...owner, DATABASE_URL: addressOf(name, name) }
    return { owner, env, name }
  }
  const version = Number((await admin(`select current_setting('server_version_num') as version`))[0]?.version) / 10_000
  const IN_ORDER = { code: 0, findings: [`ok: PostgreSQL ${Math.floor(version)} is in order: `] }

  interface Case {
    options?: string
    change(name: string, owner: Environment): unknown
    words?: string[]
    says: RegExp[]
    code?: number
    /** Where it is not the database. */
    about?: string
  }
  const cases: Record<string, Case> = {
    'takes no writes': {
      change: (name) => admin(`alter role ${name} set default_transaction_read_only = on`),
      says: [/^broken: it takes no writes: set default_transaction_read_only off/],
      code: 1,
    },
    'answers before a commit is on the disk': {
      change: (name) => admin(`alter database ${name} set synchronous_commit = off`),
      says: [/^risky: synchronous_commit is off: turn it on/],
    },
    'writes whole pages as they are': {
      change: (name) => admin(`alter database ${name} set wal_compression = off`),
      says: [/^ok: /, /^hint: wal_compression is off: turn it on/],
    },
    'never cleans some tables': {
      change: async (_name, owner) => {
        await runSql(owner, 'alter table users set (autovacuum_enabled = off)')
        await runSql(owner, 'alter table refresh_tokens set (autovacuum_enabled = false)')
        await runSql(owner, 'alter table keys set (autovacuum_enabled = on)')
      },
      says: [/^risky: autovacuum is off for refresh_tokens, users: turn it on/],
    },
    'grants too little': {
      change: async (name, owner) => {
        await runSql(owner, `revoke update, delete on users from ${name}`)
        await runSql(owner, `revoke insert on rate_limits from ${name}`)
      },
      says: [
        /^broken: the role \w+ may not insert rate_limits, delete users, update users: as the owner: grant select, /,
      ],
      code: 1,
    },
    'grants everything': {
      change: (name) => admin(`alter role ${name} superuser`),
      says: [/^risky: the role \w+ is a superuser: use one that may select, /],
    },
    'has a schema that the role owns': {
      change: (name, owner) => runSql(owner, `alter table schema_migrations owner to ${name}`),
      says: [/^ok: /, /^hint: the role \w+ may change the schema: .*only cerrojo migrate needs the owner/],
    },
    'grants a role too few connections': {
      change: (name) => admin(`alter role ${name} connection limit 12`),
      says: [/^risky: 1 times DATABASE_POOL_SIZE is 10, and the role may have 12 connections: lower/],
    },
    'grants a role just enough connections': {
      change: (name) => admin(`alter role ${name} connection limit 13`),
      says: [/^ok: /],
    },
    'grants a database too few connections': {
      change: (name) => admin(`alter database ${name} connection limit 32`),
      words: ['--nodes', '3'],
      says: [/^risky: 3 times DATABASE_POOL_SIZE is 30, and the role may have 32 connections/],
    },
    'has too few connections for the nodes': {
      change: () => {},
      words: ['--nodes', '20'],
      says: [/^risky: 20 times DATABASE_POOL_SIZE is 200, and the role may have 197 connections/],
    },
    'has other rules for text than its indexes were built by': {
      options: "locale_provider icu icu_locale 'en' template template0",
      change: (name) => admin(`update pg_database set datcollversion = '1.1' where datname = '${name}'`),
      says: [/^risky: its rules for text have changed, from version 1\.1 to \d\S+: reindex database/],
    },
    'does not say which rules for text its indexes were built by': {
      options: "locale_provider icu icu_locale 'en' template template0",
      change: (name) => admin(`update pg_database set datcollversion = null where datname = '${name}'`),
      says: [/^ok: /],
    },
    'lets the role read no keys': {
      change: (name, owner) => runSql(owner, `revoke select on keys from ${name}`),
      says: [/^risky: they cannot be read: permission denied for table keys: grant the role select on keys/],
      about: 'keys',
      code: 1,
    },
    'lets the role read no users, nor what is applied': {
      change: (name, owner) => runSql(owner, `revoke select on users, schema_migrations from ${name}`),
      says: [/^ok: /, /^hint: whether all password hashes .* not found out: let the role select users/],
      about: 'tables',
      code: 1,
    },
    'has no schema, and a role that may not make one': {
      change: (_name, owner) => runSql(owner, 'drop schema public cascade; create schema public'),
      says: [/^broken: 001_auth\.sql not applied, and the role may not do it: cerrojo migrate, with the owner/],
      about: 'tables',
      code: 1,
    },
  }
  for (const [title, { options, change, words = [], says: patterns, code = 0, about = 'database' }] of Object.entries(
    cases,
  ))
    test(`which ${title}`, async () => {
      const { env, owner, name } = await inOrder(options)
      await change(name, owner)
      const report = await says(about, env, ...words)
      assertMatches(report.findings, patterns)
      assert.equal(report.code, code)
    })

  test('which is in order', async () => {
    const options = "locale_provider icu icu_locale 'en' template template0"
    for (const { env } of [await inOrder(), await inOrder(options)]) {
      assert.deepEqual(await says('database', env), IN_ORDER)
      assert.deepEqual((await says('tables', env)).findings, ['ok: they are as this version needs them: '])
    }
  })

  test('which has nothing risky, but hints, is in order for --strict', async () => {
    const { env, name } = await inOrder()
    await admin(`alter database ${name} set wal_compression = off`)
    const safe = { AUTH_ISS: 'https://auth.example.com', AUTH_AUD: 'example', AUTH_BCRYPT_ROUNDS: '' }
    const unlimited = Object.keys(env).filter((variable) => variable.startsWith('AUTH_RATE_LIMIT_'))
    const strict = { ...env, ...safe, ...Object.fromEntries(unlimited.map((variable) => [variable, ''])) }
    assert.match(await run(strict, 'doctor', '--strict'), /^hint +database +wal_compression is off/m)
  })

  test('whose keys are sealed with a secret that one node alone has', async () => {
    const { env: all } = await inOrder()
    const { AUTH_DATA_DIR } = await freshEnvironment()
    const { AUTH_KEYS_SECRET = '', ...env } = { ...all, AUTH_DATA_DIR } as Environment
    await writeFile(fileOf(env), AUTH_KEYS_SECRET, { mode: 0o600 })
    assertMatches((await says('keys', env)).findings, [/^risky: their secret is in .* alone: give it to all nodes/])
  })

  test('with a role that may only read is looked at all the same, and nothing changes', async () => {
    const { env, owner, name } = await inOrder()
    await runSql(owner, `revoke insert, update, delete on all tables in schema public from ${name}`)
    const rowsOf = (table: string) => runSql(owner, `select * from ${table}`)
    const tables = ['users', 'refresh_tokens', 'keys', 'rate_limits', 'schema_migrations']
    const before = await Promise.all(tables.map(rowsOf))
    assert.deepEqual((await says('keys', env)).findings, ['ok: 4 open with the secret from AUTH_KEYS_SECRET: '])
    assert.deepEqual((await says('tables', env)).findings, ['ok: they are as this version needs them: '])
    assert.deepEqual(await Promise.all(tables.map(rowsOf)), before)
  })

  test('without a schema gets none, though the role could make it', async () => {
    const { owner } = await inOrder()
    await runSql(owner, 'drop schema public cascade; create schema public')
    assertMatches((await says('tables', owner)).findings, [/^risky: 001_auth\.sql not applied: /])
    assert.deepEqual(
      await runSql(owner, `select relname from pg_class where relnamespace = 'public'::regnamespace`),
      [],
    )
  })

  test('of another encoding than UTF-8', async () => {
    await admin(`create database latin encoding 'LATIN1' lc_collate 'C' lc_ctype 'C' template template0`)
    const { code, findings } = await says('database', { ...(await inOrder()).env, DATABASE_URL: addressOf('latin') })
    assert.equal(code, 1)
    assert.match(findings.join('\n'), /^broken: its encoding is LATIN1: make a database with: create database/)
  })

  test('that is too old, or whose clock differs by seconds', async () => {
    const { env } = await inOrder()
    const { database, server } = await openUnchanged(loadConfig(env), 1, 5000)
    await database.close()
    const told = (change: Partial<ServerFacts>) => {
      const findings = judge('database', SERVER_CHECKS, { ...(server as ServerFacts), ...change }, 'in order')
      for (const { advice } of findings) advised.add(advice)
      return findings.map(({ level, found }) => `${level}: ${found}`)
    }
    assert.deepEqual(told({ version: 14 }), ['ok: in order'])
    assert.deepEqual(told({ version: 13 }), ['broken: PostgreSQL 13 is too old'])
    assert.deepEqual(told({ skew_seconds: 5 }), ['ok: in order'])
    assert.deepEqual(told({ skew_seconds: 6 }), ['risky: its clock and ours differ by 6 s'])
  })

  async function withServerSetting(setting: string, value: string, work: () => Promise<void>): Promise<void> {
    const shown = async () => (await admin(`show ${setting}`))[0]?.[setting]
    const original = await shown()
    await admin(`alter system set ${setting} = ${value}`)
    await admin('select pg_reload_conf()')
    await until(`${setting} to change`, async () => (await shown()) !== original)
    await work()
    await admin(`alter system reset ${setting}`)
    await admin('select pg_reload_conf()')
    await until(`${setting} to change back`, async () => (await shown()) === original)
  }

  for (const [setting, pattern] of [
    ['fsync', /^risky: fsync is off: turn it on/],
    ['autovacuum', /^risky: autovacuum is off for the whole server: turn it on/],
  ] as const)
    test(`which runs without ${setting}`, async () => {
      const { env } = await inOrder()
      await withServerSetting(setting, 'off', async () =>
        assertMatches((await says('database', env)).findings, [pattern]),
      )
      assert.deepEqual(await says('database', env), IN_ORDER)
    })

  test('whose standby may be behind when it takes over', async () => {
    const { env } = await inOrder()
    const folder = mkdtempSync(join(tmpdir(), 'cerrojo-standby-'))
    const user = postgresUser()
    if (user.uid) chownSync(folder, user.uid, user.gid)
    const { port } = new URL(cluster.url)
    const standby = spawn(
      join(dirname(realpathSync(join(findPostgres() as string, 'initdb'))), 'pg_receivewal'),
      ['-D', folder, '-h', '127.0.0.1', '-p', port, '-U', 'cerrojo'],
      { ...user, stdio: 'ignore' },
    )
    after(() => {
      standby.kill('SIGKILL')
      rmSync(folder, { recursive: true })
    })
    await until('the standby', async () => (await admin('select from pg_stat_replication')).length === 1)
    assertMatches((await says('database', env)).findings, [
      /^risky: synchronous_standby_names is empty; standbys attached: 1: /,
    ])
    await withServerSetting('synchronous_standby_names', "'pg_receivewal'", async () => {
      assert.deepEqual(await says('database', env), IN_ORDER)
    })
    standby.kill('SIGKILL')
    await until('the standby to go', async () => (await admin('select from pg_stat_replication')).length === 0)
  })

  test('behind a pooler', { skip: findPooler() ? false : 'PgBouncer is not installed' }, async () => {
    const { owner, name } = await inOrder()
    const DATABASE_URL = (await startPooler(addressOf(name), 'session', 20)).replace('//cerrojo@', `//${name}@`)
    const { findings } = await says('database', { ...owner, DATABASE_URL })
    assert.match(findings.at(-1) as string, /^hint: a pooler stands in between: it must keep connections apart/)
  })

  test('in recovery', async () => {
    const { env } = await inOrder()
    await cluster.stop('SIGINT')
    await cluster.start({ isStandby: true })
    const { code, findings } = await says('database', env)
    assert.equal(code, 1)
    assertMatches(findings, [/^broken: it is in recovery and takes no writes: name the primary/])
    await admin('select pg_promote()')
    assert.deepEqual(await says('database', env), IN_ORDER)
  })

  test('that is not there, and its password is not told', async () => {
    for (const words of [[], ['--quick']]) {
      const env = { DATABASE_URL: 'postgres://somebody:hidden@127.0.0.1:1/none' }
      const { code, stdout, stderr } = await cerrojo(env, 'doctor', ...words)
      assert.equal(code, 1)
      assert.match(stdout, /^broken +database +.*ECONNREFUSED.* check DATABASE_URL, and that PostgreSQL runs$/m)
      assert.ok(!`${stdout}${stderr}`.includes('hidden'))
    }
  })

  test('--quick looks at it once and asks for no key or table', async () => {
    const { env } = await inOrder()
    const about = async (...words: string[]) => {
      const { stdout } = await cerrojo(env, 'doctor', '--json', ...words) // with code 1 where a machine is slow
      return new Set(JSON.parse(stdout).map((finding: { about: string }) => finding.about))
    }
    assert.deepEqual([...(await about())], ['keys', 'database', 'tables', 'settings'])
    assert.deepEqual([...(await about('--quick'))], ['database', 'settings'])
  })

  test('--quick does not wait for one that does not answer', async () => {
    const { env } = await inOrder()
    cluster.signal('SIGSTOP')
    const { code, findings } = await says('database', env, '--quick')
    cluster.signal('SIGCONT')
    assert.equal(code, 1)
    assertMatches(findings, [/^broken: it gave no answer within 500 ms: check DATABASE_URL/])
  })
})

suite('cerrojo doctor', () => {
  test('tells by its exit code what is broken, and with --strict what is risky', async () => {
    const env = { ...(await freshEnvironment()), LOG_LEVEL: 'silent' }
    assert.match(
      await run(env, 'doctor'),
      /^LEVEL +ABOUT +FOUND +ADVICE\n(.*\n)*risky +settings +LOG_LEVEL is silent +use/,
    )
    assert.equal((await cerrojo(env, 'doctor', '--strict')).code, 2)
    await runSql(env, "update keys set kid = 'other' where use = 'enc'")
    assert.equal((await cerrojo(env, 'doctor', '--strict')).code, 1)
    for (const nodes of ['0', '1.5']) assert.match(await refused(env, 'doctor', '--nodes', nodes), /--nodes must/)
  })

  test('has no check that these tests have not seen find something', { skip: !findPostgres() || !findPooler() }, () => {
    for (const checks of [SETTINGS_CHECKS, KEY_CHECKS, SERVER_CHECKS, TABLE_CHECKS])
      for (const { advice } of checks) assert.ok(advised.has(advice), advice)
  })
})
