import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import {
  type Answer,
  freshEnvironment,
  newCredentials,
  registerSomebody,
  startProcess,
  startServer,
} from '../support/server.ts'
import { until } from '../support/wait.ts'

test('a login with an unknown email takes as long as one with a wrong password', async () => {
  const server = await startServer({ AUTH_BCRYPT_ROUNDS: '6' })
  const { email } = await registerSomebody(server)

  async function timeLogins(): Promise<number> {
    const times = { known: [] as number[], unknown: [] as number[] }
    while (times.known.length < 200 || times.unknown.length < 200) {
      const { email: stranger, password } = newCredentials()
      const isKnown = times.unknown.length >= 200 || (times.known.length < 200 && randomInt(2) === 0)
      const from = performance.now()
      const { status } = await server.call('POST', '/auth/login', {
        body: { email: isKnown ? email : stranger, password },
      })
      times[isKnown ? 'known' : 'unknown'].push(performance.now() - from)
      assert.equal(status, 401)
    }
    return median(times.unknown) / median(times.known)
  }
  const ratios: number[] = []
  do ratios.push(await timeLogins())
  while (Math.abs((ratios.at(-1) as number) - 1) > 0.05 && ratios.length < 3)
  assert.ok(Math.abs((ratios.at(-1) as number) - 1) <= 0.05, `unknown to known: ${ratios}`)
})

function median(values: number[]): number {
  return values.sort((one, other) => one - other)[values.length >> 1] as number
}

test('beyond the queue in front of bcrypt nobody waits, and nobody in it is forgotten', async () => {
  const server = await startServer({ AUTH_BCRYPT_ROUNDS: '13', AUTH_HASH_CONCURRENCY: '1', AUTH_HASH_QUEUE: '2' })
  const order: Answer[] = []
  const people = Array.from({ length: 10 }, newCredentials)
  await Promise.all(
    people.map(async (body) => {
      order.push(await server.call('POST', '/auth/register', { body }))
    }),
  )
  assert.deepEqual(
    order.map(({ status }) => status),
    [...Array(7).fill(503), 201, 201, 201],
    'who is refused is told before anybody else is done',
  )
  for (const { headers, body } of order.slice(0, 7)) {
    assert.equal(body.error.code, 'AUTH_UNAVAILABLE')
    assert.ok(Number(headers.get('retry-after')) >= 1)
  }
  const registered = new Set(order.slice(7).map(({ body }) => body.email))
  for (const body of people) {
    const { status } = await server.call('POST', '/auth/login', { body })
    assert.equal(status, registered.has(body.email) ? 200 : 401, 'the queue is free again')
    if (status === 200) break
  }
})

test('a login that is refused because too many wait takes nobody an attempt', async () => {
  const server = await startServer({
    ...{ AUTH_BCRYPT_ROUNDS: '14', AUTH_HASH_CONCURRENCY: '1', AUTH_HASH_QUEUE: '0', AUTH_RATE_LIMIT_LOGIN: '1' },
  })
  const logIn = (body: object) => server.call('POST', '/auth/login', { body })
  const credentials = await registerSomebody(server)
  const flood = Array.from({ length: 10 }, () => server.call('POST', '/auth/register', { body: newCredentials() }))
  assert.equal((await Promise.race(flood)).status, 503)
  for (let attempt = 1; attempt <= 3; attempt++) assert.equal((await logIn(credentials)).status, 503)
  await Promise.all(flood)
  assert.equal((await logIn(credentials)).status, 200)
  assert.equal((await logIn(credentials)).status, 429)
})

test('passwords are hashed at a lower priority than requests are answered', {
  skip: process.platform !== 'linux',
}, async () => {
  const server = await startProcess(await freshEnvironment({ AUTH_BCRYPT_ROUNDS: '13' }))
  const registration = server.call('POST', '/auth/register', { body: newCredentials() })
  const folder = `/proc/${server.process.pid}/task`
  // The second field of stat is a name in brackets that may hold anything; the nineteenth is the niceness.
  const nicenessOf = (thread: string | number) =>
    Number(readFileSync(`${folder}/${thread}/stat`, 'utf8').split(') ').at(-1)?.split(' ')[16])
  const main = nicenessOf(server.process.pid as number)
  await until('a thread that yields', () => readdirSync(folder).some((thread) => nicenessOf(thread) > main))
  assert.equal((await registration).status, 201)
  assert.equal(nicenessOf(server.process.pid as number), main)
})
