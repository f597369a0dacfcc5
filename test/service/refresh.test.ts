import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { tryAtRandom } from '../support/at_random.ts'
import { decodeJson } from '../support/jose_by_hand.ts'
import {
  type Answer,
  freshEnvironment,
  logInSomebody,
  me,
  newIdempotencyKey,
  refresh,
  registerSomebody,
  runSql,
  type Server,
  sessionIdOf,
  startServer,
} from '../support/server.ts'

const server = await startServer()

suite('a refresh token', () => {
  test('is replaced at every refresh, and the new one refreshes again', async () => {
    const { refresh_token: first } = await logInSomebody(server)
    const seen = new Set([first])
    let token = first
    for (let rotation = 1; rotation <= 10; rotation++) {
      const answer = await refresh(server, token)
      assert.equal(answer.status, 200)
      token = answer.body.refresh_token
      assert.match(token, /^[A-Za-z0-9_-]{64}$/)
      assert.equal(token.slice(0, 21), first.slice(0, 21), 'its first 16 bytes stay')
      assert.equal((await me(server, answer.body.access_token)).status, 200)
      seen.add(token)
    }
    assert.equal(seen.size, 11)
  })

  test('shown again after it was used revokes the session for everyone', async () => {
    const { refresh_token: stolen } = await logInSomebody(server)
    const answer = await refresh(server, stolen)
    const again = await refresh(server, stolen)
    assert.deepEqual([again.status, again.body.error.code], [401, 'AUTH_TOKEN_REVOKED'])
    const successor = await refresh(server, answer.body.refresh_token)
    assert.deepEqual([successor.status, successor.body.error.code], [401, 'AUTH_TOKEN_REVOKED'])
    const access = await me(server, answer.body.access_token)
    assert.deepEqual([access.status, access.body.error.code], [401, 'AUTH_TOKEN_REVOKED'])
  })

  test('of fifty refreshes at once without a key exactly one succeeds, and the session is revoked', async () => {
    const { refresh_token: token } = await logInSomebody(server)
    const answers = await Promise.all(Array.from({ length: 50 }, () => refresh(server, token)))
    const granted = answers.filter(({ status }) => status === 200)
    assert.equal(granted.length, 1)
    for (const answer of answers.filter(({ status }) => status !== 200))
      assert.deepEqual([answer.status, answer.body.error.code], [401, 'AUTH_TOKEN_REVOKED'])
    assert.equal((await refresh(server, granted[0]?.body.refresh_token)).body.error.code, 'AUTH_TOKEN_REVOKED')
  })

  test('fifty refreshes at once with one key all get the same successor, which is live', async () => {
    const { refresh_token: token } = await logInSomebody(server)
    const key = newIdempotencyKey()
    const answers = await Promise.all(Array.from({ length: 50 }, () => refresh(server, token, key)))
    assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([200]))
    const successors = new Set(answers.map(({ body }) => body.refresh_token))
    assert.equal(successors.size, 1)
    assert.equal(new Set(answers.map(({ body }) => body.access_token)).size, 50, 'each with an access token of its own')
    assert.equal((await refresh(server, [...successors][0])).status, 200)
  })
})

