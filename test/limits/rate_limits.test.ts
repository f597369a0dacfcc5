/** The rate limits over real HTTP: what is counted, against whom, and who that is behind a proxy. */
import assert from 'node:assert/strict'
import { randomBytes, randomUUID } from 'node:crypto'
import { mock, suite, test } from 'node:test'
import fc from 'fast-check'
import { loadConfig } from '../../src/config.ts'
import type { Database } from '../../src/db/database.ts'
import { createRateLimits } from '../../src/limits/rate_limits.ts'
import { AuthError, type Client } from '../../src/models/types.ts'
import { BEHIND_PROXY, from, newAddress, newWideNetwork } from '../support/addresses.ts'
import { assertRefused } from '../support/answers.ts'
import { tryAtRandom } from '../support/at_random.ts'
import { encryptJwe, type Jwk } from '../support/jose_by_hand.ts'
import {
  type Answer,
  freshEnvironment,
  logInSomebody,
  me,
  newCredentials,
  newIdempotencyKey,
  onPostgres,
  refresh,
  registerSomebody,
  runSql,
  type Server,
  startServer,
} from '../support/server.ts'
import { watchThreads } from '../support/threads.ts'
import { until } from '../support/wait.ts'

const threads = watchThreads()
const MINUTE_MS = 60_000
const CLIENT: Client = {
  ip: '192.0.2.1',
  network: '192.0.2.1',
  wideNetwork: '192.0.2.1',
  userAgent: undefined,
  isGone: () => false,
  tell() {},
}
const SHORT_WINDOW_MS = 15 * MINUTE_MS

const wrong = (email: string) => ({ email, password: 'wrong' })
const logIn = (at: Server, body: unknown) => at.call('POST', '/auth/login', { body })
const logOut = (at: Server, token: string) => at.call('POST', '/auth/logout', { body: { refresh_token: token } })
const register = (at: Server, body: unknown = newCredentials()) => at.call('POST', '/auth/register', { body })
const unknownToken = () => randomBytes(48).toString('base64url')

suite('logins of one email from one address', async () => {
  const server = await startServer({ ...BEHIND_PROXY, AUTH_RATE_LIMIT_LOGIN: '3' })

  test('are limited by the wrong passwords among them, and then also the right one is refused', async () => {
    const { email, password } = await registerSomebody(server)
    const here = from(newAddress(), server)
    for (const spelling of [email, email.toUpperCase(), ` ${email} `]) await assertWrong(here, spelling)
    assertLimited(await logIn(here, { email, password }))
    assertLimited(await logIn(here, { email: email.toUpperCase(), password }))
    assert.equal((await logIn(from(newAddress(), server), { email, password })).status, 200, 'from elsewhere')
    assert.equal((await logIn(here, await registerSomebody(server))).status, 200, 'somebody else')
  })

  test('go on with the right password as often as anybody likes', async () => {
    const { email, password } = await registerSomebody(server)
    const here = from(newAddress(), server)
    for (let count = 1; count <= 12; count++) assert.equal((await logIn(here, { email, password })).status, 200)
    for (let count = 1; count <= 3; count++) await assertWrong(here, email)
    assertLimited(await logIn(here, { email, password }))
  })

  test('of an email that nobody has are limited just the same', async () => {
    const here = from(newAddress(), server)
    const { email } = newCredentials()
    for (let count = 1; count <= 3; count++) await assertWrong(here, email)
    assertLimited(await logIn(here, wrong(email)))
  })

  test('are counted before they are compared, so that a hundred at once are no more than one by one', async () => {
    const { email } = await registerSomebody(server)
    const here = from(newAddress(), server)
    threads.tasks.length = 0
    const answers = await Promise.all(Array.from({ length: 100 }, () => logIn(here, wrong(email))))
    assertAtMost(answers, 401, 3)
    assert.equal(threads.tasks.length, tally(answers)[401])
  })

  test('that were refused, or came to nothing for another reason than the password, are not counted', async () => {
    const server = await startServer({
      ...BEHIND_PROXY,
      AUTH_RATE_LIMIT_LOGIN: '3',
      AUTH_REQUIRE_VERIFIED_EMAIL: 'true',
    })
    const { email, password } = await registerSomebody(server)
    const here = from(newAddress(), server)
    const answers = await Promise.all(Array.from({ length: 20 }, () => logIn(here, { email, password })))
    for (const { status } of answers) assert.ok(status === 403 || status === 429)
    for (let count = 1; count <= 5; count++)
      assertRefused(await logIn(here, { email, password }), 403, 'AUTH_EMAIL_NOT_VERIFIED')
    for (let count = 1; count <= 3; count++) await assertWrong(here, email)
    assertLimited(await logIn(here, wrong(email)))
  })

  test('are free again after a quarter of an hour', () =>
    withClock(async (advance) => {
      const { email } = newCredentials()
      const here = from(newAddress(), server)
      for (let count = 1; count <= 3; count++) await assertWrong(here, email)
      advance(SHORT_WINDOW_MS - MINUTE_MS)
      const seconds = Number((await logIn(here, wrong(email))).headers.get('retry-after'))
      assert.ok(seconds >= 1 && seconds <= 60, `${seconds}`)
      advance(MINUTE_MS)
      for (let count = 1; count <= 3; count++) await assertWrong(here, email)
      assertLimited(await logIn(here, wrong(email)))
    }))

  for (const [when, wrongBefore] of [
    ['nobody has begun yet', 0],
    ['others have begun', 2],
  ] as const)
    test(`that began before a window ended give nothing back to the next one, which ${when}`, () =>
      withClock(async (advance) => {
        const credentials = await registerSomebody(server)
        const here = from(newAddress(), server)
        const release = threads.holdNext()
        const right = logIn(here, credentials)
        await until('it to be compared', () => threads.running === 1)
        advance(SHORT_WINDOW_MS)
        for (let count = 1; count <= wrongBefore; count++) await assertWrong(here, credentials.email)
        release()
        assert.equal((await right).status, 200)
        for (let count = wrongBefore + 1; count <= 3; count++) await assertWrong(here, credentials.email)
        assertLimited(await logIn(here, credentials))
      }))
})

