/** A database that was set back in time: a failover to a replica that was behind, or a restored backup. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { tryAtRandom } from '../support/at_random.ts'
import {
  type Answer,
  copySessions,
  logInSomebody,
  me,
  newIdempotencyKey,
  refresh,
  runSql,
  sessionIdOf,
  startServer,
} from '../support/server.ts'

const server = await startServer()

/** Refreshes so often, each time with the token that came last, and gives every token there was. */
async function rotate(token: string, times: number): Promise<string[]> {
  const tokens = [token]
  for (let rotation = 1; rotation <= times; rotation++) {
    const { status, body } = await refresh(server, tokens.at(-1) as string)
    assert.equal(status, 200)
    tokens.push(body.refresh_token)
  }
  return tokens
}

function assertRevoked(answer: Answer): void {
  assert.deepEqual([answer.status, answer.body.error?.code], [401, 'AUTH_TOKEN_REVOKED'])
}

/** The same token, said to be of another generation. */
function withGeneration(token: string, generation: number): string {
  const bytes = Buffer.from(token, 'base64url')
  bytes.writeUInt32BE(generation, 16)
  return bytes.toString('base64url')
}

suite('a database that was set back', () => {
  test('logs nobody out, however often he refreshed since, and an older token still ends its session', async () => {
    const logins = await Promise.all([1, 2, 5].map(() => logInSomebody(server)))
    const known = await Promise.all(logins.map(({ refresh_token }) => rotate(refresh_token, 2)))
    const putBack = await copySessions(server.env)
    const lost = await Promise.all([1, 2, 5].map((times, index) => rotate(known[index]?.[2] as string, times)))
    await putBack()

    for (const tokens of lost) {
      const { status, body } = await refresh(server, tokens.at(-1) as string)
      assert.equal(status, 200)
      assert.equal((await me(server, body.access_token)).status, 200)
      tokens.push(body.refresh_token)
      tokens.push((await refresh(server, body.refresh_token)).body.refresh_token)
    }
    for (const [index, tokens] of lost.entries()) {
      const older = [known[index]?.[0], tokens[0], tokens[1]][index] as string
      assertRevoked(await refresh(server, older))
      assertRevoked(await refresh(server, tokens.at(-1) as string))
    }
  })

  test('brings a used token of the lost time back only until the owner refreshes', async () => {
    const { refresh_token } = await logInSomebody(server)
    const putBack = await copySessions(server.env)
    const [, stolen, , live] = (await rotate(refresh_token, 3)) as [string, string, string, string]
    await putBack()
    const thief = await refresh(server, stolen)
    assert.equal(thief.status, 200)
    assert.equal((await refresh(server, live)).status, 200)
    assertRevoked(await refresh(server, thief.body.refresh_token))
  })

  test('ends no session that was logged out before it, and brings one back that was logged out since', async () => {
    const [before, since] = [await logInSomebody(server), await logInSomebody(server)]
    const logOut = ({ refresh_token }: { refresh_token: string }) =>
      server.call('POST', '/auth/logout', { body: { refresh_token } })
    await logOut(before)
    const putBack = await copySessions(server.env)
    await logOut(since)
    await putBack()
    assertRevoked(await refresh(server, before.refresh_token))
    assert.equal((await refresh(server, since.refresh_token)).status, 200)
  })

  test('tells once, and by the time, that it was behind', async () => {
    const { refresh_token } = await logInSomebody(server)
    const aheadAt = async () => {
      const [row] = await runSql(server.env, 'select ahead_at from refresh_tokens where id = $1', [
        sessionIdOf(refresh_token),
      ])
      return row?.ahead_at as Date | null
    }
    const putBack = await copySessions(server.env)
    const [, live] = (await rotate(refresh_token, 1)) as [string, string]
    assert.equal(await aheadAt(), null)
    await putBack()
    const { body } = await refresh(server, live)
    const first = await aheadAt()
    assert.ok(first instanceof Date)
    await refresh(server, body.refresh_token)
    assert.deepEqual(await aheadAt(), first, 'a later refresh leaves it')
  })
})