suite('a refresh whose answer was lost', () => {
  test('is repeated with its key, as often as need be, and gets the same successor', async () => {
    const { refresh_token: token } = await logInSomebody(server)
    const key = newIdempotencyKey()
    const lost = await refresh(server, token, key)
    for (let repetition = 1; repetition <= 3; repetition++) {
      const answer = await refresh(server, token, key)
      assert.deepEqual([answer.status, answer.body.refresh_token], [200, lost.body.refresh_token])
      assert.equal((await me(server, answer.body.access_token)).status, 200)
    }
    assert.equal((await refresh(server, lost.body.refresh_token, newIdempotencyKey())).status, 200)
  })

  test('is repeated with its key days later, even after the server started again', async () => {
    const first = await startServer()
    const { refresh_token: token } = await logInSomebody(first)
    const key = newIdempotencyKey()
    const lost = await refresh(first, token, key)
    const second = await letTimePass(first, token, '13 days')
    const answer = await refresh(second, token, key)
    assert.deepEqual([answer.status, answer.body.refresh_token], [200, lost.body.refresh_token])
  })

  const reuses: Record<string, (token: string, key: string) => Promise<Answer>> = {
    'with another key': async (token, key) => {
      await refresh(server, token, key)
      return refresh(server, token, newIdempotencyKey())
    },
    'with the key in other letters': async (token, key) => {
      await refresh(server, token, `${key}aA`)
      return refresh(server, token, `${key}AA`)
    },
    'without a key': async (token, key) => {
      await refresh(server, token, key)
      return refresh(server, token)
    },
    'with a key that the first one did not have': async (token, key) => {
      await refresh(server, token)
      return refresh(server, token, key)
    },
    'after its successor was used': async (token, key) => {
      const { body } = await refresh(server, token, key)
      await refresh(server, body.refresh_token, newIdempotencyKey())
      return refresh(server, token, key)
    },
    'after its successor was used with the very same key': async (token, key) => {
      const { body } = await refresh(server, token, key)
      await refresh(server, body.refresh_token, key)
      return refresh(server, token, key)
    },
    'after logout': async (token, key) => {
      await refresh(server, token, key)
      await logOut(token)
      return refresh(server, token, key)
    },
  }
  for (const [title, reuse] of Object.entries(reuses))
    test(`is not repeated ${title}: that is reuse and ends the session`, async () => {
      const { refresh_token: token, access_token } = await logInSomebody(server)
      const answer = await reuse(token, newIdempotencyKey())
      assert.deepEqual([answer.status, answer.body.error?.code], [401, 'AUTH_TOKEN_REVOKED'])
      assert.equal((await me(server, access_token)).body.error?.code, 'AUTH_TOKEN_REVOKED')
    })

  test('is refused when its key is too short, too long or not visible ASCII, and nothing is rotated', async () => {
    const { refresh_token: token } = await logInSomebody(server)
    for (const key of ['x'.repeat(15), 'x'.repeat(129), `${'x'.repeat(10)} ${'x'.repeat(10)}`, 'é'.repeat(20), '']) {
      const answer = await refresh(server, token, key)
      assert.deepEqual([answer.status, answer.body.error?.code], [400, 'AUTH_BAD_REQUEST'], key)
    }
    for (const key of ['x'.repeat(16), '~'.repeat(128)]) {
      const { refresh_token } = await logInSomebody(server)
      assert.equal((await refresh(server, refresh_token, key)).status, 200)
    }
    assert.equal((await refresh(server, token)).status, 200)
  })
})

test('within the grace a repetition needs no key, and another key is as good', async () => {
  const lenient = await startServer({ AUTH_REFRESH_GRACE_SEC: '600' })
  const [one, other] = [await logInSomebody(lenient), await logInSomebody(lenient)]
  const first = await refresh(lenient, one.refresh_token)
  const again = await refresh(lenient, one.refresh_token)
  assert.deepEqual([again.status, again.body.refresh_token], [200, first.body.refresh_token])
  const answers = await Promise.all([1, 2, 3].map(() => refresh(lenient, other.refresh_token, newIdempotencyKey())))
  assert.equal(
    new Set(answers.map(({ body }) => body.refresh_token)).size,
    1,
    'pages that share a cookie share a successor',
  )

  const later = await letTimePass(lenient, one.refresh_token, '601 seconds')
  assert.equal((await refresh(later, one.refresh_token)).body.error?.code, 'AUTH_TOKEN_REVOKED')
})

test('within the grace the token before the last is reuse all the same', async () => {
  const lenient = await startServer({ AUTH_REFRESH_GRACE_SEC: '600' })
  const { refresh_token: token } = await logInSomebody(lenient)
  const { body } = await refresh(lenient, token)
  assert.equal((await refresh(lenient, body.refresh_token)).status, 200)
  assert.equal((await refresh(lenient, token)).body.error?.code, 'AUTH_TOKEN_REVOKED')
})

