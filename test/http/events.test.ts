/** What the log tells: one line an event, enough to tell the story by, and nothing that is nobody's business. */
import assert from 'node:assert/strict'
import { mock, suite, test } from 'node:test'
import type { FastifyRequest } from 'fastify'
import { tell, tellHeld } from '../../src/http/events.ts'
import type { EventName } from '../../src/models/event.ts'
import type { Client } from '../../src/models/types.ts'
import { from, newAddress } from '../support/addresses.ts'
import type { Json } from '../support/jose_by_hand.ts'
import { linesOf } from '../support/log.ts'
import {
  type Answer,
  freshEnvironment,
  me,
  newCredentials,
  newIdempotencyKey,
  refresh,
  registerSomebody,
  runSql,
  type Server,
  startProcess,
  startServer,
} from '../support/server.ts'
import { until } from '../support/wait.ts'

const post = (server: Server, path: string, body: object, headers: Record<string, string> = {}): Promise<Answer> =>
  server.call('POST', path, { body, headers: { 'user-agent': 'a test', ...headers } })

test('at info each event is one line, which says who, whose and why', async () => {
  const server = await startProcess(await freshEnvironment({ LOG_LEVEL: 'info' }))
  const { email, password } = newCredentials()
  const key = newIdempotencyKey()
  const registered = await post(server, '/auth/register', { email, password })
  const unknown = newCredentials()
  const failures = [
    await post(server, '/auth/login', unknown),
    await post(server, '/auth/login', { email, password: unknown.password }),
  ]
  const login = await post(server, '/auth/login', { email, password })
  const { refresh_token } = login.body
  const rotated = await refresh(server, refresh_token, key)
  const repeated = await refresh(server, refresh_token, key)
  const reused = await refresh(server, refresh_token)
  const logout = await post(server, '/auth/logout', { refresh_token: rotated.body.refresh_token })
  await until('the last line', () => linesOf(server).some(({ event }) => event === 'auth.logout'))

  const lines = linesOf(server).filter(({ event, msg }) => !event?.startsWith('keys') && !msg?.includes('listening'))
  const { session_id } = lines.find(({ event }) => event === 'auth.login.success') as Json
  const user_id = registered.body.id
  assert.match(session_id, /^[0-9a-f-]{36}$/)
  const told = lines.map(({ event, reason, request_id, user_id, session_id }) => {
    return { event, reason, request_id, user_id, session_id }
  })
  const line = (event: EventName, { headers }: Answer, more: object = {}) => {
    const request_id = headers.get('x-request-id')
    return { event, reason: undefined, request_id, user_id, session_id, ...more }
  }
  assert.deepEqual(told, [
    line('auth.register', registered, { session_id: undefined }),
    line('auth.login.failure', failures[0] as Answer, { reason: 'unknown', user_id: undefined, session_id: undefined }),
    line('auth.login.failure', failures[1] as Answer, { reason: 'password', session_id: undefined }),
    line('auth.login.success', login),
    line('token.refresh.repeated', repeated, { reason: 'key' }),
    line('token.refresh.reuse_detected', reused),
    line('auth.logout', logout),
  ])
  for (const { event, address, user_agent } of lines) {
    assert.equal(address, '127.0.0.1')
    assert.equal(user_agent, event.startsWith('token') ? 'node' : 'a test')
  }
  assert.deepEqual(
    lines.map(({ level }) => level),
    [30, 30, 30, 30, 30, 40, 30],
    'at info, but for the theft',
  )
  for (const secret of [email, unknown.email, password, unknown.password, refresh_token, key])
    assert.ok(!server.output().includes(secret), secret)
})

test('a login that fails for another reason than the password says so in the log alone', async () => {
  const env = await freshEnvironment({ LOG_LEVEL: 'info' })
  const before = await startServer({ ...env, LOG_LEVEL: 'silent' })
  const [disabled, unverified] = [await registerSomebody(before), await registerSomebody(before)]
  await before.close()
  await runSql(env, 'update users set disabled_at = now() where email = $1', [disabled.email])
  const server = await startProcess({ ...env, AUTH_REQUIRE_VERIFIED_EMAIL: 'true' })
  assert.equal((await post(server, '/auth/login', disabled)).status, 401)
  assert.equal((await post(server, '/auth/login', unverified)).status, 403)
  const reasons = () => linesOf(server).flatMap(({ reason }) => reason ?? [])
  await until('both lines', () => reasons().length === 2)
  assert.deepEqual(reasons(), ['disabled', 'unverified'])
})

