import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { chmod, link, mkdir, readdir, readFile, rename, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { decodeJson, type Jwk } from '../support/jose_by_hand.ts'
import { addKey, age, type HeldKey, readKeys, replaceKey, type Use } from '../support/keys.ts'
import {
  type Environment,
  freshEnvironment,
  logInSomebody,
  me,
  onPostgres,
  refresh,
  runSql,
  type Server,
  startServer,
} from '../support/server.ts'
import { until } from '../support/wait.ts'

const COMMAND = join(import.meta.dirname, '../../cli/cerrojo.ts')
const DAY_SECONDS = 86_400
const newSecret = () => randomBytes(32).toString('base64url')

const fileOf = (env: Environment) => join(env.AUTH_DATA_DIR as string, 'keys-secret')
const held = async (env: Environment, use: Use) => (await readKeys(env)).find((key) => key.use === use) as HeldKey

interface Result {
  code: number
  stdout: string
  stderr: string
}

function cerrojo(env: Environment, ...words: string[]): Promise<Result> {
  return new Promise((resolve) => {
    const options = { env: { PATH: process.env.PATH, ...env }, cwd: tmpdir() }
    execFile(process.execPath, [COMMAND, ...words], options, (error, stdout, stderr) =>
      resolve({ code: error ? Number(error.code) : 0, stdout, stderr }),
    )
  })
}

/** Runs a command that must succeed. */
async function run(env: Environment, ...words: string[]): Promise<string> {
  const { code, stdout, stderr } = await cerrojo(env, ...words)
  assert.deepEqual([code, stderr], [0, ''])
  return stdout
}

async function states(env: Environment): Promise<string[]> {
  const keys: { use: string; state: string }[] = JSON.parse(await run(env, 'keys', 'list', '--json'))
  return keys.map(({ use, state }) => `${use} ${state}`).sort()
}

/** Runs a command that must fail, with one line that says why. */
async function refused(env: Environment, ...words: string[]): Promise<string> {
  const { code, stdout, stderr } = await cerrojo(env, ...words)
  assert.deepEqual([code, stdout], [1, ''], words.join(' '))
  assert.match(stderr, /^cerrojo: .+\n$/)
  return stderr
}

const NOW = ['enc_front active', 'mac active', 'sig active']

suite('cerrojo keys', () => {
  test('list shows a table of every key, its state and its times, and nothing secret', async () => {
    const env = await freshEnvironment()
    const keys = await readKeys(env)
    const table = await run(env, 'keys', 'list')
    const [head, ...lines] = table.trimEnd().split('\n')
    assert.match(head as string, /^USE +KID +ALG +STATE +SINCE +UNTIL$/)
    assert.deepEqual(
      lines.map((line) => line.split(/ +/)),
      ['sig', 'enc', 'enc_front', 'mac'].map((use) => {
        const { kid, alg, first_use } = keys.find((key) => key.use === use) as HeldKey
        return [use, kid, alg, 'active', `${new Date(first_use * 1000).toISOString().slice(0, 19)}Z`, '-']
      }),
    )
    for (const { jwk } of keys) for (const secret of [jwk.d, jwk.k]) assert.ok(!secret || !table.includes(secret))
  })

  test('list tells next, active, retired and gone keys apart, with the times of each', async () => {
    const env = await freshEnvironment()
    const now = Math.floor(Date.now() / 1000)
    await replaceKey(env, await held(env, 'sig'), { first_use: now - 20 * DAY_SECONDS })
    const gone = await addKey(env, { use: 'sig', first_use: now - 19 * DAY_SECONDS })
    const retired = await addKey(env, { use: 'sig', first_use: now - 15 * DAY_SECONDS })
    const active = await addKey(env, { use: 'sig', first_use: now - DAY_SECONDS })
    const next = await addKey(env, { use: 'sig', first_use: now + 60 })
    const misdated = await addKey(env, { use: 'sig', first_use: now + 400 * DAY_SECONDS })
    const listed: Record<string, string>[] = JSON.parse(await run(env, 'keys', 'list', '--json'))
    const found = Object.fromEntries(listed.map(({ kid, ...key }) => [kid, key]))
    const time = (seconds: number) => `${new Date(seconds * 1000).toISOString().slice(0, 19)}Z`
    const expected: [HeldKey, string, string][] = [
      [gone, 'gone', time(now - DAY_SECONDS)],
      [retired, 'retired', time(now + 13 * DAY_SECONDS)],
      [active, 'active', time(now + 60 + 14 * DAY_SECONDS)],
      [next, 'next', '-'],
      [misdated, 'gone', time(now - 6 * DAY_SECONDS)],
    ]
    for (const [{ kid, alg, first_use }, state, until] of expected)
      assert.deepEqual(found[kid], { use: 'sig', alg, state, since: time(first_use), until })
  })

  test('rotate makes a next key of each use that is published, or of one, and refuses to make two', async () => {
    const env = await freshEnvironment()
    const at = Date.now() / 1000
    await run(env, 'keys', 'rotate', '--use', 'sig')
    assert.deepEqual(await states(env), ['enc active', ...NOW, 'sig next'])
    assert.match(await refused(env, 'keys', 'rotate'), /^cerrojo: the next sig key is made already.*; see --now\n$/)
    assert.deepEqual(await states(env), ['enc active', ...NOW, 'sig next'])
    await run(env, 'keys', 'rotate', '--use', 'enc')
    await run(env, 'keys', 'rotate', '--use', 'mac')
    assert.deepEqual(
      await states(env),
      ['enc active', 'enc next', ...NOW.with(1, 'mac active'), 'mac next', 'sig next'].sort(),
    )
    for (const [use, lead] of Object.entries({ sig: 1200, enc: 7 * DAY_SECONDS, mac: 1200 })) {
      const next = (await readKeys(env)).find((key) => key.use === use && key.number === 2) as HeldKey
      assert.ok(next.first_use >= at + lead && next.first_use < at + lead + 60, use)
    }
  })

  test('rotate makes one of each published use at once, all with the algorithms that are set', async () => {
    const env = await freshEnvironment()
    const changed = { ...env, AUTH_SIGNING_ALG: 'RS256', AUTH_JWE_ALG: 'RSA-OAEP-256' }
    const told = await run(changed, 'keys', 'rotate')
    const made = (await readKeys(env)).filter(({ number }) => number === 2)
    assert.deepEqual(made.map(({ use, alg }) => `${use} ${alg}`).sort(), [
      'enc RSA-OAEP-256',
      'enc_front RSA-OAEP-256',
      'sig RS256',
    ])
    for (const { use, alg } of made)
      assert.match(told, new RegExp(`^made a new ${use} key \\(${alg}\\), in use from`, 'm'))
  })

  test('rotate on a database without keys leaves it to the server to make them', async () => {
    const env = await freshEnvironment()
    await runSql(env, 'delete from keys')
    assert.match(await refused(env, 'keys', 'rotate'), /there are no keys yet/)
    assert.equal(await run(env, 'keys', 'list', '--json'), '[]\n')
  })

  test('rotate --alg makes a key of another algorithm and says what else to set', async () => {
    const env = await freshEnvironment()
    assert.match(await run(env, 'keys', 'rotate', '--use', 'sig', '--alg', 'RS256'), /set RS256 in the environment/)
    assert.match(await run(env, 'keys', 'list'), /RS256 +next/)
    for (const words of [
      ['--alg', 'RS256'],
      ['--use', 'enc', '--alg', 'RS256'],
      ['--use', 'no'],
    ])
      await refused(env, 'keys', 'rotate', ...words)
  })

  test('export gives the private enc keys that count and the address of the JWKS, and nothing else', async () => {
    const env = await freshEnvironment()
    const now = Math.floor(Date.now() / 1000)
    await replaceKey(env, await held(env, 'enc'), { first_use: now - 30 * DAY_SECONDS })
    const gone = await addKey(env, { use: 'enc', first_use: now - 29 * DAY_SECONDS })
    const active = await addKey(env, { use: 'enc', first_use: now - 20 * DAY_SECONDS })
    const next = await addKey(env, { use: 'enc', first_use: now + DAY_SECONDS })
    const exported = JSON.parse(await run(env, 'keys', 'export', '--url', 'https://auth.example.com'))
    const [oldest] = (await readKeys(env)).filter(({ use }) => use === 'enc') as [HeldKey]
    assert.deepEqual(exported, {
      issuer: 'auth-mvp',
      audience: 'auth-mvp-clients',
      jwksUrl: 'https://auth.example.com/.well-known/jwks.json',
      decryptionKeys: [active, next].map(({ kid, alg, jwk }) => ({ kid, use: 'enc', ...jwk, alg })),
    })
    for (const { jwk } of [oldest, gone]) assert.ok(!JSON.stringify(exported).includes(jwk.d))
    for (const { jwk, use } of await readKeys(env))
      if (use !== 'enc')
        for (const secret of [jwk.d, jwk.k]) assert.ok(!secret || !JSON.stringify(exported).includes(secret))
    assert.match(await refused(env, 'keys', 'export', '--url', 'nowhere'), /--url must be like/)
  })

  test('export finds the JWKS where the module listens, or below the path that it is told', async () => {
    const env = { ...(await freshEnvironment()), PORT: '3000' }
    const jwksUrl = async (more: Environment, ...words: string[]) =>
      JSON.parse(await run({ ...env, ...more }, 'keys', 'export', ...words)).jwksUrl
    const path = '/.well-known/jwks.json'
    assert.equal(await jwksUrl({}), `http://127.0.0.1:3000${path}`)
    for (const HOST of ['::1', '[::1]']) assert.equal(await jwksUrl({ HOST }), `http://[::1]:3000${path}`)
    assert.equal(await jwksUrl({}, '--url', 'https://example.com/login/'), `https://example.com/login${path}`)
  })

  test('export --out puts the file in its place in one step, for its owner alone', async () => {
    const env = await freshEnvironment()
    const folder = join(env.AUTH_DATA_DIR as string, 'exported')
    const out = join(folder, 'keys.json')
    assert.match(await refused(env, 'keys', 'export', '--out', out), /keys\.json cannot be written: ENOENT/)
    await mkdir(folder)
    await writeFile(out, 'what stood there', { mode: 0o644 })
    await link(out, join(folder, 'old')) // as somebody still reads it
    assert.equal(await run(env, 'keys', 'export', '--out', out), '')
    assert.equal(await readFile(join(folder, 'old'), 'utf8'), 'what stood there')
    assert.equal(await readFile(out, 'utf8'), (await run(env, 'keys', 'export')).trimEnd())
    assert.equal((await stat(out)).mode & 0o777, 0o600)
    assert.deepEqual((await readdir(folder)).sort(), ['keys.json', 'old'])
    await mkdir(join(folder, 'taken'))
    assert.match(await refused(env, 'keys', 'export', '--out', join(folder, 'taken')), /cannot be written: EISDIR/)
    assert.equal((await readdir(folder)).length, 3)
  })

  test('export --watch wants a file to keep, and a database that serves several', async () => {
    const env = await freshEnvironment()
    assert.match(await refused(env, 'keys', 'export', '--watch'), /--watch needs --out/)
    const { DATABASE_URL: _, ...embedded } = env
    assert.match(await refused(embedded, 'keys', 'export', '--watch', '--out', 'x'), /--watch needs DATABASE_URL/)
  })

  test('what it reads and makes is opened and sealed with the secret of the environment, which may stand in a file', async () => {
    const env = await freshEnvironment()
    const secret = await readFile(fileOf(env), 'utf8')
    const path = join(env.AUTH_DATA_DIR as string, 'mounted')
    await rename(fileOf(env), path)
    for (const words of [['list'], ['rotate'], ['export']])
      assert.match(
        await refused(env, 'keys', ...words),
        /does not open with the secret from .*keys-secret, which does not/,
      )
    await run({ ...env, AUTH_KEYS_SECRET_FILE: path }, 'keys', 'rotate', '--use', 'sig')
    assert.equal((await states({ ...env, AUTH_KEYS_SECRET: secret })).length, 5)
    const { stderr } = await cerrojo({ ...env, AUTH_KEYS_SECRET: `${secret}x` }, 'keys', 'list')
    assert.match(stderr, /AUTH_KEYS_SECRET must be 32 random bytes/)
    assert.ok(!stderr.includes(secret))
    assert.ok(!(await readdir(env.AUTH_DATA_DIR as string)).includes('keys-secret'), 'it never makes one')
  })

  test('rekey seals every key with the new secret, and with the old one none opens any more', async () => {
    const env = await freshEnvironment()
    await run(env, 'keys', 'rotate', '--use', 'enc')
    const before = await readKeys(env)
    const both = {
      ...env,
      AUTH_KEYS_SECRET: newSecret(),
      AUTH_KEYS_SECRET_PREVIOUS: await readFile(fileOf(env), 'utf8'),
    }
    const { AUTH_KEYS_SECRET_PREVIOUS: _, ...after } = both
    assert.match(await refused(env, 'keys', 'rekey'), /AUTH_KEYS_SECRET is not set/)
    assert.match(await refused(after, 'keys', 'rekey'), /does not open/)
    assert.equal(await run(both, 'keys', 'rekey'), 'sealed 5 keys anew; all are under AUTH_KEYS_SECRET\n')
    assert.equal(await run(both, 'keys', 'rekey'), 'sealed 0 keys anew; all are under AUTH_KEYS_SECRET\n')
    assert.deepEqual(await readKeys(after), before)
    assert.equal((await states(after)).length, 5)
    assert.match(await refused(env, 'keys', 'list'), /does not open/)
  })

  test('reset deletes all keys when it is told yes, without their secret; access tokens die, and sessions live', async () => {
    const server = await startServer()
    const { access_token, refresh_token } = await logInSomebody(server)
    await server.close()
    const lost = { ...server.env, AUTH_KEYS_SECRET: newSecret() }
    assert.match(await refused(lost, 'keys', 'reset'), /access tokens .*; if that is meant, .*--yes/)
    assert.equal((await readKeys(server.env)).length, 4)
    await assert.rejects(startServer(lost), /"cerrojo keys reset --yes"/)

    assert.match(await run(lost, 'keys', 'reset', '--yes'), /^deleted 4 keys: /)
    const again = await startServer(lost)
    assert.equal((await me(again, access_token)).body.error.code, 'AUTH_TOKEN_INVALID')
    const granted = await refresh(again, refresh_token)
    assert.equal((await me(again, granted.body.access_token)).status, 200)
  })
})

suite('cerrojo keys, beside a server', { skip: onPostgres ? false : 'it would hold the embedded database' }, () => {
  test('rotate --now makes a key active at once and ends the old ones; sessions live on', async () => {
    const server = await startServer({ AUTH_JWKS_CACHE_TTL_SEC: '1' })
    const before = await logInSomebody(server)
    await run(server.env, 'keys', 'rotate', '--use', 'enc')
    const told = await run(server.env, 'keys', 'rotate', '--now')
    assert.match(told, /every access token made before is refused/)
    await until('the old keys to be refused', async () => (await me(server, before.access_token)).status === 401)
    const { kid } = (await readKeys(server.env)).findLast(({ use }) => use === 'enc') as HeldKey
    const after = await refresh(server, before.refresh_token)
    assert.equal(decodeJson(after.body.access_token.split('.')[0]).kid, kid)
    assert.equal((await me(server, after.body.access_token)).status, 200)
    await until('the old rows to go', async () => (await readKeys(server.env)).length === 4)
    assert.deepEqual(await states(server.env), ['enc active', ...NOW])
  })

  test('export --watch keeps the file current through rotations and a database in trouble, until a signal', async () => {
    const server = await startServer({ AUTH_JWKS_CACHE_TTL_SEC: '1' })
    const out = join(server.env.AUTH_DATA_DIR as string, 'keys.json')
    const kids = async () => JSON.parse(await readFile(out, 'utf8')).decryptionKeys.map((jwk: Jwk) => jwk.kid)
    const wanted = async () => (await readKeys(server.env)).filter(({ use }) => use === 'enc').map(({ kid }) => kid)
    const watch = spawn(process.execPath, [COMMAND, 'keys', 'export', '--watch', '--out', out], {
      env: { PATH: process.env.PATH, ...server.env },
    })
    after(() => watch.kill('SIGKILL'))
    let told = ''
    watch.stdout.on('data', (chunk) => (told += chunk))
    watch.stderr.on('data', (chunk) => (told += chunk))
    const ended = once(watch, 'exit')
    await until('the file', () => existsSync(out))
    assert.deepEqual(await kids(), await wanted())

    for (let rotation = 0; rotation < 3; rotation++) {
      await run(server.env, 'keys', 'rotate', '--use', 'enc', '--now')
      await until('the next key in the file', async () => (await kids()).includes((await wanted()).at(-1)))
    }
    await until('the old keys to leave it', async () => (await kids()).length === 1)
    assert.deepEqual(await kids(), (await wanted()).slice(-1))

    const before = await readFile(out, 'utf8')
    await runSql(server.env, 'alter table keys rename to elsewhere')
    await until('a reading that fails', () => told.includes('stays as it is for now'))
    assert.equal(await readFile(out, 'utf8'), before)
    await runSql(server.env, 'alter table elsewhere rename to keys')
    await run(server.env, 'keys', 'rotate', '--use', 'enc')
    await until('the next key, ahead of its use', async () => (await kids()).length === 2)

    watch.kill('SIGTERM')
    assert.deepEqual(await ended, [0, null])
    assert.equal((await stat(out)).mode & 0o777, 0o600)
    for (const { jwk } of await readKeys(server.env))
      for (const secret of [jwk.d, jwk.k]) assert.ok(!secret || !told.includes(secret))
  })

  test('rotate --now of one use leaves the others alone', async () => {
    const server = await startServer({ AUTH_JWKS_CACHE_TTL_SEC: '1' })
    const before = await readKeys(server.env)
    const old = before.find(({ use }) => use === 'mac')?.kid
    await run(server.env, 'keys', 'rotate', '--use', 'mac', '--now')
    await until('the old mac key to go', async () => !(await readKeys(server.env)).some(({ kid }) => kid === old))
    const after = await readKeys(server.env)
    assert.deepEqual(
      after.filter(({ use }) => use !== 'mac'),
      before.filter(({ use }) => use !== 'mac'),
    )
  })

  test('rekey goes on until nothing is left, while servers that know both secrets make keys all the time', async () => {
    const env = await freshEnvironment({
      AUTH_JWKS_CACHE_TTL_SEC: '1',
      AUTH_KEY_ROTATION_DAYS: String(2 / DAY_SECONDS),
      AUTH_KEY_GRACE_DAYS: String(4 / DAY_SECONDS),
      AUTH_ACCESS_TTL_SEC: '3',
      AUTH_CLOCK_SKEW_SEC: '1',
    })
    let secret = await readFile(fileOf(env), 'utf8')
    for (let round = 0; round < 3; round++) {
      const both = { ...env, AUTH_KEYS_SECRET: newSecret(), AUTH_KEYS_SECRET_PREVIOUS: secret }
      const servers = [await startServer(both), await startServer(both)]
      const { access_token } = await logInSomebody(servers[0] as Server)
      await run(both, 'keys', 'rekey')
      for (const server of servers) assert.equal((await me(server, access_token)).status, 200)
      secret = both.AUTH_KEYS_SECRET
      const made = Math.max(...(await readKeys(both)).map(({ number }) => number))
      await until('a key made after it', async () =>
        (await readKeys({ ...env, AUTH_KEYS_SECRET: secret })).some(({ number }) => number > made),
      )
      for (const server of servers) await server.close()
    }
  })
})

suite('cerrojo', () => {
  test('explains itself, and says on one line what it did not understand', async () => {
    const env = await freshEnvironment()
    const help = await run(env, '--help')
    assert.match(help, /^Usage: cerrojo <command>/)
    const names = [...help.matchAll(/^ {2}(\w+(?: [\w-]+)?)/gm)].map(([, name]) => name as string)
    assert.ok(names.length >= 8)
    for (const name of names)
      assert.match(await run(env, ...name.split(' '), '--help'), new RegExp(`^Usage: cerrojo ${name}.*--help`, 's'))
    const wrong: [string[], string][] = [
      [['fly'], ''],
      [['--nonsense'], ''],
      [['keys'], 'did you mean "keys list"'],
      [['keys', 'lst'], 'did you mean "keys list"'],
      [['keys', 'list', '--jsno'], 'did you mean --json'],
      [['keys', 'list', 'all'], 'takes no operand, but got "all"'],
      [['keys', 'rotate', '--use', '--now'], 'ambiguous'],
      [['purge', '--days', 'x'], '--days must be a number'],
    ]
    for (const [words, meant] of wrong) assert.ok((await refused(env, ...words)).includes(meant), words.join(' '))
    const asJson = await cerrojo(env, 'keys', 'list', 'all', '--json')
    assert.deepEqual([asJson.code, asJson.stdout], [1, ''])
    assert.match(JSON.parse(asJson.stderr).error, /takes no operand/)
  })

  test('migrate makes the schema, and purge deletes only sessions that expired long ago', async () => {
    const env = await freshEnvironment({ AUTH_REFRESH_TTL_SEC: '1' })
    assert.match(await run(env, 'migrate'), /up to date/)
    const server = await startServer(env)
    const { refresh_token } = await logInSomebody(server)
    await server.close()
    assert.match(await run(env, 'purge'), /^deleted 0 sessions/)
    let deleted = ''
    while (!deleted.startsWith('deleted 1 session ')) deleted = await run(env, 'purge', '--days', '0')
    const after = await startServer(env)
    assert.equal((await refresh(after, refresh_token)).body.error.code, 'AUTH_REFRESH_NOT_FOUND')
  })

  test('leaves an embedded database alone that a running server holds', async (t) => {
    const env = await freshEnvironment()
    if (env.DATABASE_URL) return t.skip('PostgreSQL serves several at once')
    await startServer(env)
    const { code, stderr } = await cerrojo(env, 'purge')
    assert.deepEqual(
      [code, stderr],
      [
        1,
        `cerrojo: Stop the other process first: the embedded database in ${env.AUTH_DATA_DIR} is in use by process ${process.pid}\n`,
      ],
    )
  })

  test('doctor finds what is dangerous, and what is broken, and its exit code tells', async () => {
    const env = await freshEnvironment({ AUTH_COOKIE_SECURE: 'false', AUTH_BCRYPT_ROUNDS: '4' })
    const report = await run(env, 'doctor')
    for (const found of ['AUTH_COOKIE_SECURE is false', 'AUTH_BCRYPT_ROUNDS is 4', 'rate limit is off'])
      assert.ok(report.includes(found), found)

    const unreachable = { ...env, DATABASE_URL: 'postgres://somebody:hidden@127.0.0.1:1/none' }
    const down = await cerrojo(unreachable, 'doctor')
    assert.equal(down.code, 1)
    assert.ok(!`${down.stdout}${down.stderr}`.includes('hidden'))
  })
})

suite('cerrojo doctor, on keys', () => {
  interface Finding {
    level: string
    about: string
    found: string
    advice: string
  }
  async function onKeys(env: Environment): Promise<{ code: number; findings: string[] }> {
    const { code, stdout } = await cerrojo(env, 'doctor', '--json')
    const findings = (JSON.parse(stdout) as Finding[]).filter(({ about }) => about === 'keys')
    return { code, findings: findings.map(({ level, found, advice }) => `${level}: ${found}: ${advice}`) }
  }
  /** What it says of keys that are in order, whose secret all nodes have. */
  const IN_ORDER = { code: 0, findings: ['ok: 4 open, none is overdue: '] }
  async function inOrder(): Promise<Environment & { AUTH_KEYS_SECRET: string }> {
    const env = await freshEnvironment()
    return { ...env, AUTH_KEYS_SECRET: await readFile(fileOf(env), 'utf8') }
  }
  const soon = () => Math.floor(Date.now() / 1000) + 60

  const cases: Record<string, { change: (env: Environment) => unknown; says: RegExp[]; code?: number }> = {
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
      change: async (env) => replaceKey(env, await held(env, 'sig'), { ends_at: soon() - 120 }),
      says: [/^risky: there is no sig key: /],
    },
    'one is overdue, and no next one made': {
      change: (env) => age(env, 91 * DAY_SECONDS, ['sig']),
      says: [/^risky: the sig key is in use since \d{4}-\S+Z: cerrojo keys rotate, and see why no server does$/],
    },
    'one is overdue, but the next one is made': {
      change: async (env) => {
        await age(env, 91 * DAY_SECONDS, ['sig'])
        await addKey(env, { use: 'sig', first_use: soon() })
      },
      says: [/^ok: 5 open/],
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
        /^broken: The \w+ key 1 in the database does not open with the secret from AUTH_KEYS_SECRET: copy .*reset --yes/,
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
      assert.deepEqual(await onKeys(env), IN_ORDER)
      const secrets = (await readKeys(env)).flatMap(({ jwk }) => [jwk.d, jwk.k]).filter(Boolean)
      await change(env)
      const report = await onKeys(env)
      assert.equal(report.findings.length, says.length, report.findings.join())
      for (const [index, pattern] of says.entries()) assert.match(report.findings[index] as string, pattern)
      assert.equal(report.code, code)
      for (const secret of [...secrets, env.AUTH_KEYS_SECRET]) assert.ok(!report.findings.join().includes(secret))
    })

  test('the secret is in a file', async () => {
    const env = await freshEnvironment()
    const onlyHere = [`risky: their secret is in ${fileOf(env)} alone: give it to all nodes as AUTH_KEYS_SECRET`]
    const expected = env.DATABASE_URL ? onlyHere : IN_ORDER.findings
    assert.deepEqual((await onKeys(env)).findings, expected)
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