suite('a session', () => {
  test('ends when it is idle for too long, and every refresh puts that off', async () => {
    let now: Server & { close(): Promise<void> } = await startServer({ AUTH_REFRESH_TTL_SEC: '1000' })
    const { refresh_token: first, access_token } = await logInSomebody(now)
    now = await letTimePass(now, first, '900 seconds')
    const { status, body } = await refresh(now, first)
    assert.equal(status, 200)
    now = await letTimePass(now, first, '900 seconds')
    const answer = await refresh(now, body.refresh_token)
    assert.equal(answer.status, 200)
    now = await letTimePass(now, first, '1000 seconds')
    const late = await refresh(now, answer.body.refresh_token)
    assert.deepEqual([late.status, late.body.error?.code], [401, 'AUTH_TOKEN_EXPIRED'])
    assert.equal((await me(now, access_token)).status, 200, 'an access token lives on by its own time')
  })

  test('is outlived by none of its access tokens, whose life is told as it is', async () => {
    const brief = await startServer({ AUTH_SESSION_MAX_SEC: '1000' })
    const { refresh_token: token } = await logInSomebody(brief)
    const later = await letTimePass(brief, token, '700 seconds')
    const { body } = await refresh(later, token)
    assert.ok(body.expires_in <= 300 && body.expires_in > 150, `${body.expires_in} s are told`)
    const { iat, exp } = decodeJson(body.access_token.split('.')[0])
    assert.equal(exp - iat, body.expires_in)
    assert.equal((await me(later, body.access_token)).status, 200)
    const ended = await letTimePass(later, token, '300 seconds')
    assert.equal(
      (await me(ended, body.access_token)).status,
      401,
      'though its time is not up by more than clocks may differ',
    )
  })

  test('is over in its last second, for which there is no access token of a whole one', async () => {
    const brief = await startServer({ AUTH_SESSION_MAX_SEC: '1000' })
    const { refresh_token: token } = await logInSomebody(brief)
    const { status, body } = await refresh(await letTimePass(brief, token, '999.1 seconds'), token)
    assert.deepEqual([status, body.error?.code], [401, 'AUTH_TOKEN_EXPIRED'])
  })

  test('ends at last, however often it is refreshed', async () => {
    const env = { AUTH_REFRESH_TTL_SEC: '1000', AUTH_SESSION_MAX_SEC: '1500', AUTH_REFRESH_TRANSPORT: 'cookie' }
    let now: Server & { close(): Promise<void> } = await startServer(env)
    const cookie = async (path: string, more: { body?: unknown; headers?: Record<string, string> }) => {
      const { status, headers, body } = await now.call('POST', path, more)
      const [, token = '', maxAge = ''] =
        /refresh_token=([^;]+); Max-Age=(\d+)/.exec(headers.get('set-cookie') ?? '') ?? []
      return { status, token, maxAge: Number(maxAge), body }
    }
    const refreshed = (token: string) =>
      cookie('/auth/token/refresh', { headers: { cookie: `refresh_token=${token}` } })
    const first = await cookie('/auth/login', { body: await registerSomebody(now) })
    assert.equal(first.maxAge, 1000)
    now = await letTimePass(now, first.token, '900 seconds')
    const second = await refreshed(first.token)
    assert.equal(second.status, 200)
    assert.ok(second.maxAge <= 600 && second.maxAge > 450, `${second.maxAge} s are left`)
    now = await letTimePass(now, first.token, '600 seconds')
    const third = await refreshed(second.token)
    assert.deepEqual([third.status, third.body.error?.code], [401, 'AUTH_TOKEN_EXPIRED'])
  })

  test('does not outlive the shorter of its two limits', async () => {
    const brief = await startServer({ AUTH_REFRESH_TTL_SEC: '1' })
    const { refresh_token: token } = await logInSomebody(brief)
    const later = await letTimePass(brief, token, '1 second')
    assert.equal((await refresh(later, token)).body.error?.code, 'AUTH_TOKEN_EXPIRED')
  })
})

/** Closes the server, makes the token's session so much older, and starts again on the same environment. */
async function letTimePass(before: Server & { close(): Promise<void> }, token: string, time: string) {
  await before.close()
  const sql = `update refresh_tokens
                  set created_at = created_at - $1::interval, issued_at = issued_at - $1::interval,
                      expires_at = expires_at - $1::interval, ends_at = ends_at - $1::interval
                where id = $2
            returning id`
  assert.equal((await runSql(before.env, sql, [time, sessionIdOf(token)])).length, 1)
  return startServer(before.env)
}

