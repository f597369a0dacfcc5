/** Users who come from another system with their bcrypt hashes, by `cerrojo users import`. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import bcrypt from 'bcrypt'
import { atTerminal, feed, refused, run } from '../support/command.ts'
import { type Environment, freshEnvironment, runSql, startServer } from '../support/server.ts'

const PASSWORD = 'fresh apples 9'
const HASH = bcrypt.hashSync(PASSWORD, 4)
const hashLike = (start: string) => start + HASH.slice(start.length)

const jsonLines = (lines: (object | string)[]) =>
  lines.map((line) => `${typeof line === 'string' ? line : JSON.stringify(line)}\n`).join('')
const numbered = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, index) => ({
    email: `user${from + index}@example.com`,
    password_hash: HASH,
  }))

async function fileOf(env: Environment, lines: (object | string)[]): Promise<string> {
  const path = join(env.AUTH_DATA_DIR as string, 'users.jsonl')
  await writeFile(path, jsonLines(lines))
  return path
}

const countUsers = async (env: Environment) => (await runSql(env, 'select count(*)::int as count from users'))[0]?.count

suite('cerrojo users import', () => {
  test('takes users in as they were, who log in with the passwords that they had', async () => {
    const env = await freshEnvironment({ AUTH_BCRYPT_ROUNDS: '5' })
    const id = randomUUID()
    const path = await fileOf(env, [
      { email: ' Ada@Example.com', password_hash: hashLike('$2y$04$'), email_verified: true, id: id.toUpperCase() },
      '',
      { email: 'bob@example.com', password_hash: hashLike('$2a$04$'), created_at: '2020-02-03T04:05:06+02:00' },
      { email: 'eve@example.com', password_hash: hashLike('$2b$04$'), disabled: true, created_at: '2020-02-30' },
    ])
    assert.equal(await run(env, 'users', 'import', path), 'imported 3 users; refused 0 lines\n')
    const rows = await runSql(env, 'select * from users order by email')
    assert.deepEqual(
      rows.map((row) => [row.email, row.email_verified, row.disabled_at !== null, row.password_hash]),
      [
        ['ada@example.com', true, false, hashLike('$2y$04$')],
        ['bob@example.com', false, false, hashLike('$2a$04$')],
        ['eve@example.com', false, true, HASH],
      ],
    )
    assert.equal(rows[0]?.id, id)
    assert.deepEqual(rows[1]?.created_at, new Date('2020-02-03T02:05:06Z'))
    const server = await startServer(env)
    const answers = []
    for (const { email } of rows)
      answers.push((await server.call('POST', '/auth/login', { body: { email, password: PASSWORD } })).status)
    assert.deepEqual(answers, [200, 200, 401])
    const [ada] = await runSql(env, 'select password_hash from users order by email')
    assert.match(ada?.password_hash as string, /^\$2b\$05\$/)
  })

  test('lists each line that cannot be taken with its number and why, takes the others, and exits with 1', async () => {
    const env = await freshEnvironment()
    const taken = randomUUID()
    await run(env, 'users', 'import', await fileOf(env, [{ email: 'old@example.com', password_hash: HASH, id: taken }]))
    const user = (more: object) => ({ email: 'x@example.com', password_hash: HASH, ...more })
    const hashRule = 'password_hash must be bcrypt, $2a$, $2b$ or $2y$, of cost 4 to 16'
    const takenRule = 'the email or the id is taken, by a user or by an earlier line'
    const timeRule = 'created_at must be a time of the past like 2024-05-01T12:00:00Z'
    const cases: [object | string, string | undefined][] = [
      [
        { email: 'first@example.com', password_hash: HASH, email_verified: null, id: null, created_at: null },
        undefined,
      ],
      ['{"email": "cut@example.com", "password_ha', 'the line is no JSON object'],
      ['[1]', 'the line is no JSON object'],
      ['null', 'the line is no JSON object'],
      [user({ email: 'nobody' }), 'email must be like name@example.com, in at most 254 characters of ASCII'],
      [user({ email: 7 }), 'email must be a text'],
      [{ email: 'x@example.com' }, hashRule],
      [user({ password_hash: hashLike('$2b$17$') }), hashRule],
      [user({ password_hash: hashLike('$2b$03$') }), hashRule],
      [user({ password_hash: hashLike('$2x$10$') }), hashRule],
      [user({ password_hash: `${HASH}x` }), hashRule],
      [user({ password_hash: '$argon2id$v=19$m=65536' }), hashRule],
      [user({ id: '7' }), 'id must be a UUID'],
      [user({ email_verified: 'yes' }), 'email_verified must be true or false'],
      [user({ disabled: 'no' }), 'disabled must be true or false'],
      [user({ created_at: 'yesterday' }), timeRule],
      [user({ created_at: '2024-05-01T12:00:00' }), timeRule],
      [user({ created_at: '2999-01-01T00:00:00Z' }), timeRule],
      [user({ created_at: '2024-01-01T00:00:00+99:00' }), timeRule],
      [user({ created_at: 1714564800 }), timeRule],
      [
        user({ emailVerified: true }),
        'there is no field "emailVerified", only email, password_hash, email_verified, id, created_at, disabled',
      ],
      [user({ email: 'OLD@example.com' }), takenRule],
      [user({ email: 'FIRST@example.com' }), takenRule],
      [user({ email: 'new@example.com', id: taken }), takenRule],
      [{ email: 'new@example.com', password_hash: HASH }, undefined],
    ]
    const input = jsonLines(cases.map(([line]) => line))
    const refusals = cases.flatMap(([, reason], index) => (reason ? [{ line: index + 1, reason }] : []))
    const { code, stdout, stderr } = await feed(env, input, 'users', 'import')
    assert.deepEqual([code, stdout], [1, `imported 2 users; refused ${refusals.length} lines\n`])
    assert.deepEqual(
      stderr.trimEnd().split('\n').sort(),
      refusals.map(({ line, reason }) => `line ${line}: ${reason}`).sort(),
    )
    const again = await feed(env, input, 'users', 'import', '--json')
    assert.deepEqual([again.code, again.stderr], [1, ''])
    const told = JSON.parse(again.stdout)
    assert.deepEqual([told.imported, told.refused], [0, cases.length])
    assert.deepEqual(told.refusals.at(-1), { line: cases.length, reason: takenRule })
    assert.equal(await countUsers(env), 3)
  })

  test('names the earlier of two equal lines as the one that counts, in one batch or in two', async () => {
    const env = await freshEnvironment()
    const lines = numbered(1, 7000)
    const double = { email: 'double@example.com', password_hash: HASH }
    const { code, stderr } = await feed(env, jsonLines([double, double, ...lines, double]), 'users', 'import')
    assert.equal(code, 1)
    assert.deepEqual(stderr.match(/^line \d+/gm), ['line 2', 'line 7003'])
    assert.equal(await countUsers(env), 7001)
  })

  test('has each batch in the database whole or not at all, and says where it stopped', async () => {
    const env = await freshEnvironment()
    await runSql(env, `create function refuse() returns trigger as 'begin raise ''no room''; end' language plpgsql`)
    await runSql(
      env,
      `create trigger refuse before insert on users for each row
         when (new.email = 'user7000@example.com') execute function refuse()`,
    )
    const path = await fileOf(env, numbered(1, 12_000))
    const told = await refused(env, 'users', 'import', path)
    assert.match(told, /^cerrojo: stopped; lines 1 to 5000 are done, those behind them not: .*no room\n$/)
    assert.equal(await countUsers(env), 5000)
    await runSql(env, 'drop trigger refuse on users')
    const { code, stdout } = await feed(env, jsonLines(numbered(5001, 12_000)), 'users', 'import', '-')
    assert.deepEqual([code, stdout], [0, 'imported 7,000 users; refused 0 lines\n'])
    assert.equal(await countUsers(env), 12_000)
  })

  test('shows at a terminal how far it is, and no list of lines is torn by that', async () => {
    const env = await freshEnvironment()
    const path = await fileOf(env, [...numbered(1, 5001), 'no JSON'])
    const { code, screen } = await atTerminal(env, 'users', 'import', path).end()
    assert.equal(code, 1)
    const shown = screen.replaceAll('\r\u001b[K', '<clear>')
    assert.match(shown, /<clear>imported 5,000 users, [\d,]+ a second<clear>/)
    assert.match(shown, /<clear>line 5002: the line is no JSON object\r\n/)
    assert.match(screen, /imported 5,001 users; refused 1 line\r\n$/)
  })

  test('wants a file that is there, or lines', async () => {
    const env = await freshEnvironment()
    assert.match(await refused(env, 'users', 'import', '/no/such/file'), /no such file or directory/)
    const { code, screen } = await atTerminal(env, 'users', 'import').end()
    assert.deepEqual([code, /cerrojo: a file is wanted, or lines on standard input/.test(screen)], [1, true], screen)
  })
})
