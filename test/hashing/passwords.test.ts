/** The gate in front of bcrypt: who is let through, in what numbers, and what is spent on whom. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { suite, test } from 'node:test'
import bcrypt from 'bcrypt'
import fc from 'fast-check'
import { BEHIND_PROXY, from, newAddress, newWideNetwork } from '../support/addresses.ts'
import { assertRefused } from '../support/answers.ts'
import {
  type Answer,
  type Environment,
  freshEnvironment,
  newCredentials,
  registerSomebody,
  runSql,
  type Server,
  startProcess,
  startServer,
  untilAnswered,
} from '../support/server.ts'
import { watchThreads } from '../support/threads.ts'
import { until } from '../support/wait.ts'

const threads = watchThreads()
const logIn = (server: Server, body: object) => server.call('POST', '/auth/login', { body })
const register = (server: Server) => server.call('POST', '/auth/register', { body: newCredentials() })

suite('what a login costs', async () => {
  const ROUNDS = 2 ** 7
  const server = await startServer({ AUTH_BCRYPT_ROUNDS: '7' })

  test("does not tell an unknown email from a wrong password, whatever its hash's lower cost and form", async () => {
    const unknown = newCredentials()
    const answers: Answer[] = []
    const costOfUnknown = await threads.roundsOf(async () => answers.push(await logIn(server, unknown)))
    assert.equal(costOfUnknown, ROUNDS)

    const { email, password } = await registerSomebody(server)
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 4, max: 7 }), fc.constantFrom('a', 'b', 'y'), async (cost, minor) => {
        await storeHash(server.env, email, bcrypt.hashSync(password, cost).replace('$2b', `$2${minor}`))
        const costOfWrong = await threads.roundsOf(async () => answers.push(await logIn(server, { ...unknown, email })))
        assert.equal(costOfWrong, ROUNDS)
      }),
      { numRuns: 24 },
    )
    for (const answer of answers) {
      assertRefused(answer, 401, 'AUTH_INVALID_CREDENTIALS')
      assert.deepEqual(answer.body, answers[0]?.body)
    }
  })

  test('does not tell a user who is disabled either, with the right password or a wrong one', async () => {
    const credentials = await registerSomebody(server)
    await runSql(server.env, 'update users set disabled_at = now() where email = $1', [credentials.email])
    for (const hashCost of [7, 5])
      for (const body of [credentials, { ...newCredentials(), email: credentials.email }]) {
        await storeHash(server.env, credentials.email, bcrypt.hashSync(credentials.password, hashCost))
        const cost = await threads.roundsOf(async () =>
          assertRefused(await logIn(server, body), 401, 'AUTH_INVALID_CREDENTIALS'),
        )
        assert.equal(cost, ROUNDS)
      }
  })

  test('is one comparison of a higher cost where the hash is of one', async () => {
    const { email, password } = await registerSomebody(server)
    await storeHash(server.env, email, bcrypt.hashSync(password, 9))
    const cost = await threads.roundsOf(() => logIn(server, { email, password: 'wrong' }))
    assert.deepEqual([cost, threads.tasks.length], [2 ** 9, 1])
  })
})

suite('a stored hash', () => {
  for (const [form, minor, cost] of [
    ['of a lower cost', 'b', 4],
    ['of a higher cost', 'b', 6],
    ['of the form $2y$, as PHP makes it,', 'y', 5],
    ['of the form $2a$', 'a', 5],
    ['of the form $2y$ and a lower cost', 'y', 4],
  ] as const)
    test(`${form} is replaced by a current one, by the right password alone`, async () => {
      const server = await startServer({ AUTH_BCRYPT_ROUNDS: '5' })
      const { email, password } = await registerSomebody(server)
      const hash = bcrypt.hashSync(password, cost).replace('$2b', `$2${minor}`)
      await storeHash(server.env, email, hash)
      assertRefused(await logIn(server, { email, password: 'wrong' }), 401, 'AUTH_INVALID_CREDENTIALS')
      assert.equal(await storedHash(server.env, email), hash)
      assert.equal((await logIn(server, { email, password })).status, 200)
      const current = await storedHash(server.env, email)
      assert.match(current, /^\$2b\$05\$/)
      assert.equal((await logIn(server, { email, password })).status, 200)
      assert.equal(await storedHash(server.env, email), current, 'and that one stays')
    })

  test('that is none, or of a cost above 16, fits no password and costs the same', async () => {
    const server = await startServer({ AUTH_BCRYPT_ROUNDS: '5' })
    const { password } = newCredentials()
    const good = bcrypt.hashSync(password, 5)
    for (const hash of [
      '',
      'nonsense',
      password,
      good.slice(0, -1),
      `${good}.`,
      good.replace('$2b', '$2x'),
      good.replace('$2b', '$2'),
      good.replace('$05', '$03'),
      good.replace('$05', '$17'),
      good.replace('$05', '$31'),
      good.replace('$05', '$99'),
      '$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b7dWRWJTmaaZqMGX',
    ]) {
      const { email } = await registerSomebody(server)
      await storeHash(server.env, email, hash)
      const cost = await threads.roundsOf(async () =>
        assertRefused(await logIn(server, { email, password }), 401, 'AUTH_INVALID_CREDENTIALS'),
      )
      assert.equal(cost, 2 ** 5, hash)
      assert.equal(await storedHash(server.env, email), hash)
    }
  })

  test('that nothing can be compared with is told to the operator, with whose it is', async () => {
    const env = await freshEnvironment({ LOG_LEVEL: 'warn' })
    const before = await startProcess(env)
    const [broken, whole] = [await registerSomebody(before), await registerSomebody(before)]
    await before.end('SIGTERM')
    await storeHash(env, broken.email, `$2b$17$${'.'.repeat(53)}`)
    const [user] = await runSql(env, 'select id from users where email = $1', [broken.email])

    const after = await startProcess(env)
    for (const body of [broken, { ...whole, password: 'wrong' }, newCredentials()])
      assertRefused(await logIn(after, body), 401, 'AUTH_INVALID_CREDENTIALS')
    await after.end('SIGTERM')
    const warnings = after
      .output()
      .split('\n')
      .filter((line) => line.includes('password_hash'))
    assert.equal(warnings.length, 1)
    assert.match(warnings[0] as string, new RegExp(`password_hash of user ${user?.id} is not bcrypt of cost 4 to 16`))
    assert.ok(!warnings[0]?.includes('......'), 'and not the hash itself')
  })
})

suite('at the gate', () => {
  test('no more are hashed at once than are allowed, whoever comes, and nobody is forgotten', async () => {
    const server = await startServer({ ...BEHIND_PROXY, AUTH_HASH_CONCURRENCY: '3' })
    const known = await registerSomebody(server)
    threads.mostRunning = 0
    const kinds = fc.constantFrom('register', 'right', 'wrong', 'unknown')
    await fc.assert(
      fc.asyncProperty(fc.array(kinds, { minLength: 10, maxLength: 40 }), async (attempts) => {
        const answers = attempts.map((kind) => {
          const there = from(newAddress(), server)
          if (kind === 'register') return untilAnswered(() => register(there))
          const body = { ...newCredentials(), ...(kind === 'wrong' && { email: known.email }) }
          return untilAnswered(() => logIn(there, kind === 'right' ? known : body))
        })
        const statuses = (await Promise.all(answers)).map(({ status }) => status)
        const expected = { register: 201, right: 200, wrong: 401, unknown: 401 }
        assert.deepEqual(
          statuses,
          attempts.map((kind) => expected[kind]),
        )
      }),
      { numRuns: 5 },
    )
    assert.deepEqual([threads.mostRunning, threads.running], [3, 0])
  })

  test('beyond the queue nobody waits, and is told so before anybody else is done', async () => {
    const server = await startServer({ ...BEHIND_PROXY, AUTH_HASH_CONCURRENCY: '2', AUTH_HASH_QUEUE: '3' })
    const release = threads.hold()
    const order: number[] = []
    const all = Array.from({ length: 12 }, async () => {
      const answer = await register(from(newAddress(), server))
      order.push(answer.status)
      return answer
    })
    await until('seven to be refused', () => order.length >= 7)
    release()
    const answers = await Promise.all(all)
    assert.deepEqual(order, [...Array(7).fill(503), ...Array(5).fill(201)])
    for (const answer of answers.filter(({ status }) => status === 503)) {
      assertRefused(answer, 503, 'AUTH_UNAVAILABLE')
      assert.ok(Number(answer.headers.get('retry-after')) >= 1)
    }
    assert.equal((await register(server)).status, 201, 'the queue is free again')
  })

  const wide = newWideNetwork()
  for (const [what, addressOf] of [
    ['an IPv4 address', () => '198.51.100.1'],
    ['an IPv6 network of 48 bits', wide],
  ] as const)
    test(`${what} gets a quarter of the queue, and leaves the rest to others`, async () => {
      const server = await startServer({ ...BEHIND_PROXY, AUTH_HASH_CONCURRENCY: '1', AUTH_HASH_QUEUE: '8' })
      const somebody = await registerSomebody(server)
      const release = threads.hold()
      let refused = 0
      const flood = Array.from({ length: 130 }, async (_, number) => {
        const answer = await logIn(from(addressOf(number), server), newCredentials())
        if (answer.status === 503) refused++
        return answer.status
      })
      await until('all to be refused but three', () => refused === 127)
      const elsewhere = Array.from({ length: 6 }, () => logIn(from(newAddress(), server), somebody))
      release()
      for (const answer of await Promise.all(elsewhere)) assert.equal(answer.status, 200)
      assert.deepEqual(
        (await Promise.all(flood)).filter((status) => status !== 503),
        [401, 401, 401],
      )
    })

  test('a login that is refused because too many wait takes nobody an attempt', async () => {
    const server = await startServer({
      AUTH_HASH_CONCURRENCY: '1',
      AUTH_HASH_QUEUE: '0',
      AUTH_RATE_LIMIT_LOGIN: '1',
      AUTH_RATE_LIMIT_ACCOUNT: '1',
    })
    const credentials = await registerSomebody(server)
    const release = threads.hold()
    const registration = register(server)
    await until('a registration to be hashed', () => threads.running === 1)
    for (let attempt = 1; attempt <= 3; attempt++)
      assertRefused(await logIn(server, credentials), 503, 'AUTH_UNAVAILABLE')
    release()
    await registration
    assert.equal((await logIn(server, credentials)).status, 200)
  })

  test('nothing is hashed for whoever has gone when the turn comes, and no attempt is counted', async () => {
    const server = await startServer({
      AUTH_HASH_CONCURRENCY: '1',
      AUTH_RATE_LIMIT_LOGIN: '1',
      AUTH_RATE_LIMIT_ACCOUNT: '1',
      AUTH_RATE_LIMIT_FAILURES: '1',
    })
    const gone = await registerSomebody(server)
    const release = threads.hold()
    const registration = register(server)
    await until('a registration to be hashed', () => threads.running === 1)
    threads.tasks.length = 0
    await sendAndLeave(server, '/auth/login', gone)
    for (let count = 1; count <= 8; count++)
      await sendAndLeave(server, count % 2 ? '/auth/login' : '/auth/register', newCredentials())
    release()
    await registration
    await until('the attempt to be given back', async () => (await logIn(server, gone)).status === 200)
    assert.deepEqual(
      threads.tasks.map(({ name }) => name),
      ['compare'],
      'of the last login',
    )
  })

  test('nothing is hashed for whoever has used up the failures of his address when the turn comes', async () => {
    const server = await startServer({
      ...BEHIND_PROXY,
      AUTH_HASH_CONCURRENCY: '1',
      AUTH_HASH_QUEUE: '8',
      AUTH_RATE_LIMIT_FAILURES: '1',
    })
    const [here, elsewhere] = [from(newAddress(), server), from(newAddress(), server)]
    /** Two of three get a quarter of the queue, and when the third is refused, they wait in it. */
    async function twoWaiting(attempt: () => Promise<Answer>): Promise<Promise<Answer>[]> {
      const attempts = [attempt(), attempt(), attempt()]
      const refused = await Promise.race(attempts.map(async (answer, index) => ({ ...(await answer), index })))
      assertRefused(refused, 503, 'AUTH_UNAVAILABLE')
      return attempts.filter((_, index) => index !== refused.index)
    }
    threads.tasks.length = 0
    const releaseFirst = threads.hold()
    const first = logIn(here, newCredentials())
    await until('the first to be hashed', () => threads.running === 1)
    const release = threads.hold()
    const others = await twoWaiting(() => register(elsewhere))
    const late = await twoWaiting(() => logIn(here, newCredentials()))
    releaseFirst()
    assertRefused(await first, 401, 'AUTH_INVALID_CREDENTIALS')
    release()
    for (const answer of others) assert.equal((await answer).status, 201)
    for (const answer of late) assertRefused(await answer, 429, 'AUTH_RATE_LIMIT')
    const comparisons = threads.tasks.filter(({ name }) => name === 'compare')
    assert.equal(comparisons.length, 1, 'of the first')
  })
})