test('what cannot be a refresh token, or never was one, is not found', async () => {
  const { refresh_token: token } = await logInSomebody(server)
  const malformed = {
    'no token': undefined,
    'an empty one': '',
    'one too short': token.slice(0, 63),
    'one too long': `${token}A`,
    'one with padding': `${token.slice(0, 62)}==`,
    'one with a letter of plain base64': `+/${token.slice(2)}`,
    'one with a space': ` ${token.slice(1)}`,
    'one with a line feed': `${token}\n`,
    'one of another session': `${token[0] === 'A' ? 'B' : 'A'}${token.slice(1)}`,
    'an access token': (await logInSomebody(server)).access_token,
  }
  for (const path of ['/auth/token/refresh', '/auth/logout'])
    for (const [title, refresh_token] of Object.entries(malformed)) {
      const { status, body } = await server.call('POST', path, { body: { refresh_token } })
      assert.deepEqual([status, body.error?.code], [401, 'AUTH_REFRESH_NOT_FOUND'], `${title} at ${path}`)
    }
  assert.equal((await refresh(server, token)).status, 200, 'the session lives on')
})

test('a guess at the secret half of a token ends the session that its first half names', async () => {
  const { refresh_token: token } = await logInSomebody(server)
  const guess = `${token.slice(0, 63)}${token[63] === 'A' ? 'B' : 'A'}`
  assert.equal((await refresh(server, guess)).body.error?.code, 'AUTH_TOKEN_REVOKED')
  assert.equal((await refresh(server, token)).body.error?.code, 'AUTH_TOKEN_REVOKED')
})

suite('logout', () => {
  test('works with whichever token of the session is shown, and again and again', async () => {
    for (const shown of [0, 1, 2]) {
      const { refresh_token: first, access_token } = await logInSomebody(server)
      const tokens = [first]
      for (const _ of [1, 2]) tokens.push((await refresh(server, tokens.at(-1) as string)).body.refresh_token)
      for (const _ of [1, 2, 3]) {
        const answer = await logOut(tokens[shown] as string)
        assert.deepEqual([answer.status, answer.body], [204, undefined])
      }
      for (const token of tokens) assert.equal((await refresh(server, token)).body.error?.code, 'AUTH_TOKEN_REVOKED')
      assert.equal((await me(server, access_token)).body.error?.code, 'AUTH_TOKEN_REVOKED')
    }
  })

  test('again, or a used token shown later, leaves the time at which the session ended', async () => {
    const { refresh_token } = await logInSomebody(server)
    await logOut(refresh_token)
    const sql = `update refresh_tokens set revoked_at = now() - interval '3 days' where id = $1 returning revoked_at`
    const [ended] = await runSql(server.env, sql, [sessionIdOf(refresh_token)])
    await logOut(refresh_token)
    assert.equal((await refresh(server, refresh_token)).body.error?.code, 'AUTH_TOKEN_REVOKED')
    const look = 'select revoked_at from refresh_tokens where id = $1'
    assert.deepEqual(await runSql(server.env, look, [sessionIdOf(refresh_token)]), [ended])
  })

  test('leaves the other sessions of the same user alone', async () => {
    const credentials = await registerSomebody(server)
    const [one, other] = [await logIn(credentials), await logIn(credentials)]
    await logOut(one.refresh_token)
    assert.equal((await me(server, one.access_token)).status, 401)
    assert.equal((await me(server, other.access_token)).status, 200)
    assert.equal((await refresh(server, other.refresh_token)).status, 200)
  })

  test('against a refresh at the same moment, five hundred times, leaves nothing alive', async (t) => {
    const credentials = await registerSomebody(server)
    const outcomes = new Set<number>()
    await inParallel(500, async (round) => {
      const { access_token, refresh_token } = await logIn(credentials)
      const key = round % 2 ? newIdempotencyKey() : undefined
      const race = [() => refresh(server, refresh_token, key), () => logOut(refresh_token)]
      const answers = await Promise.all((round % 4 < 2 ? race : race.reverse()).map((start) => start()))
      const refreshed = answers.find(({ status }) => status !== 204) as Answer
      outcomes.add(refreshed.status)
      const { refresh_token: successor = refresh_token, access_token: newer = access_token } = refreshed.body
      for (const answer of [
        await refresh(server, successor, key),
        await me(server, newer),
        await me(server, access_token),
      ])
        assert.deepEqual([answer.status, answer.body.error?.code], [401, 'AUTH_TOKEN_REVOKED'])
    })
    assert.deepEqual([...outcomes].sort(), [200, 401], 'each of the two came first at times')
    t.diagnostic('500 logouts against refreshes')
  })
})