suite('an account', async () => {
  const server = await startServer({ ...BEHIND_PROXY, AUTH_RATE_LIMIT_ACCOUNT: '4' })

  test('beyond its limit has one attempt left for each network, and a right one is as good as any', async () => {
    const { email, password } = await registerSomebody(server)
    await useUp(server, email, 4)
    const [one, other, owner] = [from(newAddress(), server), from(newAddress(), server), from(newAddress(), server)]
    for (const there of [one, other]) {
      await assertWrong(there, email)
      assertLimited(await logIn(there, { email, password }), 900)
    }
    assert.equal((await logIn(owner, { email, password })).status, 200)
    for (let count = 1; count <= 5; count++) await assertWrong(owner, email.toUpperCase())
    assert.equal((await logIn(owner, { email, password })).status, 200, 'there he has a session')
    assertLimited(await logIn(one, { email, password }), 900)
  })

  test('counts an IPv6 network of 48 bits as one, and is the same for an email that nobody has', async () => {
    const { email } = newCredentials()
    await useUp(server, email, 4)
    const wide = newWideNetwork()
    await assertWrong(from(wide(1), server), email)
    assertLimited(await logIn(from(wide(2), server), wrong(email)))
    await assertWrong(from(newWideNetwork()(1), server), email)
  })

  test('beyond ten times its limit has none, but where its owner has a session', async () => {
    const { email, password } = await registerSomebody(server)
    const home = newWideNetwork()
    assert.equal((await logIn(from(home(7), server), { email, password })).status, 200)
    await useUp(server, email, 40)
    for (let count = 1; count <= 2; count++)
      assertLimited(await logIn(from(newAddress(), server), { email, password }), 3600)
    assert.equal((await logIn(from(home(8), server), { email, password })).status, 200)
    await assertWrong(from(home(9), server), email)
  })

  for (const [what, sql] of [
    ['revoked', 'update refresh_tokens set revoked_at = now()'],
    ['expired', 'update refresh_tokens set expires_at = now()'],
    ["somebody else's", 'update refresh_tokens set user_id = (select id from users where email = $1)'],
  ] as const)
    test(`does not know a network again by a session that is ${what}`, async () => {
      const [{ email, password }, other] = [await registerSomebody(server), await registerSomebody(server)]
      const home = from(newAddress(), server)
      assert.equal((await logIn(home, { email, password })).status, 200)
      const isMine = '(select user_id from refresh_tokens order by created_at desc limit 1)'
      await runSql(server.env, `${sql} where user_id = ${isMine}`, sql.includes('$1') ? [other.email] : [])
      await useUp(server, email, 4)
      await assertWrong(home, email)
      assertLimited(await logIn(home, { email, password }))
    })

  test('is counted before the passwords are compared, from however many addresses they come at once', async () => {
    const { email } = await registerSomebody(server)
    const wide = newWideNetwork()
    threads.tasks.length = 0
    const answers = await Promise.all(
      Array.from({ length: 200 }, (_, network) => logIn(from(wide(network), server), wrong(email))),
    )
    assertAtMost(answers, 401, 5)
    assert.equal(threads.tasks.length, tally(answers)[401])
  })

  test('is not closed by attempts that were refused', async () => {
    const { email, password } = await registerSomebody(server)
    await useUp(server, email, 4)
    const attacker = from(newAddress(), server)
    await assertWrong(attacker, email)
    for (let count = 1; count <= 60; count++) assertLimited(await logIn(attacker, wrong(email)))
    assert.equal((await logIn(from(newAddress(), server), { email, password })).status, 200)
  })

  test('is free again after an hour, and a network has its next attempt after a quarter of one', () =>
    withClock(async (advance) => {
      const { email } = newCredentials()
      await useUp(server, email, 4)
      const here = from(newAddress(), server)
      for (let quarter = 1; quarter <= 3; quarter++) {
        await assertWrong(here, email)
        assertLimited(await logIn(here, wrong(email)))
        advance(SHORT_WINDOW_MS)
      }
      await assertWrong(here, email)
      advance(SHORT_WINDOW_MS)
      for (let count = 1; count <= 4; count++) await assertWrong(here, email)
    }))

  test('may have as many right passwords as anybody likes', async () => {
    const credentials = await registerSomebody(server)
    for (let count = 1; count <= 12; count++)
      assert.equal((await logIn(from(newAddress(), server), credentials)).status, 200)
    await useUp(server, credentials.email, 4)
  })
})

