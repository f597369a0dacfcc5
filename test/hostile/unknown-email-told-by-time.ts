/** Logins whose answers may come sooner for an email that nobody has than for a wrong password. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { newVictim, type Target } from '../support/hostile.ts'
import { type Server, startServer } from '../support/server.ts'

export const needs = ['hard']

/** For each of two emails of either kind; of a foreign deployment fewer than the ten wrong passwords it allows. */
const LOGINS = { own: 30, foreign: 8 }
const RATIO = 1.2

export default function attack(target: Target): void {
  test('take as long for either, in the median', async (context) => {
    const server = target.own ? await startServer({ AUTH_BCRYPT_ROUNDS: '10' }) : target
    const known = [newVictim(), newVictim()]
    for (const body of known) assert.equal((await server.call('POST', '/auth/register', { body })).status, 201)
    const kinds = [known, [newVictim(), newVictim()]]
    const tookMs: number[][] = [[], []]
    for (const emails of kinds) await timeOf(server, emails[0]?.email) // what is slow only once
    for (let round = 0; round < LOGINS[target.own ? 'own' : 'foreign'] * 2; round++)
      for (const kind of round % 4 < 2 ? [0, 1] : [1, 0]) // whatever else the machine does meets both alike
        tookMs[kind]?.push(await timeOf(server, kinds[kind]?.[round % 2]?.email))

    const [wrongMs = 0, unknownMs = 0] = tookMs.map(medianOf)
    context.diagnostic(`a wrong password ${Math.round(wrongMs)} ms, an unknown email ${Math.round(unknownMs)} ms`)
    assert.ok(Math.max(wrongMs / unknownMs, unknownMs / wrongMs) < RATIO, `${wrongMs} and ${unknownMs} ms`)
  })
}

async function timeOf(server: Server, email: string | undefined): Promise<number> {
  const startedMs = performance.now()
  const { status } = await server.call('POST', '/auth/login', { body: { email, password: newVictim().password } })
  assert.equal(status, 401)
  return performance.now() - startedMs
}

function medianOf(values: number[]): number {
  return values.sort((one, other) => one - other)[Math.floor(values.length / 2)] as number
}
