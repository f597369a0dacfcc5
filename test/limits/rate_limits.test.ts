/** The rate limits over real HTTP: what is counted, against whom, and who that is behind a proxy. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mock, suite, test } from 'node:test'
import { loadConfig } from '../../src/config.ts'
import type { Database } from '../../src/db/database.ts'
import { createRateLimits } from '../../src/limits/rate_limits.ts'
import { assertRefused } from '../support/answers.ts'
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
  type Server,
  startServer,
} from '../support/server.ts'

let addresses = 0
/** Its own peer is a trusted proxy, so that each test can come from addresses of its own. */
const server = await startServer({
  AUTH_TRUST_PROXY: '127.0.0.1',
  AUTH_RATE_LIMIT_LOGIN: '3',
  AUTH_RATE_LIMIT_REGISTER: '3',
  AUTH_RATE_LIMIT_REFRESH: '3',
  AUTH_RATE_LIMIT_FAILURES: '5',
})

suite('logins', () => {
  test('of one email from one address are limited, also with the right password', async () => {
    const { email, password } = await registerSomebody(from(newAddress()))
    const here = from(newAddress())
    for (const spelling of [email, email.toUpperCase(), ` ${email} `])
      assertRefused(await logIn(here, { email: spelling, password: 'wrong' }), 401, 'AUTH_INVALID_CREDENTIALS')
    assertLimited(await logIn(here, { email, password }))
    assertLimited(await logIn(here, { email: email.toUpperCase(), password }))
    assert.equal((await logIn(from(newAddress()), { email, password })).status, 200, 'from elsewhere')
  })

  test('of others from the same address go on, as in an office', async () => {
    const here = from(newAddress())
    const colleagues = []
    for (let count = 1; count <= 8; count++) colleagues.push(await registerSomebody(from(newAddress())))
    for (const colleague of colleagues)
      for (let count = 1; count <= 3; count++) assert.equal((await logIn(here, colleague)).status, 200)
    for (const colleague of colleagues) assertLimited(await logIn(here, colleague))
  })

  test('of an email that nobody has are limited just the same', async () => {
    const here = from(newAddress())
    const credentials = newCredentials()
    for (let count = 1; count <= 3; count++)
      assertRefused(await logIn(here, credentials), 401, 'AUTH_INVALID_CREDENTIALS')
    assertLimited(await logIn(here, credentials))
  })
})

suite('registrations', () => {
  test('from one address are limited; those that break a rule do not count', async () => {
    const here = from(newAddress())
    const register = (body: unknown) => here.call('POST', '/auth/register', { body })
    for (let count = 1; count <= 5; count++) {
      assertRefused(await register({ ...newCredentials(), password: 'short' }), 400, 'AUTH_BAD_REQUEST')
      assertRefused(await register({ ...newCredentials(), email: 'nobody' }), 400, 'AUTH_BAD_REQUEST')
    }
    for (let count = 1; count <= 3; count++) assert.equal((await register(newCredentials())).status, 201)
    assertLimited(await register(newCredentials()))
    await registerSomebody(from(newAddress()))
  })
})