type Step = { do: 'refresh' | 'logout'; ago: number; key: 'none' | 'new' | 'same' }

test('any sequence of refreshes, repetitions, replays and logouts ends as the contract says', async (t) => {
  const step = fc.record<Step>({
    do: fc.oneof({ weight: 9, arbitrary: fc.constant('refresh' as const) }, fc.constant('logout' as const)),
    ago: fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, { weight: 4, arbitrary: fc.constant(1) }, fc.nat(4)),
    key: fc.oneof(fc.constant('none' as const), fc.constant('new' as const), {
      weight: 2,
      arbitrary: fc.constant('same' as const),
    }),
  })
  const property = fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 15 }), async (steps) => {
    const login = await logInSomebody(server)
    const tokens = [login.refresh_token] // the live one is the last
    let keyOfLast: string | undefined
    let isRevoked = false
    for (const { do: what, ago, key: choice } of steps) {
      const shown = tokens[Math.max(0, tokens.length - 1 - ago)] as string
      const age = tokens.length - 1 - tokens.indexOf(shown)
      if (what === 'logout') {
        assert.equal((await logOut(shown)).status, 204)
        isRevoked = true
      } else {
        const fresh = choice === 'none' ? undefined : newIdempotencyKey()
        const key = choice === 'same' ? (keyOfLast ?? fresh) : fresh
        const isRepetition = age === 1 && key !== undefined && key === keyOfLast
        const answer = await refresh(server, shown, key)
        const isGranted: boolean = !isRevoked && (age === 0 || isRepetition)
        assert.deepEqual(
          [answer.status, answer.body.error?.code],
          isGranted ? [200, undefined] : [401, 'AUTH_TOKEN_REVOKED'],
        )
        if (!isGranted) isRevoked = true
        else if (isRepetition) assert.equal(answer.body.refresh_token, tokens.at(-1))
        else {
          assert.ok(!tokens.includes(answer.body.refresh_token))
          tokens.push(answer.body.refresh_token)
          keyOfLast = key
        }
      }
      assert.equal((await me(server, login.access_token)).status, isRevoked ? 401 : 200)
    }
  })
  await tryAtRandom(t, property, 80)
})

function logOut(refreshToken: string): Promise<Answer> {
  return server.call('POST', '/auth/logout', { body: { refresh_token: refreshToken } })
}

async function logIn(credentials: { email: string; password: string }) {
  const { body } = await server.call('POST', '/auth/login', { body: credentials })
  return body as { access_token: string; refresh_token: string }
}

/** Twenty at a time. */
async function inParallel(times: number, work: (round: number) => Promise<void>): Promise<void> {
  let next = 0
  const worker = async () => {
    while (next < times) await work(next++)
  }
  await Promise.all(Array.from({ length: 20 }, worker))
}

test('without a grace no used token is served, even when the clock of the database is set back', async () => {
  const env = await freshEnvironment()
  const before = await startServer(env)
  const { refresh_token: used } = await logInSomebody(before)
  assert.equal((await refresh(before, used, newIdempotencyKey())).status, 200)
  await before.close()
  await runSql(env, `update refresh_tokens set issued_at = now() + interval '1 hour'`)
  const after = await startServer(env)
  assert.equal((await refresh(after, used)).body.error.code, 'AUTH_TOKEN_REVOKED')
})
