/** Who sent a request, as far as proxies that are trusted tell, and what it is called. */
import assert from 'node:assert/strict'
import { after, suite, test } from 'node:test'
import fc from 'fast-check'
import type { FastifyRequest } from 'fastify'
import { loadConfig } from '../../src/config.ts'
import { clientOf } from '../../src/http/client.ts'
import { buildApp } from '../../src/main.ts'
import type { Client } from '../../src/models/types.ts'
import { answersIn, connectTo } from '../support/bare.ts'
import { linesOf } from '../support/log.ts'
import { freshEnvironment, newCredentials, type RunningProcess, startProcess } from '../support/server.ts'
import { until } from '../support/wait.ts'

const env = { LOG_LEVEL: 'info' }
const PROXIES = '127.0.0.1, 10.0.0.0/8, 2001:db8:f::/48'
const proxied = await startProcess(await freshEnvironment({ ...env, AUTH_TRUST_PROXY: PROXIES }))
const direct = await startProcess(await freshEnvironment({ ...env, AUTH_TRUST_PROXY: '10.0.0.0/8' }))

/** The line of the log that tells of a login with these headers. */
async function loginLine(server: RunningProcess, headers: Record<string, string>) {
  const { headers: answered } = await server.call('POST', '/auth/login', { body: newCredentials(), headers })
  const id = answered.get('x-request-id') as string
  const line = () => linesOf(server).find(({ request_id }) => request_id === id)
  await until('the line', line)
  return { id, line: line() as NonNullable<ReturnType<typeof line>> }
}

suite('the address behind a trusted proxy', () => {
  for (const [forwardedFor, address] of [
    ['203.0.113.7', '203.0.113.7'],
    ['203.0.113.7:51234', '203.0.113.7'],
    ['"203.0.113.7:51234"', '203.0.113.7'],
    ['2001:db8::1', '2001:db8::1'],
    ['2001:DB8:0:0:0:0:0:1', '2001:db8::1'],
    ['[2001:db8::1]', '2001:db8::1'],
    ['[2001:db8::1]:443', '2001:db8::1'],
    ['"[2001:db8::1]:443"', '2001:db8::1'],
    ['fe80::1%eth0', 'fe80::1'],
    ['::ffff:203.0.113.7', '203.0.113.7'],
    ['[::ffff:203.0.113.7]:443', '203.0.113.7'],
    ['198.51.100.1, 203.0.113.7:51234', '203.0.113.7'],
    ['203.0.113.7:51234, 10.1.2.3:443', '203.0.113.7'],
    ['203.0.113.7, [2001:db8:f::1]:443, 10.1.2.3', '203.0.113.7'],
    ['10.1.2.3:80', '10.1.2.3'],
    ['unknown', '127.0.0.1'],
    ['203.0.113.7:', '127.0.0.1'],
    ['203.0.113.256:80', '127.0.0.1'],
    ['<script>', '127.0.0.1'],
  ] as const)
    test(`is ${address} for X-Forwarded-For: ${forwardedFor}`, async () => {
      assert.equal((await loginLine(proxied, { 'x-forwarded-for': forwardedFor })).line.address, address)
    })

  test('is what it says to nobody else', async () => {
    assert.equal((await loginLine(direct, { 'x-forwarded-for': '203.0.113.7' })).line.address, '127.0.0.1')
  })
})

suite('the id of a request', () => {
  const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

  for (const id of ['a', 'b'.repeat(64), 'Az09_.-', '01JD:x'.replace(':', '-')])
    test(`is what a trusted proxy calls it: ${id}`, async () => {
      assert.equal((await loginLine(proxied, { 'x-request-id': id })).id, id)
      const refused = await proxied.call('GET', '/nowhere', { headers: { 'x-request-id': id } })
      assert.equal(refused.headers.get('x-request-id'), id)
    })

  for (const id of ['', 'c'.repeat(65), 'a b', 'a,b', 'a"b', 'é', '{}'])
    test(`is made, when the proxy's cannot be one: ${id}`, async () => {
      assert.match((await loginLine(proxied, { 'x-request-id': id })).id, UUID)
    })

  test('is made, when the proxy gives none', async () => {
    assert.match((await loginLine(proxied, {})).id, UUID)
  })

  test('is made, when the peer is no trusted proxy', async () => {
    assert.match((await loginLine(direct, { 'x-request-id': 'mine' })).id, UUID)
  })

  test('is in the answer to what cannot be read, too', async () => {
    const ids = []
    for (const bytes of ['GET /%zz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n', 'hello\r\n\r\n']) {
      const connection = await connectTo(direct.url, bytes)
      await connection.ended
      ids.push(answersIn(connection.received())[0]?.headers.get('x-request-id') as string)
    }
    for (const id of ids) assert.match(id, UUID)
    assert.equal(new Set(ids).size, 2)
  })
})

suite('the networks of a client', () => {
  const clientAt = (ip: string) => clientOf({ ip, socket: {}, headers: {} } as FastifyRequest)

  test('are the first 64 and 48 bits of an IPv6 address, and no others', () => {
    const group = fc.integer({ min: 0, max: 0xffff })
    fc.assert(
      fc.property(fc.array(group, { minLength: 8, maxLength: 8 }), fc.nat(7), group, (groups, place, other) => {
        const addressOf = (parts: number[]) => clientAt(parts.map((part) => part.toString(16)).join(':'))
        fc.pre(groups[place] !== other && (groups[0] as number) > 0 && (place > 0 || other > 0))
        const [one, changed] = [addressOf(groups), addressOf(groups.with(place, other))]
        assert.equal(one.network === changed.network, place >= 4)
        assert.equal(one.wideNetwork === changed.wideNetwork, place >= 3)
      }),
    )
    const { network, wideNetwork } = clientAt('2001:db8:1:2:3:4:5:6')
    assert.deepEqual([network, wideNetwork], ['2001:db8:1:2::/64', '2001:db8:1::/48'])
  })

  test('are the address itself in IPv4', () => {
    fc.assert(
      fc.property(fc.ipV4(), (ip) => {
        const { network, wideNetwork } = clientAt(ip)
        assert.deepEqual([network, wideNetwork], [ip, ip])
      }),
    )
  })
})

test('a client is gone once it has closed its connection, and not before', async () => {
  const app = await buildApp(loadConfig(await freshEnvironment()))
  after(() => app.close())
  let client: Client | undefined
  app.get('/held', async (request) => {
    client = clientOf(request)
    await until('the client to go', () => client?.isGone())
  })
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  const connection = await connectTo(url, 'GET /held HTTP/1.1\r\nHost: a\r\n\r\n')
  await until('the request to arrive', () => client)
  assert.equal(client?.isGone(), false)
  connection.socket.destroy()
  await until('it to be gone', () => client?.isGone())
})