suite('registrations', () => {
  test('from one address are limited, taken emails included; those that break a rule do not count', async () => {
    const server = await startServer({ ...BEHIND_PROXY, AUTH_RATE_LIMIT_REGISTER: '3' })
    const here = from(newAddress(), server)
    for (let count = 1; count <= 5; count++) {
      assertRefused(await register(here, { ...newCredentials(), password: 'short' }), 400, 'AUTH_BAD_REQUEST')
      assertRefused(await register(here, { ...newCredentials(), email: 'nobody' }), 400, 'AUTH_BAD_REQUEST')
    }
    const credentials = await registerSomebody(here)
    for (let count = 1; count <= 2; count++) assertRefused(await register(here, credentials), 409, 'AUTH_EMAIL_TAKEN')
    assertLimited(await register(here))
    await registerSomebody(from(newAddress(), server))
    assert.equal((await logIn(here, credentials)).status, 200)
  })

  test('are limited also when they come at once', async () => {
    const server = await startServer({ ...BEHIND_PROXY, AUTH_RATE_LIMIT_REGISTER: '3' })
    const answers = await Promise.all(Array.from({ length: 50 }, () => register(server)))
    assertAtMost(answers, 201, 3)
  })
})

suite('rotations', async () => {
  const server = await startServer({ ...BEHIND_PROXY, AUTH_RATE_LIMIT_REFRESH: '3' })

  test('of one session are limited, and of another session of the same user not', async () => {
    const credentials = await registerSomebody(server)
    const [one, other] = [await logIn(server, credentials), await logIn(server, credentials)]
    const token = await rotate(server, one.body.refresh_token, 3)
    for (let count = 1; count <= 3; count++) assertLimited(await refresh(server, token))
    assert.equal((await refresh(server, other.body.refresh_token)).status, 200)
  })

  test('beyond the limit: a used token shown again still revokes the session', async () => {
    const { access_token, refresh_token } = await logInSomebody(server)
    const token = await rotate(server, refresh_token, 3)
    assertLimited(await refresh(server, token))
    assertRefused(await refresh(server, refresh_token), 401, 'AUTH_TOKEN_REVOKED')
    assertRefused(await refresh(server, token), 401, 'AUTH_TOKEN_REVOKED')
    assertRefused(await me(server, access_token), 401, 'AUTH_TOKEN_REVOKED')
  })

  test('are what counts: repeating one with its key does not, and is answered beyond the limit', async () => {
    const { refresh_token } = await logInSomebody(server)
    const previous = await rotate(server, refresh_token, 1)
    const key = newIdempotencyKey()
    const repeat = async () => (await refresh(server, previous, key)).body.refresh_token
    const successor = await repeat()
    for (let count = 1; count <= 5; count++) assert.equal(await repeat(), successor)
    const last = newIdempotencyKey()
    const answer = await refresh(server, successor, last)
    assert.equal(answer.status, 200, 'the third rotation')
    assertLimited(await refresh(server, answer.body.refresh_token))
    assert.equal((await refresh(server, successor, last)).body.refresh_token, answer.body.refresh_token)
  })

  test('suffice for a page that is loaded anew every few seconds', async () => {
    const { AUTH_RATE_LIMIT_REFRESH: _, ...env } = await freshEnvironment()
    const server = await startServer(env)
    await rotate(server, (await logInSomebody(server)).refresh_token, 100)
    assert.equal(loadConfig(env).rateLimitRefresh, 600)
  })
})

