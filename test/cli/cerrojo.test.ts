import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { link, mkdir, readdir, readFile, rename, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { COMMAND, cerrojo, refused, run } from '../support/command.ts'
import { decodeJson, type Jwk } from '../support/jose_by_hand.ts'
import { addKey, type HeldKey, readKeys, replaceKey, type Use } from '../support/keys.ts'
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

const DAY_SECONDS = 86_400
const newSecret = () => randomBytes(32).toString('base64url')

const fileOf = (env: Environment) => join(env.AUTH_DATA_DIR as string, 'keys-secret')
const held = async (env: Environment, use: Use) => (await readKeys(env)).find((key) => key.use === use) as HeldKey

async function states(env: Environment): Promise<string[]> {
  const keys: { use: string; state: string }[] = JSON.parse(await run(env, 'keys', 'list', '--json'))
  return keys.map(({ use, state }) => `${use} ${state}`).sort()
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
    const next = await addKey(env, { use: 'sig', first_use: now + 3600 })
    const misdated = await addKey(env, { use: 'sig', first_use: now + 400 * DAY_SECONDS })
    const listed: Record<string, string>[] = JSON.parse(await run(env, 'keys', 'list', '--json'))
    const found = Object.fromEntries(listed.map(({ kid, ...key }) => [kid, key]))
    const time = (seconds: number) => `${new Date(seconds * 1000).toISOString().slice(0, 19)}Z`
    const expected: [HeldKey, string, string][] = [
      [gone, 'gone', time(now - DAY_SECONDS)],
      [retired, 'retired', time(now + 13 * DAY_SECONDS)],
      [active, 'active', time(now + 3600 + 14 * DAY_SECONDS)],
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
    const by = Math.ceil(Date.now() / 1000)
    for (const [use, lead] of Object.entries({ sig: 1200, enc: 7 * DAY_SECONDS, mac: 1200 })) {
      const next = (await readKeys(env)).find((key) => key.use === use && key.number === 2) as HeldKey
      assert.ok(next.first_use >= at + lead && next.first_use <= by + lead, use)
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
    const { jwksUrl } = JSON.parse(await run({ ...env, HOST: 'auth.internal', PORT: '8080' }, 'keys', 'export'))
    assert.equal(jwksUrl, 'http://auth.internal:8080/.well-known/jwks.json')
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

  test('what it reads and makes is sealed with the secret of the environment, which may stand in a file', async () => {
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

  test('reset deletes all keys when told yes, without their secret; access tokens die, and sessions live', async () => {
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

  test('export --watch keeps its file current through rotations and a failing database, until a signal', async () => {
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
      AUTH_KEY_GRACE_DAYS: String(120 / DAY_SECONDS),
      AUTH_ACCESS_TTL_SEC: '60',
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
      [['fly'], 'there is no command "fly"; did you mean'],
      [['--versoin'], 'a command is wanted before --versoin; did you mean --version? See cerrojo --help'],
      [['-x', 'keys', 'list'], 'a command is wanted before -x'],
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

  test('purge goes by the days that it is told or that are set, or by thirty, and takes ended counters', async () => {
    const env = await freshEnvironment()
    const [user] = await runSql(env, `insert into users (email, password_hash) values ('a@b.co', 'x') returning id`)
    const ages: [expiredDays: number, revokedDays: number | null][] = [
      [-1, null],
      [1, null],
      [3, null],
      [-1, 3],
      [31, null],
    ]
    for (const [expired, revoked] of ages)
      await runSql(
        env,
        `insert into refresh_tokens (id, user_id, token_hash, expires_at, ends_at, revoked_at)
         values (gen_random_uuid(), $1, '', now() - $2 * interval '1 day', now(), now() - $3 * interval '1 day')`,
        [user?.id, expired, revoked],
      )
    await runSql(
      env,
      `insert into rate_limits values ('over', 1, 1), ('counting', 1, extract(epoch from now()) * 2000)`,
    )

    const unset = { ...env, AUTH_PURGE_AFTER_DAYS: '0' }
    assert.equal(await run(unset, 'purge'), 'deleted 1 session that ended more than 30 days ago\n')
    assert.deepEqual(await runSql(env, 'select key from rate_limits'), [{ key: 'counting' }])
    assert.equal(await run(env, 'purge', '--days', '3.5'), 'deleted 0 sessions that ended more than 3.5 days ago\n')
    const set = { ...env, AUTH_PURGE_AFTER_DAYS: '2' }
    assert.equal(await run(set, 'purge'), 'deleted 2 sessions that ended more than 2 days ago\n')
    assert.equal((await runSql(env, 'select id from refresh_tokens')).length, 2)
    for (const days of ['-1', '1e3', '99999.5', '100000', '1 day'])
      assert.match(await refused(env, 'purge', `--days=${days}`), /--days must be a number up to 99999/)
  })

  test('leaves an embedded database alone that a running server holds', async (t) => {
    const env = await freshEnvironment()
    if (env.DATABASE_URL) return t.skip('PostgreSQL serves several at once')
    await startServer(env)
    const { code, stderr } = await cerrojo(env, 'purge')
    const found = `the embedded database in ${env.AUTH_DATA_DIR} is in use by process ${process.pid}`
    assert.deepEqual([code, stderr], [1, `cerrojo: Stop the other process first: ${found}\n`])
  })
})