suite('rotations', () => {
  test('of one session are limited, and of another session of the same user not', async () => {
    const credentials = await registerSomebody(from(newAddress()))
    const [one, other] = [await logIn(from(newAddress()), credentials), await logIn(from(newAddress()), credentials)]
    const token = await rotate(one.body.refresh_token, 3)
    for (let count = 1; count <= 3; count++) assertLimited(await refresh(from(newAddress()), token))
    assert.equal((await refresh(server, other.body.refresh_token)).status, 200)
  })

  test('beyond the limit: a used token shown again still revokes the session', async () => {
    const { access_token, refresh_token } = await logInSomebody(from(newAddress()))
    const token = await rotate(refresh_token, 3)
    assertLimited(await refresh(server, token))
    assertRefused(await refresh(from(newAddress()), refresh_token), 401, 'AUTH_TOKEN_REVOKED')
    assertRefused(await refresh(from(newAddress()), token), 401, 'AUTH_TOKEN_REVOKED')
    assertRefused(await me(server, access_token), 401, 'AUTH_TOKEN_REVOKED')
  })

  test('are what counts: repeating one with its key does not, and is answered beyond the limit', async () => {
    const { refresh_token } = await logInSomebody(from(newAddress()))
    const previous = await rotate(refresh_token, 1)
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
})

suite('failures', () => {
  const unknownToken = () => randomBytes(48).toString('base64url')

  test('over login, refresh and logout add up, and then the address is refused even the right password', async () => {
    const address = newAddress()
    const here = from(address)
    const credentials = await registerSomebody(from(newAddress()))
    const { access_token, refresh_token } = (await logIn(from(newAddress()), credentials)).body
    await exhaustFailures(here)

    const refused = [
      () => logIn(here, credentials),
      () => logIn(here, newCredentials()),
      () => refresh(here, refresh_token),
      () => refresh(here, unknownToken()),
      () => logOut(here, unknownToken()),
      () => here.call('POST', '/auth/register', { body: newCredentials() }),
    ]
    for (const attempt of [...refused, ...refused]) assertLimited(await attempt())
    assert.equal((await me(here, access_token)).status, 200)
    assert.equal((await logOut(here, refresh_token)).status, 204, 'whoever is blocked may still log out')
    assert.equal((await logIn(from(newAddress()), credentials)).status, 200, 'from elsewhere')
  })

  test('are answers of 401 alone, and not those of me', async () => {
    const here = from(newAddress())
    const credentials = await registerSomebody(from(newAddress()))
    for (let count = 1; count <= 8; count++) {
      assertRefused(await me(here, 'nonsense'), 401, 'AUTH_TOKEN_INVALID')
      assertRefused(await logIn(here, 'not json'), 400, 'AUTH_BAD_REQUEST')
      assertRefused(await here.call('GET', '/auth/login'), 405, 'AUTH_BAD_REQUEST')
    }
    for (let count = 1; count <= 3; count++) {
      const answer = await here.call('POST', '/auth/register', { body: credentials })
      assertRefused(answer, 409, 'AUTH_EMAIL_TAKEN')
    }
    assert.equal((await logIn(here, credentials)).status, 200)
  })

  /** Five answers of 401. */
  async function exhaustFailures(here: Server): Promise<void> {
    assertRefused(await logIn(here, newCredentials()), 401, 'AUTH_INVALID_CREDENTIALS')
    assertRefused(await refresh(here, unknownToken()), 401, 'AUTH_REFRESH_NOT_FOUND')
    assertRefused(await here.call('POST', '/auth/token/refresh'), 401, 'AUTH_REFRESH_NOT_FOUND')
    assertRefused(await logOut(here, unknownToken()), 401, 'AUTH_REFRESH_NOT_FOUND')
    assertRefused(await logIn(here, newCredentials()), 401, 'AUTH_INVALID_CREDENTIALS')
  }
})

test('a limit of 0 is off', async () => {
  const zero = await startServer({
    AUTH_RATE_LIMIT_LOGIN: '0',
    AUTH_RATE_LIMIT_REGISTER: '0',
    AUTH_RATE_LIMIT_REFRESH: '0',
    AUTH_RATE_LIMIT_FAILURES: '0',
  })
  for (let count = 1; count <= 12; count++) await registerSomebody(zero)
  const body = newCredentials()
  for (let count = 1; count <= 105; count++) assertRefused(await logIn(zero, body), 401, 'AUTH_INVALID_CREDENTIALS')
  await rotate((await logInSomebody(zero)).refresh_token, 35, zero)
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
  test('share the limits of logins, registrations and failures', async () => {
    const env = await freshEnvironment({
      AUTH_TRUST_PROXY: '127.0.0.1',
      AUTH_RATE_LIMIT_LOGIN: '2',
      AUTH_RATE_LIMIT_REGISTER: '2',
      AUTH_RATE_LIMIT_FAILURES: '4',
    })
    const [one, other] = [await startServer(env), await startServer(env)]

    const address = newAddress()
    const credentials = await registerSomebody(from(address, one))
    await registerSomebody(from(address, other))
    for (const node of [one, other])
      assertLimited(await from(address, node).call('POST', '/auth/register', { body: newCredentials() }))

    assert.equal((await logIn(from(address, one), credentials)).status, 200)
    assert.equal((await logIn(from(address, other), credentials)).status, 200)
    for (const node of [one, other]) assertLimited(await logIn(from(address, node), credentials))

    const elsewhere = newAddress()
    for (const node of [one, other, one, other])
      assertRefused(await logIn(from(elsewhere, node), newCredentials()), 401, 'AUTH_INVALID_CREDENTIALS')
    for (const node of [one, other]) {
      assertLimited(await logIn(from(elsewhere, node), newCredentials()))
      assertLimited(await logIn(from(elsewhere, node), credentials))
    }
  })
})

function from(address: string, at: Server = server): Server {
  const call: Server['call'] = (method, path, options = {}) =>
    at.call(method, path, { ...options, headers: { 'x-forwarded-for': address, ...options.headers } })
  return { ...at, call }
}

/** One of the range for benchmarks (RFC 2544) that no test has used yet. */
function newAddress(): string {
  addresses++
  return `198.18.${addresses >> 8}.${addresses & 255}`
}

function logIn(at: Server, body: unknown): Promise<Answer> {
  return at.call('POST', '/auth/login', { body })
}

function logOut(at: Server, token: string): Promise<Answer> {
  return at.call('POST', '/auth/logout', { body: { refresh_token: token } })
}

/** @returns the live token after so many rotations */
async function rotate(token: string, times: number, at: Server = server): Promise<string> {
  let live = token
  for (let count = 1; count <= times; count++) {
    const answer = await refresh(at, live)
    assert.equal(answer.status, 200)
    live = answer.body.refresh_token
  }
  return live
}

function assertLimited(answer: Answer): void {
  assertRefused(answer, 429, 'AUTH_RATE_LIMIT')
  const seconds = answer.headers.get('retry-after') ?? ''
  assert.match(seconds, /^\d+$/)
  assert.ok(Number(seconds) >= 1 && Number(seconds) <= 900, seconds)
}

test('an address whose window ends while it is counted is not blocked for longer', async () => {
  mock.timers.enable({ apis: ['Date', 'setTimeout'], now: Date.now() })
  try {
    const query = async () => ({ rows: [{ points: 1, expire: Date.now() }] })
    const database = { isEmbedded: false, query } as unknown as Database
    const limits = createRateLimits(loadConfig({ AUTH_RATE_LIMIT_FAILURES: '1' }), database)
    await limits.countFailure('192.0.2.1')
    mock.timers.tick(2000)
    await limits.refuseBlocked('192.0.2.1')
  } finally {
    mock.timers.reset()
  }
})