suite('failures', async () => {
  const server = await startServer({ ...BEHIND_PROXY, AUTH_RATE_LIMIT_FAILURES: '5' })

  test('are wrong passwords, of any emails, and beyond the limit nobody logs in or registers from there', async () => {
    const here = from(newAddress(), server)
    const credentials = await registerSomebody(server)
    const { access_token, refresh_token } = (await logIn(here, credentials)).body
    for (let count = 1; count <= 4; count++) await assertWrong(here, newCredentials().email)
    assert.equal((await logIn(here, credentials)).status, 200)
    await assertWrong(here, credentials.email)

    for (let count = 1; count <= 2; count++) {
      assertLimited(await logIn(here, credentials))
      assertLimited(await register(here))
      assertLimited(await logIn(here, 'not json'))
    }
    assert.equal((await logIn(from(newAddress(), server), credentials)).status, 200, 'from elsewhere')
    assert.equal((await me(here, access_token)).status, 200)
    const token = await rotate(here, refresh_token, 3)
    assertRefused(await refresh(here, unknownToken()), 401, 'AUTH_REFRESH_NOT_FOUND')
    assertRefused(await logOut(here, unknownToken()), 401, 'AUTH_REFRESH_NOT_FOUND')
    assert.equal((await logOut(here, token)).status, 204)
  })

  const neverCounted: Record<string, (here: Server) => Promise<Answer>> = {
    'a refresh without a token': (here) => here.call('POST', '/auth/token/refresh'),
    'a refresh with an unknown token': (here) => refresh(here, unknownToken()),
    'a refresh with half a token': (here) => refresh(here, 'nonsense'),
    'a logout without a token': (here) => here.call('POST', '/auth/logout'),
    'a logout with an unknown token': (here) => logOut(here, unknownToken()),
    'a look at oneself without a token': (here) => here.call('GET', '/auth/me'),
    'a look at oneself with a bad token': (here) => me(here, 'nonsense'),
    'a body that is no JSON': (here) => logIn(here, 'not json'),
    'a body without a password': (here) => logIn(here, { email: newCredentials().email }),
    'an email that is none': (here) => logIn(here, wrong('nobody')),
    'a password that may not be chosen': (here) => register(here, wrong(newCredentials().email)),
    'a path that does not exist': (here) => here.call('GET', '/auth/login'),
  }
  for (const [what, make] of Object.entries(neverCounted))
    test(`are not: ${what}, so that no page can lock its visitors out`, async () => {
      const here = from(newAddress(), server)
      const answers = await Promise.all(Array.from({ length: 101 }, () => make(here)))
      for (const { status } of answers) assert.ok(status >= 400 && status !== 429 && status < 500, `${status}`)
      assert.equal((await logIn(here, await registerSomebody(here))).status, 200)
    })

  test('are not the clients of an office whose sessions an operator has ended, who log in again at once', async () => {
    const office = from(newAddress(), server)
    const people = await Promise.all(Array.from({ length: 20 }, () => registerSomebody(office)))
    const sessions = await Promise.all(people.map((body) => logIn(office, body)))
    await runSql(server.env, 'update refresh_tokens set revoked_at = now()')
    for (let count = 1; count <= 3; count++)
      for (const { body } of sessions)
        assertRefused(await refresh(office, body.refresh_token), 401, 'AUTH_TOKEN_REVOKED')
    const answers = await Promise.all(people.map((body) => logIn(office, body)))
    assert.deepEqual(tally(answers), { 200: 20 })
  })

  test('from one IPv6 network of 48 bits may be ten times as many, from whichever addresses in it', async () => {
    const wide = newWideNetwork()
    const { email, password } = await registerSomebody(server)
    for (let count = 0; count < 50; count++) await assertWrong(from(wide(count >> 2), server), newCredentials().email)
    for (const network of [0, 1000]) {
      assertLimited(await logIn(from(wide(network), server), { email, password }))
      assertLimited(await register(from(wide(network), server)))
    }
    assert.equal((await logIn(from(newWideNetwork()(1), server), { email, password })).status, 200)
  })

  test('of an IPv4 address are not counted twice', async () => {
    const here = from(newAddress(), server)
    for (let count = 1; count <= 5; count++) await assertWrong(here, newCredentials().email)
    assertLimited(await logIn(here, newCredentials()))
  })

  test('that come at once are no more 401 than those one by one', async () => {
    const server = await startServer({ ...BEHIND_PROXY, AUTH_RATE_LIMIT_FAILURES: '5', AUTH_BCRYPT_ROUNDS: '10' })
    threads.tasks.length = 0
    const answers = await Promise.all(Array.from({ length: 200 }, () => logIn(server, newCredentials())))
    assertAtMost(answers, 401, 5)
    assert.ok(threads.tasks.length < 100, `${threads.tasks.length} comparisons`)
  })

  test('are forgotten after a quarter of an hour', () =>
    withClock(async (advance) => {
      const here = from(newAddress(), server)
      for (let count = 1; count <= 5; count++) await assertWrong(here, newCredentials().email)
      advance(SHORT_WINDOW_MS - MINUTE_MS)
      assertLimited(await logIn(here, newCredentials()))
      advance(MINUTE_MS)
      for (let count = 1; count <= 5; count++) await assertWrong(here, newCredentials().email)
      assertLimited(await logIn(here, newCredentials()))
    }))
})