suite('at warn', () => {
  test('requests that are as they should be, and those that are refused, make no line', async () => {
    const { LOG_LEVEL: _, ...env } = await freshEnvironment()
    const server = await startProcess(env)
    const body = await registerSomebody(server)
    const login = await post(server, '/auth/login', body)
    await post(server, '/auth/login', { ...body, password: 'wrong' })
    await me(server, login.body.access_token)
    await me(server, 'nonsense')
    await refresh(server, (await refresh(server, login.body.refresh_token)).body.refresh_token)
    await server.call('GET', '/nowhere')
    await server.call('POST', '/auth/login', { body: 'not json' })
    await server.end('SIGTERM')
    assert.deepEqual(linesOf(server), [])
  })

  test('a flood of refusals makes one line of each kind, which says what was refused', async () => {
    const server = await startProcess(
      await freshEnvironment({
        AUTH_REFRESH_TRANSPORT: 'cookie',
        AUTH_CORS_ORIGINS: 'https://app.example.com',
        AUTH_TRUST_PROXY: '127.0.0.1',
        AUTH_RATE_LIMIT_REGISTER: '1',
        AUTH_RATE_LIMIT_LOGIN: '1',
      }),
    )
    const here = from(newAddress(), server)
    const body = await registerSomebody(here)
    await post(here, '/auth/login', { ...body, password: 'wrong' })
    const origins = Array.from({ length: 100 }, (_, count) => `https://evil-${count}.example/${'x'.repeat(500)}`)
    for (const origin of origins) {
      assert.equal((await post(here, '/auth/login', body, { origin })).status, 403)
      assert.equal((await post(here, '/auth/register', newCredentials())).status, 429)
      assert.equal((await post(here, '/auth/login', body)).status, 429)
    }
    await server.end('SIGTERM')
    const lines = linesOf(server)
    const countsBy = Map.groupBy(lines, ({ level, event, limit }) => `${level} ${event} ${limit}`)
    assert.deepEqual(
      Object.fromEntries(Array.from(countsBy, ([kind, those]) => [kind, those.map(({ count }) => count)])),
      {
        '40 auth.origin_refused undefined': [1, 99],
        '40 auth.limited register': [1, 99],
        '40 auth.limited login': [1, 99],
      },
    )
    const [origin, limited] = lines as [Json, Json]
    assert.equal(origin.origin_seen, origins[0]?.slice(0, 200))
    assert.equal(origin.origin_expected, `${server.url} https://app.example.com`)
    assert.equal(limited.network, limited.address)
    assert.match(limited.address, /^198\.18\./)
  })
})

test('what is held back of a flood is told at the end of each minute, as a count, until there is no more', () => {
  const lines: Json[] = []
  const log = { level: 'warn', warn: (line: Json) => lines.push(line) }
  const request = { log, server: {} } as unknown as FastifyRequest
  const client = { ip: 'any' } as Client
  const counts = () => lines.splice(0).map(({ count, network }) => [count, network])
  mock.timers.enable({ apis: ['setTimeout'] })
  try {
    const flood = (network: string, times: number) => {
      for (let time = 1; time <= times; time++) tell(request, 'auth.limited', client, { limit: 'a', network })
    }
    flood('first', 50)
    assert.deepEqual(counts(), [[1, 'first']])
    flood('second', 50)
    tell(request, 'auth.limited', client, { limit: 'b', network: 'other' })
    assert.deepEqual(counts(), [[1, 'other']], 'another limit is another kind')
    const another = { log, server: {} } as unknown as FastifyRequest
    for (const network of ['mine', 'mine too']) tell(another, 'auth.limited', client, { limit: 'a', network })
    assert.deepEqual(counts(), [[1, 'mine']], 'another app has lines of its own')
    tellHeld(another.server)
    assert.deepEqual(counts(), [[1, 'mine too']], 'and loses none at its end')
    mock.timers.tick(59_999)
    assert.deepEqual(counts(), [])
    mock.timers.tick(1)
    assert.deepEqual(counts(), [[99, 'second']])
    flood('third', 3)
    mock.timers.tick(60_000)
    assert.deepEqual(counts(), [[3, 'third']])
    mock.timers.tick(60_000)
    assert.deepEqual(counts(), [])
    flood('fourth', 1)
    assert.deepEqual(counts(), [[1, 'fourth']], 'after a quiet minute at once')
  } finally {
    mock.timers.reset()
  }
})