suite('a refresh with a key whose answer was lost', () => {
  test('before the database was set back gets the same successor after it', async () => {
    const { refresh_token: token } = await logInSomebody(server)
    const key = newIdempotencyKey()
    const putBack = await copySessions(server.env)
    const lost = await refresh(server, token, key)
    await putBack()
    const again = await refresh(server, token, key)
    assert.deepEqual([again.status, again.body.refresh_token], [200, lost.body.refresh_token])
    assert.equal((await refresh(server, again.body.refresh_token)).status, 200)
  })

  for (const rotations of [1, 4])
    test(`and that proves ${rotations} lost rotations gets the same successor before, after, and again`, async () => {
      const { refresh_token } = await logInSomebody(server)
      const putBack = await copySessions(server.env)
      const token = (await rotate(refresh_token, rotations)).at(-1) as string
      const key = newIdempotencyKey()
      const before = await refresh(server, token, key)
      await putBack()
      const after = await refresh(server, token, key)
      const again = await refresh(server, token, key)
      for (const { status, body } of [after, again])
        assert.deepEqual([status, body.refresh_token], [200, before.body.refresh_token])
      assert.equal((await refresh(server, before.body.refresh_token)).status, 200)
    })
})

suite('a generation', () => {
  for (const ahead of [1, 2, 1000, 2 ** 31 - 2])
    test(`that a thief made higher, to ${ahead}, is reuse and ends the session`, async () => {
      const { refresh_token: token } = await logInSomebody(server)
      assertRevoked(await refresh(server, withGeneration(token, ahead)))
      assertRevoked(await refresh(server, token))
    })

  test('that is no number of rotations makes no refresh token, and fails nobody who refreshes just then', async () => {
    const sessions = await Promise.all(Array.from({ length: 20 }, () => logInSomebody(server)))
    const answers = await Promise.all(
      sessions.flatMap(({ refresh_token }, index) => [
        refresh(server, withGeneration(refresh_token, index % 2 ? 0xffffffff : 2 ** 31 - 1)),
        refresh(server, refresh_token),
      ]),
    )
    for (const [index, answer] of answers.entries())
      assert.equal(answer.body.error?.code, index % 2 ? undefined : 'AUTH_REFRESH_NOT_FOUND')
  })

  test('starts at 0 and is one more at every refresh, in the token and in the database', async () => {
    const { refresh_token } = await logInSomebody(server)
    const tokens = await rotate(refresh_token, 3)
    assert.deepEqual(
      tokens.map((token) => Buffer.from(token, 'base64url').readUInt32BE(16)),
      [0, 1, 2, 3],
    )
    const sql = 'select generation from refresh_tokens where id = $1'
    assert.deepEqual(await runSql(server.env, sql, [sessionIdOf(refresh_token)]), [{ generation: 3 }])
  })
})

test('of tokens of one session that are ahead at the same moment none makes two sessions of it', async () => {
  for (let round = 1; round <= 20; round++) {
    const { refresh_token } = await logInSomebody(server)
    const putBack = await copySessions(server.env)
    const tokens = await rotate(refresh_token, 5)
    await putBack()
    const answers = await Promise.all([2, 5, 4, 3].map((index) => refresh(server, tokens[index] as string)))
    assert.equal(answers[1]?.status, 200, 'the highest is served, whoever shares its statement')
    const successors = answers.filter(({ status }) => status === 200).map(({ body }) => body.refresh_token as string)
    await assertOneLastsAtMost(successors)
  }
})

/** Who has a token that another one could have, too, loses it together with him. */
async function assertOneLastsAtMost(tokens: string[]): Promise<void> {
  const answers = []
  for (const token of tokens) answers.push(await refresh(server, token))
  const granted = answers.filter(({ status }) => status === 200)
  assert.ok(granted.length <= 1, `${granted.length} of ${tokens.length} refresh again`)
}