suite('encrypted payloads', async () => {
  const server = await startServer({ ...BEHIND_PROXY, AUTH_RATE_LIMIT_FAILURES: '5', AUTH_RATE_LIMIT_LOGIN: '3' })

  async function encrypted(server: Server, payload: object, header: object = {}): Promise<string> {
    const jwks = await server.call('GET', '/.well-known/jwks.json')
    const jwk = jwks.body.keys.find(({ use }: Jwk) => use === 'enc_front')
    return encryptJwe({ alg: 'RSA-OAEP-256', enc: 'A256GCM', kid: jwk.kid, ...header }, JSON.stringify(payload), jwk)
  }
  const send = (at: Server, path: string, front: unknown) => at.call('POST', path, { body: { __front_enc__: front } })

  test('that were decrypted in vain are failures, at either door', async () => {
    const credentials = await registerSomebody(server)
    const whole = await encrypted(server, credentials)
    const stale = await encrypted(server, { ...credentials, iat: 0 })
    const used = await encrypted(server, { ...credentials, jti: randomUUID() })
    assert.equal((await send(server, '/auth/login', used)).status, 200)
    const [kid] = whole.split('.').map((part) => Buffer.from(part, 'base64url').toString())
    const object = {
      kid: JSON.parse(kid as string).kid,
      alg: 'RSA-OAEP-256',
      enc: 'A256GCM',
      cek: 'AAAA',
      iv: '',
      ct: '',
    }
    for (const front of [whole.slice(0, -3), stale, used, object])
      for (const path of ['/auth/login', '/auth/register']) {
        const here = from(newAddress(), server)
        for (let count = 1; count <= 5; count++) assertRefused(await send(here, path, front), 400, 'AUTH_BAD_REQUEST')
        assertLimited(await send(here, path, front))
        assertLimited(await logIn(here, credentials))
      }
    const { email, password } = newCredentials()
    for (const [path, breaking] of [
      ['/auth/login', { email: 'x', password }],
      ['/auth/register', { email, password: 'a'.repeat(100) }],
      ['/auth/register', { email, password: 'password1' }],
    ] as const) {
      const front = await encrypted(server, breaking)
      const here = from(newAddress(), server)
      for (let count = 1; count <= 5; count++) assertRefused(await send(here, path, front), 400, 'AUTH_BAD_REQUEST')
      assertLimited(await send(here, path, front))
    }
  })

  test('that name none of our keys are not, for they cost nothing', async () => {
    const foreign = await encrypted(server, newCredentials(), { kid: 'unknown' })
    for (const front of [foreign, null, 7, '', 'a.b.c.d.e', {}, [], { kid: 'unknown' }, { kid: ['x'] }]) {
      const here = from(newAddress(), server)
      for (let count = 1; count <= 8; count++)
        assertRefused(await send(here, '/auth/login', front), 400, 'AUTH_BAD_REQUEST')
      assert.equal((await logIn(here, await registerSomebody(server))).status, 200)
    }
  })

  test('are remembered by their jti only when the limits have let them through', async () => {
    const credentials = await registerSomebody(server)
    const here = from(newAddress(), server)
    for (let count = 1; count <= 3; count++) await assertWrong(here, credentials.email)
    const front = await encrypted(server, { ...credentials, jti: randomUUID() })
    assertLimited(await send(here, '/auth/login', front))
    assert.equal((await send(from(newAddress(), server), '/auth/login', front)).status, 200)
  })

  test('that register are remembered likewise', async () => {
    const server = await startServer({ ...BEHIND_PROXY, AUTH_RATE_LIMIT_REGISTER: '1' })
    const here = from(newAddress(), server)
    await registerSomebody(here)
    const front = await encrypted(server, { ...newCredentials(), jti: randomUUID() })
    assertLimited(await send(here, '/auth/register', front))
    assert.equal((await send(from(newAddress(), server), '/auth/register', front)).status, 201)
  })

  test('are remembered by their jti for a day', () =>
    withClock(async (advance) => {
      const server = await startServer(BEHIND_PROXY)
      const front = await encrypted(server, { ...(await registerSomebody(server)), jti: randomUUID() })
      assert.equal((await send(server, '/auth/login', front)).status, 200)
      for (const minutes of [2, 60, 22 * 60, 57]) {
        advance(minutes * MINUTE_MS)
        assertRefused(await send(server, '/auth/login', front), 400, 'AUTH_BAD_REQUEST')
      }
      advance(2 * MINUTE_MS)
      assert.equal((await send(server, '/auth/login', front)).status, 200)
    }))
})