suite('the threads', () => {
  test('yield to the one that answers requests', { skip: process.platform !== 'linux' }, async () => {
    const server = await startProcess(await freshEnvironment())
    assert.equal((await register(server)).status, 201)
    const niceness = nicenessOfThreads(server.process.pid as number)
    const [main, ...others] = niceness
    assert.equal(others.filter((value) => value === Math.min(19, Number(main) + 10)).length > 0, true, String(niceness))
    assert.equal((await server.call('GET', '/.well-known/jwks.json')).status, 200)
  })

  test('are of one server, and end with it', async () => {
    const [one, other] = [await startServer(), await startServer()]
    assert.equal((await register(one)).status, 201)
    assert.equal((await register(other)).status, 201)
    const pool = threads.pools.at(-2)
    assert.equal(pool?.threads.length, 1)
    await one.close()
    assert.equal(pool?.threads.length, 0)
    assert.equal((await register(other)).status, 201)
  })
})

function storeHash(env: Environment, email: string, hash: string) {
  return runSql(env, 'update users set password_hash = $2 where email = $1', [email, hash])
}

async function storedHash(env: Environment, email: string): Promise<string> {
  const [user] = await runSql(env, 'select password_hash from users where email = $1', [email])
  return user?.password_hash as string
}

/** A whole request, of a client that closes the connection without waiting for the answer. */
async function sendAndLeave(server: Server, path: string, body: object): Promise<void> {
  const { hostname, port } = new URL(server.url)
  const content = JSON.stringify(body)
  const socket = connect(Number(port), hostname)
  socket.write(
    `POST ${path} HTTP/1.1\r\nHost: ${hostname}\r\nContent-Type: application/json\r\n` +
      `Content-Length: ${content.length}\r\n\r\n${content}`,
  )
  await server.call('GET', '/.well-known/jwks.json')
  socket.end()
  await once(socket, 'close')
}

/** Of each thread of a process, its first one first. */
function nicenessOfThreads(processId: number): number[] {
  const folder = `/proc/${processId}/task`
  // The second field of stat is a name in brackets that may hold anything; the nineteenth is the niceness.
  return readdirSync(folder).map((thread) =>
    Number(readFileSync(`${folder}/${thread}/stat`, 'utf8').split(') ').at(-1)?.split(' ')[16]),
  )
}