suite('the owner and a thief, after a database was set back', () => {
  for (const stolenGeneration of [0, 1, 2, 3])
    for (const order of ['the owner first', 'the thief first', 'both at once'])
      test(`never both keep the session: a token of generation ${stolenGeneration} of 3, ${order}`, async () => {
        const { refresh_token } = await logInSomebody(server)
        const [generation0, generation1] = (await rotate(refresh_token, 1)) as [string, string]
        const putBack = await copySessions(server.env)
        const tokens = [generation0, ...(await rotate(generation1, 2))]
        const [stolen, live] = [tokens[stolenGeneration] as string, tokens[3] as string]
        await putBack()

        const answers: Answer[] = []
        if (order === 'both at once')
          answers.push(...(await Promise.all([live, stolen].map((token) => refresh(server, token)))))
        else
          for (const token of order === 'the owner first' ? [live, stolen] : [stolen, live])
            answers.push(await refresh(server, token))
        const held = answers.filter(({ status }) => status === 200).map(({ body }) => body.refresh_token as string)
        await assertOneLastsAtMost(held)
        await assertOneLastsAtMost(held.reverse())
      })
})

type Step = { do: 'refresh' | 'logout' | 'copy' | 'put back'; token: number; key: 'none' | 'new' | 'same' }
interface Row {
  live: string
  parent?: string
  key?: string | undefined
  isRevoked: boolean
}

test('any sequence of refreshes, repetitions, replays, logouts and set-backs ends as the contract says', async (t) => {
  const step = fc.record<Step>({
    do: fc.constantFrom(
      'refresh',
      'refresh',
      'refresh',
      'refresh',
      'refresh',
      'copy',
      'put back',
      'put back',
      'logout',
    ),
    token: fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, { weight: 2, arbitrary: fc.constant(1) }, fc.nat(5)),
    key: fc.constantFrom('none', 'new', 'same', 'same'),
  })
  const property = fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 16 }), async (steps) => {
    const login = await logInSomebody(server)
    const generations = new Map([[login.refresh_token, 0]])
    const keys = new Map<string, string>() // the key that each token was last refreshed with
    const successors = new Map<string, string>() // of each token with each key
    let row: Row = { live: login.refresh_token, isRevoked: false }
    let copied = row
    let putBack = await copySessions(server.env)

    for (const { do: what, token: ago, key: choice } of steps) {
      const tokens = [...generations.keys()]
      const shown = tokens[Math.max(0, tokens.length - 1 - ago)] as string
      if (what === 'copy') {
        copied = row
        putBack = await copySessions(server.env)
      } else if (what === 'put back') {
        row = copied
        await putBack()
      } else if (what === 'logout') {
        await server.call('POST', '/auth/logout', { body: { refresh_token: shown } })
        row = { ...row, isRevoked: true }
      } else {
        const key = choice === 'none' ? undefined : (choice === 'same' && keys.get(shown)) || newIdempotencyKey()
        const generation = generations.get(shown) as number
        const isLive = shown === row.live || generation > (generations.get(row.live) as number)
        const isRepetition = shown === row.parent && key !== undefined && key === row.key
        const isGranted = !row.isRevoked && (isLive || isRepetition)
        const { status, body } = await refresh(server, shown, key)
        assert.deepEqual([status, body.error?.code], isGranted ? [200, undefined] : [401, 'AUTH_TOKEN_REVOKED'])
        if (!isGranted) row = { ...row, isRevoked: true }
        else {
          const successor = body.refresh_token
          if (key !== undefined) {
            assert.equal(
              successor,
              successors.get(`${shown} ${key}`) ?? successor,
              'the same request, the same successor',
            )
            successors.set(`${shown} ${key}`, successor)
            keys.set(shown, key)
          }
          if (isRepetition && !isLive) assert.equal(successor, row.live)
          else row = { live: successor, parent: shown, key, isRevoked: false }
          generations.set(successor, generation + 1)
        }
      }
      assert.equal((await me(server, login.access_token)).status, row.isRevoked ? 401 : 200)
    }
  })
  await tryAtRandom(t, property, 60)
})