test('whatever comes in whatever order, nobody has more wrong passwords answered than allowed', async (t) => {
  const server = await startServer({ ...BEHIND_PROXY, AUTH_RATE_LIMIT_LOGIN: '2', AUTH_RATE_LIMIT_FAILURES: '6' })
  const people = [await registerSomebody(server), await registerSomebody(server), newCredentials()]
  const attempt = fc.record({ who: fc.nat(2), isRight: fc.boolean(), network: fc.nat(2) })
  await tryAtRandom(
    t,
    fc.asyncProperty(fc.array(attempt, { minLength: 20, maxLength: 60 }), async (attempts) => {
      const addresses = [newAddress(), newAddress(), newAddress()]
      const answers = await Promise.all(
        attempts.map(({ who, isRight, network }) => {
          const { email, password } = people[who] as { email: string; password: string }
          const there = from(addresses[network] as string, server)
          return logIn(there, isRight ? { email, password } : wrong(email))
        }),
      )
      for (const network of [0, 1, 2]) {
        const wrongAnswers = [0, 1, 2].map(
          (who) =>
            attempts.filter(
              (made, index) => made.network === network && made.who === who && answers[index]?.status === 401,
            ).length,
        )
        for (const count of wrongAnswers) assert.ok(count <= 2)
        assert.ok(wrongAnswers.reduce((sum, count) => sum + count) <= 6)
      }
    }),
    10,
  )
})

test('a refusal says which limit it was, for the log', async () => {
  const env = Object.fromEntries(
    ['LOGIN', 'ACCOUNT', 'REGISTER', 'REFRESH', 'FAILURES'].map((name) => [`AUTH_RATE_LIMIT_${name}`, '1']),
  )
  const never = async () => assert.fail('the attempt is made')
  const wrongPassword = async () => {
    throw new AuthError('AUTH_INVALID_CREDENTIALS')
  }
  const database = { isEmbedded: true, row: async () => undefined } as unknown as Database
  const isLimitedBy = (limit: string) => (error: AuthError) =>
    error.code === 'AUTH_RATE_LIMIT' && error.limit === limit && Number(error.retryAfterSeconds) > 0
  const limits = createRateLimits(loadConfig(env), database)
  const other = { ...CLIENT, network: '192.0.2.2', wideNetwork: '192.0.2.2' }
  const third = { ...CLIENT, network: '192.0.2.3', wideNetwork: '192.0.2.2' }

  await limits.countAttempt('a@b.co', CLIENT, wrongPassword).catch(() => {})
  await assert.rejects(limits.countAttempt('a@b.co', CLIENT, never), isLimitedBy('login'))
  await limits.countAttempt('a@b.co', other, wrongPassword).catch(() => {})
  await assert.rejects(limits.countAttempt('a@b.co', third, never), isLimitedBy('account'))
  await assert.rejects(limits.refuseBlocked(CLIENT), isLimitedBy('failures'))
  await assert.rejects(limits.countFailure(CLIENT), isLimitedBy('failures'))
  await limits.countRegistration(CLIENT)
  await assert.rejects(limits.countRegistration(CLIENT), isLimitedBy('register'))
  const family = randomUUID()
  assert.equal(await limits.rotationRefusal(family), undefined)
  await limits.countRotation(family)
  assert.ok(isLimitedBy('refresh')((await limits.rotationRefusal(family)) as AuthError))
})

test('a limit of 0 is off', async () => {
  const zero = await startServer()
  for (let count = 1; count <= 12; count++) await registerSomebody(zero)
  const { email } = newCredentials()
  for (let count = 1; count <= 105; count++) await assertWrong(zero, email)
  await rotate(zero, (await logInSomebody(zero)).refresh_token, 35)
})

