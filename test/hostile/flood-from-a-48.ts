/** Passwords guessed from a whole IPv6 /48, which one customer of a provider may have: each from another /64 of it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BEHIND_PROXY, from, newAddress, newWideNetwork } from '../support/addresses.ts'
import { newVictim } from '../support/hostile.ts'
import { type Answer, logInSomebody, refresh, registerSomebody, type Server, startServer } from '../support/server.ts'

export const needs = ['hard', 'module']

const AT_ONCE = 20

export default function attack(): void {
  test('of many accounts meets a limit, and no other network does', async () => {
    const server = await startServer({ ...BEHIND_PROXY, AUTH_RATE_LIMIT_FAILURES: '50' })
    const addressIn = newWideNetwork()
    const guess = (network: number) => logIn(from(addressIn(network), server), newVictim())
    const session = await logInSomebody(from(addressIn(0), server))
    const honest = await registerSomebody(server)

    const statuses = await sendAll(600, guess, async () => {
      assert.equal((await logIn(from(newAddress(), server), honest)).status, 200)
      assert.equal((await logIn(from(newWideNetwork()(1), server), honest)).status, 200)
    })
    assert.deepEqual(count(statuses), { 401: 500, 429: 100 })
    assert.equal((await refresh(from(addressIn(0), server), session.refresh_token)).status, 200)
  })

  test('of one account meets a limit, which its owner does not', async () => {
    const server = await startServer({ ...BEHIND_PROXY, AUTH_RATE_LIMIT_ACCOUNT: '100', AUTH_RATE_LIMIT_LOGIN: '10' })
    const addressIn = newWideNetwork()
    const owner = await registerSomebody(server)
    const home = from(newAddress(), server)
    assert.equal((await logIn(home, owner)).status, 200)
    const guess = (network: number) =>
      logIn(from(addressIn(network), server), { ...owner, password: newVictim().password })

    const statuses = await sendAll(600, guess, async () => assert.equal((await logIn(home, owner)).status, 200))
    assert.deepEqual(count(statuses), { 401: 101, 429: 499 }) // the network has one attempt beyond the limit
  })
}

function logIn(server: Server, body: object): Promise<Answer> {
  return server.call('POST', '/auth/login', { body })
}

/** From that many networks, several at once, and between them something else. */
async function sendAll(
  networks: number,
  send: (network: number) => Promise<Answer>,
  meanwhile: () => Promise<void>,
): Promise<number[]> {
  const statuses: number[] = []
  while (statuses.length < networks) {
    const next = Array.from({ length: AT_ONCE }, (_, index) => statuses.length + index)
    const answers = await Promise.all(next.map(send))
    statuses.push(...answers.map(({ status }) => status))
    await meanwhile()
  }
  return statuses
}

function count(statuses: number[]): Record<number, number> {
  const counts: Record<number, number> = {}
  for (const status of statuses) counts[status] = (counts[status] ?? 0) + 1
  return counts
}