suite('the address of a client', async () => {
  const limits = { AUTH_RATE_LIMIT_LOGIN: '3' }
  const proxied = await startServer({ ...limits, AUTH_TRUST_PROXY: '127.0.0.1, 10.0.0.0/8' })

  for (const [one, other, isSame, what] of [
    ['192.0.2.1', '192.0.2.2', false, 'is what the trusted proxy says it is'],
    ['203.0.113.66, 192.0.2.3', '203.0.113.77, 192.0.2.3', true, 'is not what the client itself told the proxy'],
    ['192.0.2.4, 10.1.2.3', '192.0.2.4, 10.9.9.9', true, 'is the same through whichever trusted proxies it came'],
    ['192.0.2.5, 10.1.2.3', '192.0.2.6, 10.1.2.3', false, 'is told apart behind two trusted proxies'],
    ['2001:db8:1:1::1', '2001:db8:1:1:ffff::2', true, 'is an IPv6 network of 64 bits'],
    ['2001:db8:1:2::1', '2001:db8:1:3::1', false, 'differs with the first 64 bits of IPv6'],
    ['2001:db8:0:4:0:0:0:1', '2001:DB8::4:0:0:0:2', true, 'is the same however IPv6 is written'],
    ['::ffff:192.0.2.7', '192.0.2.7', true, 'is the same in IPv4 and mapped into IPv6'],
    ['::ffff:192.0.2.8', '::ffff:192.0.2.9', false, 'is told apart when IPv4 is mapped into IPv6'],
    ['unknown', '_hidden', true, 'is the proxy itself when that names no address'],
    ['192.0.2.10, <script>', `'; drop table users; --`, true, 'is the proxy itself when that sends garbage'],
  ] as const)
    test(`${what}: ${one} and ${other}`, async () => {
      await assertShared(proxied, one, other, isSame)
    })

  test('is the peer alone when no proxy is trusted, or when the peer is not one', async () => {
    for (const env of [{}, { AUTH_TRUST_PROXY: '10.0.0.0/8' }]) {
      const direct = await startServer({ ...limits, ...env })
      await assertShared(direct, '192.0.2.1', '192.0.2.2', true)
      await assertShared(direct, '10.0.0.1', '2001:db8::1', true)
    }
  })

  test('does not keep anybody from logging in, whatever a proxy sends', async () => {
    for (const text of ['unknown', 'fe80::1%eth0', '192.0.2.20:443', '[2001:db8::5]:443', '1.2.3.4.5', ',', '\xe9'])
      await logInSomebody(from(text, proxied))
  })

  /** Uses up the logins of one address and looks whether those of the other are used up with it. */
  async function assertShared(at: Server, one: string, other: string, isSame: boolean): Promise<void> {
    const body = newCredentials()
    for (let count = 1; count <= 3; count++) await logIn(from(one, at), body)
    assertLimited(await logIn(from(one, at), body))
    const answer = await logIn(from(other, at), body)
    if (isSame) assertLimited(answer)
    else assertRefused(answer, 401, 'AUTH_INVALID_CREDENTIALS')
  }
})

suite('two nodes on one PostgreSQL', { skip: !onPostgres }, () => {
  test('share the limits of logins, accounts, registrations and failures', async () => {
    const env = await freshEnvironment({
      ...BEHIND_PROXY,
      AUTH_RATE_LIMIT_LOGIN: '2',
      AUTH_RATE_LIMIT_ACCOUNT: '6',
      AUTH_RATE_LIMIT_REGISTER: '2',
      AUTH_RATE_LIMIT_FAILURES: '4',
    })
    const nodes = [await startServer(env), await startServer(env)] as const

    const address = newAddress()
    for (const node of nodes) await registerSomebody(from(address, node))
    for (const node of nodes) assertLimited(await register(from(address, node)))

    const { email, password } = await registerSomebody(from(newAddress(), nodes[0]))
    for (const node of nodes) await assertWrong(from(address, node), email)
    for (const node of nodes) assertLimited(await logIn(from(address, node), { email, password }))

    for (let count = 1; count <= 4; count++) await assertWrong(from(newAddress(), nodes[count % 2] as Server), email)
    const stranger = newAddress()
    await assertWrong(from(stranger, nodes[0]), email)
    assertLimited(await logIn(from(stranger, nodes[1]), { email, password }))

    const elsewhere = newAddress()
    for (const node of [...nodes, ...nodes]) await assertWrong(from(elsewhere, node), newCredentials().email)
    for (const node of nodes) {
      assertLimited(await logIn(from(elsewhere, node), newCredentials()))
      assertLimited(await register(from(elsewhere, node)))
    }
  })
})

suite('when the counters cannot be reached', () => {
  const isUnavailable = (error: AuthError) => error.code === 'AUTH_UNAVAILABLE'

  /** @param failing which of the statements fail, counted from 1 */
  function limitsWith(env: Record<string, string>, failing: (statement: number) => boolean) {
    let statements = 0
    const ask = async () => {
      if (failing(++statements)) throw new AuthError('AUTH_UNAVAILABLE')
      return { rows: [{ points: 1, expire: Date.now() + 1000 }] }
    }
    const database = { isEmbedded: false, query: ask, rows: ask } as unknown as Database
    return createRateLimits(loadConfig({ AUTH_RATE_LIMIT_ACCOUNT: '0', ...env }), database)
  }

  test('no attempt is made, and none is answered with anything but 503', async () => {
    let attempts = 0
    const attempt = async () => attempts++
    for (const env of [{}, { AUTH_RATE_LIMIT_LOGIN: '0', AUTH_RATE_LIMIT_ACCOUNT: '5' }])
      await assert.rejects(limitsWith(env, () => true).countAttempt('a@b.co', CLIENT, attempt), isUnavailable)
    await assert.rejects(limitsWith({}, () => true).countRegistration(CLIENT), isUnavailable)
    await assert.rejects(limitsWith({}, () => true).isFirstUse('jti'), isUnavailable)
    assert.equal(attempts, 0)
  })

  test('after the comparison, a wrong password is answered 503 too', async () => {
    const wrongPassword = async () => {
      throw new AuthError('AUTH_INVALID_CREDENTIALS')
    }
    const limits = limitsWith({}, (statement) => statement > 1)
    await assert.rejects(limits.countAttempt('a@b.co', CLIENT, wrongPassword), isUnavailable)
  })

  test('a right password is answered, though its count cannot be given back', async () => {
    const limits = limitsWith({}, (statement) => statement > 1)
    assert.equal(await limits.countAttempt('a@b.co', CLIENT, async () => 'tokens'), 'tokens')
  })

  test('over HTTP it is 503 for logins and registrations', { skip: !onPostgres }, async () => {
    const env = { AUTH_RATE_LIMIT_LOGIN: '5', AUTH_RATE_LIMIT_REGISTER: '5', AUTH_RATE_LIMIT_FAILURES: '5' }
    const server = await startServer(env)
    const credentials = await registerSomebody(server)
    const { refresh_token } = (await logIn(server, credentials)).body
    const unlock = await lockCounters(server)
    assertRefused(await logIn(server, credentials), 503, 'AUTH_UNAVAILABLE')
    assertRefused(await register(server), 503, 'AUTH_UNAVAILABLE')
    assert.equal((await refresh(server, refresh_token)).status, 200)
    await unlock()
    assert.equal((await logIn(server, credentials)).status, 200)
  })

  async function lockCounters(server: Server): Promise<() => Promise<unknown>> {
    const pg = await import('pg')
    const holder = new pg.default.Client({ connectionString: server.env.DATABASE_URL })
    await holder.connect()
    await holder.query('begin; lock table rate_limits in access exclusive mode')
    return () => holder.end()
  }

  test('an address whose window ends while it is counted is not blocked for longer', () =>
    withClock(async (advance) => {
      const query = async () => ({ rows: [{ points: 1, expire: Date.now() }] })
      const database = { isEmbedded: false, query } as unknown as Database
      const limits = createRateLimits(loadConfig({ AUTH_RATE_LIMIT_FAILURES: '1' }), database)
      await limits.countFailure(CLIENT)
      advance(2000)
      await limits.refuseBlocked(CLIENT)
    }))

  test('no counter is deleted by the library itself, whose statement may outlast any time-out', async () => {
    mock.timers.enable({ apis: ['setTimeout'] })
    try {
      let statements = 0
      const query = async () => ({ rows: [++statements] })
      createRateLimits(loadConfig({}), { isEmbedded: false, query } as unknown as Database)
      mock.timers.tick(60 * MINUTE_MS)
      assert.equal(statements, 0)
    } finally {
      mock.timers.reset()
    }
  })
})

/** Wrong passwords for one email, each from another address. */
async function useUp(server: Server, email: string, times: number): Promise<void> {
  for (let count = 1; count <= times; count++) await assertWrong(from(newAddress(), server), email)
}

async function assertWrong(at: Server, email: string): Promise<void> {
  assertRefused(await logIn(at, wrong(email)), 401, 'AUTH_INVALID_CREDENTIALS')
}

function assertLimited(answer: Answer, atMostSeconds = 3600): void {
  assertRefused(answer, 429, 'AUTH_RATE_LIMIT')
  const seconds = answer.headers.get('retry-after') ?? ''
  assert.match(seconds, /^\d+$/)
  assert.ok(Number(seconds) >= 1 && Number(seconds) <= atMostSeconds, seconds)
}

/** So many have the status and all others are limited, but for those that a busy database had no time for. */
function assertAtMost(answers: Answer[], status: number, most: number): void {
  const { [status]: count = 0, 429: limited = 0, 503: unavailable = 0, ...others } = tally(answers)
  assert.deepEqual(others, {})
  assert.ok(unavailable > 0 ? count >= 1 && count <= most : count === most, `${count} times ${status}`)
  assert.ok(limited > 0)
}

/** How many there were of each status. */
function tally(answers: Answer[]): Record<number, number> {
  const counts: Record<number, number> = {}
  for (const { status } of answers) counts[status] = (counts[status] ?? 0) + 1
  return counts
}

/** @returns the live token after so many rotations */
async function rotate(at: Server, token: string, times: number): Promise<string> {
  let live = token
  for (let count = 1; count <= times; count++) {
    const answer = await refresh(at, live)
    assert.equal(answer.status, 200)
    live = answer.body.refresh_token
  }
  return live
}

/** Does something while the clock of this process, which the counters go by, can be put forward. */
async function withClock(work: (advance: (ms: number) => void) => Promise<void>): Promise<void> {
  const now = Date.now
  let ahead = 0
  const clock = mock.method(Date, 'now', () => now() + ahead)
  try {
    await work((ms) => {
      ahead += ms
    })
  } finally {
    clock.mock.restore()
  }
}
