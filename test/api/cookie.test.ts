/** The refresh token in a cookie: how it is set, replaced and cleared, and that no foreign page can use it. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { assertRefused } from '../support/answers.ts'
import {
  type Answer,
  me,
  newIdempotencyKey,
  refresh,
  registerSomebody,
  runSql,
  type Server,
  startServer,
} from '../support/server.ts'

const LISTED = 'https://app.example.com'
const DAYS_14_IN_SECONDS = 1_209_600
const server = await startServer({ AUTH_REFRESH_TRANSPORT: 'cookie', AUTH_CORS_ORIGINS: LISTED })

suite('with the cookie transport', () => {
  test('logging in sets the refresh token as a cookie alone', async () => {
    const answer = await logIn(server)
    const { access_token } = answer.body
    assert.deepEqual(answer.body, { access_token, token_type: 'Bearer', expires_in: 900 })
    const { value, attributes } = cookieIn(answer)
    assert.match(value, /^[\w-]{64}$/)
    assert.deepEqual(attributes, [
      'HttpOnly',
      `Max-Age=${DAYS_14_IN_SECONDS}`,
      'Path=/auth',
      'SameSite=Strict',
      'Secure',
    ])
  })

  test('a cookie is answered with a cookie', async () => {
    const first = cookieIn(await logIn(server))
    const answer = await withCookie('/auth/token/refresh', first.value)
    const { access_token } = answer.body
    assert.deepEqual(answer.body, { access_token, token_type: 'Bearer', expires_in: 900 })
    const second = cookieIn(answer)
    assert.deepEqual([second.value === first.value, second.attributes], [false, first.attributes])
    assert.equal((await withCookie('/auth/token/refresh', second.value)).status, 200)
    assertRefused(await withCookie('/auth/token/refresh', first.value), 401, 'AUTH_TOKEN_REVOKED')
  })

  test('a body is answered with a body', async () => {
    const { value } = cookieIn(await logIn(server))
    const answer = await refresh(server, value)
    assert.equal(answer.headers.get('set-cookie'), null)
    assert.match(answer.body.refresh_token, /^[\w-]{64}$/)
    assert.equal((await withCookie('/auth/token/refresh', answer.body.refresh_token)).status, 200)
  })

  test('the same token in both ways is answered in both', async () => {
    const { value } = cookieIn(await logIn(server))
    const answer = await withCookie('/auth/token/refresh', value, { body: { refresh_token: value } })
    assert.equal(answer.status, 200)
    assert.equal(answer.body.refresh_token, cookieIn(answer).value)
  })

  test('two different tokens at once are refused, and neither is used', async () => {
    const [one, other] = [cookieIn(await logIn(server)).value, cookieIn(await logIn(server)).value]
    for (const path of ['/auth/token/refresh', '/auth/logout'])
      for (const inBody of [other, '', 'nonsense']) {
        const answer = await withCookie(path, one, { body: { refresh_token: inBody } })
        assertRefused(answer, 400, 'AUTH_BAD_REQUEST')
        assert.equal(answer.headers.get('set-cookie'), null)
      }
    for (const token of [one, other]) assert.equal((await withCookie('/auth/token/refresh', token)).status, 200)
  })

  test('a repetition with its key sets the same cookie again', async () => {
    const { value } = cookieIn(await logIn(server))
    const headers = { 'idempotency-key': newIdempotencyKey() }
    const answers = [
      await withCookie('/auth/token/refresh', value, { headers }),
      await withCookie('/auth/token/refresh', value, { headers }),
    ]
    assert.equal(cookieIn(answers[0] as Answer).value, cookieIn(answers[1] as Answer).value)
  })

  test('other cookies beside it do no harm', async () => {
    const { value } = cookieIn(await logIn(server))
    const headers = { cookie: `theme=dark; refresh_token=${value}; broken=%zz; refresh_token2=x` }
    assert.equal((await server.call('POST', '/auth/token/refresh', { headers })).status, 200)
  })

  test('two that differ are refused, whichever comes first, and neither is used', async () => {
    const [honest, tossed] = [cookieIn(await logIn(server)).value, cookieIn(await logIn(server)).value]
    for (const path of ['/auth/token/refresh', '/auth/logout'])
      for (const [one, other] of [
        [honest, tossed],
        [tossed, honest],
        [honest, ''],
        ['nonsense', honest],
      ]) {
        const headers = { cookie: `refresh_token=${one}; theme=dark; refresh_token=${other}` }
        const answer = await server.call('POST', path, { headers })
        assertRefused(answer, 400, 'AUTH_BAD_REQUEST')
        assert.match(answer.body.error.message, /\brefresh_token\b/)
        assert.equal(answer.headers.get('set-cookie'), null)
      }
    for (const token of [honest, tossed]) assert.equal((await withCookie('/auth/token/refresh', token)).status, 200)
  })

  test('two that are equal are one', async () => {
    const { value } = cookieIn(await logIn(server))
    const headers = { cookie: `refresh_token=${value}; refresh_token=${value}` }
    assert.equal((await server.call('POST', '/auth/token/refresh', { headers })).status, 200)
  })

  test('logging out clears the cookie and ends the session, twice if need be', async () => {
    const login = await logIn(server)
    const { value, attributes } = cookieIn(login)
    for (let time = 1; time <= 2; time++) {
      const answer = await withCookie('/auth/logout', value)
      assert.deepEqual([answer.status, answer.body], [204, undefined])
      const cleared = cookieIn(answer)
      assert.equal(cleared.value, '')
      assert.deepEqual(cleared.attributes, attributes.with(1, 'Max-Age=0'))
    }
    assertRefused(await withCookie('/auth/token/refresh', value), 401, 'AUTH_TOKEN_REVOKED')
    assertRefused(await me(server, login.body.access_token), 401, 'AUTH_TOKEN_REVOKED')
  })

  test('no cookie and no body is no token', async () => {
    for (const path of ['/auth/token/refresh', '/auth/logout'])
      assertRefused(await server.call('POST', path), 401, 'AUTH_REFRESH_NOT_FOUND')
  })
})

suite('a cookie that is worth nothing any more is cleared', () => {
  const assertCleared = (answer: Answer, login: Answer) => {
    const cleared = cookieIn(answer)
    assert.equal(cleared.value, '')
    assert.deepEqual(cleared.attributes, cookieIn(login).attributes.with(1, 'Max-Age=0'))
  }

  for (const path of ['/auth/token/refresh', '/auth/logout'])
    for (const [what, token] of [
      ['cannot be a token', 'nonsense'],
      ['is no token', 'a'.repeat(64)],
    ] as const)
      test(`by ${path}, when it ${what}`, async () => {
        const answer = await withCookie(path, token)
        assertRefused(answer, 401, 'AUTH_REFRESH_NOT_FOUND')
        assertCleared(answer, await logIn(server))
      })

  test('by a refresh, when its session is revoked, or was by that very refresh', async () => {
    const login = await logIn(server)
    const { value } = cookieIn(login)
    const { value: next } = cookieIn(await withCookie('/auth/token/refresh', value))
    for (const token of [value, next]) {
      const answer = await withCookie('/auth/token/refresh', token)
      assertRefused(answer, 401, 'AUTH_TOKEN_REVOKED')
      assertCleared(answer, login)
    }
  })

  test('by a refresh, when it has expired', async () => {
    const other = await startServer({ AUTH_REFRESH_TRANSPORT: 'cookie' })
    const login = await logIn(other)
    await runSql(other.env, 'update refresh_tokens set expires_at = now()')
    const answer = await withCookie('/auth/token/refresh', cookieIn(login).value, {}, other)
    assertRefused(answer, 401, 'AUTH_TOKEN_EXPIRED')
    assertCleared(answer, login)
  })

  test('and no other: not for a token in the body, and not by an answer that may be another later', async () => {
    const inBody = await refresh(server, 'a'.repeat(64))
    assertRefused(inBody, 401, 'AUTH_REFRESH_NOT_FOUND')
    const badKey = await withCookie('/auth/token/refresh', 'a'.repeat(64), { headers: { 'idempotency-key': 'short' } })
    assertRefused(badKey, 400, 'AUTH_BAD_REQUEST')
    for (const answer of [inBody, badKey]) assert.equal(answer.headers.get('set-cookie'), null)
  })
})

suite('the name and path of the cookie', () => {
  for (const [name, path] of [
    ['__Host-session', '/'],
    ['__Secure-session', '/api/auth'],
    ['my.refresh', '/auth'],
  ] as const)
    test(`may be ${name} and ${path}`, async () => {
      const other = await startServer({
        AUTH_REFRESH_TRANSPORT: 'cookie',
        AUTH_COOKIE_NAME: name,
        AUTH_COOKIE_PATH: path,
      })
      const login = cookieIn(await logIn(other), name)
      assert.ok(login.attributes.includes(`Path=${path}`), login.attributes.join())
      const headers = { cookie: `refresh_token=${'a'.repeat(64)}; ${name}=${login.value}` }
      const next = cookieIn(await other.call('POST', '/auth/token/refresh', { headers }), name)
      assert.deepEqual(next.attributes, login.attributes)
      const logout = await other.call('POST', '/auth/logout', { headers: { cookie: `${name}=${next.value}` } })
      assert.deepEqual(cookieIn(logout, name), { value: '', attributes: login.attributes.with(1, 'Max-Age=0') })
    })
})

suite('the attributes of the cookie', () => {
  test('follow the configuration, and Max-Age never outlives the session', async () => {
    const plain = await startServer({
      AUTH_REFRESH_TRANSPORT: 'cookie',
      AUTH_COOKIE_SECURE: 'false',
      AUTH_COOKIE_SAMESITE: 'Lax',
      AUTH_REFRESH_TTL_SEC: '5000',
      AUTH_SESSION_MAX_SEC: '3000',
    })
    const first = cookieIn(await logIn(plain))
    assert.deepEqual(first.attributes, ['HttpOnly', 'Max-Age=3000', 'Path=/auth', 'SameSite=Lax'])
    const second = cookieIn(await withCookie('/auth/token/refresh', first.value, {}, plain))
    const seconds = Number(second.attributes[1]?.replace('Max-Age=', ''))
    assert.ok(seconds > 0 && seconds <= 3000, `${seconds}`)
    assert.deepEqual(second.attributes.with(1, 'Max-Age=3000'), first.attributes)
  })

  test('may be SameSite=None together with Secure, and Max-Age follows the token', async () => {
    const secure = await startServer({
      AUTH_REFRESH_TRANSPORT: 'cookie',
      AUTH_COOKIE_SAMESITE: 'None',
      AUTH_REFRESH_TTL_SEC: '5000',
    })
    const { attributes } = cookieIn(await logIn(secure))
    assert.deepEqual(attributes, ['HttpOnly', 'Max-Age=5000', 'Path=/auth', 'SameSite=None', 'Secure'])
  })
})

suite('a request that carries the cookie', () => {
  const own = server.url
  const sites = [undefined, 'same-origin', 'same-site', 'cross-site', 'none']

  for (const [origin, what] of [
    [own, 'our own origin'],
    [LISTED, 'a listed origin'],
    [undefined, 'no origin'],
  ] as const)
    test(`from ${what} is served`, async () => {
      let { value } = cookieIn(await logIn(server))
      for (const site of sites) {
        const answer = await withCookie('/auth/token/refresh', value, { headers: sentFrom(origin, site) })
        if (origin === undefined && site === 'cross-site') {
          assertRefused(answer, 403, 'AUTH_FORBIDDEN')
          continue
        }
        assert.equal(answer.status, 200, `Sec-Fetch-Site: ${site}`)
        value = cookieIn(answer).value
      }
      const answer = await withCookie('/auth/logout', value, { headers: sentFrom(origin, 'same-origin') })
      assert.equal(answer.status, 204)
    })

  for (const [origin, what] of [
    ['https://evil.example', 'another origin'],
    ['null', 'an origin that hides itself'],
    ['http://127.0.0.1:1', 'another port of our own host'],
    ['http://127.0.0.1', 'the default port of our own host'],
    [own.replace('http:', 'https:'), 'our own host over HTTPS'],
    [`${own}0`, 'an origin that begins like ours'],
    [`${own}.evil.example`, 'a host that begins like ours'],
    [`${LISTED}.evil.example`, 'a host that begins like a listed one'],
    ['https://evil-app.example.com', 'a host that ends like a listed one'],
    [`${LISTED}:8443`, 'another port of a listed origin'],
    [LISTED.replace('https:', 'http:'), 'a listed host over plain HTTP'],
    [`${LISTED}, https://evil.example`, 'a list of origins'],
    ['', 'an empty origin'],
  ] as const)
    test(`from ${what} is refused, and neither rotates nor ends anything`, async () => {
      const login = await logIn(server)
      const { value } = cookieIn(login)
      for (const site of sites)
        for (const path of ['/auth/token/refresh', '/auth/logout'])
          for (const body of [undefined, {}, { refresh_token: value }]) {
            const answer = await withCookie(path, value, { headers: sentFrom(origin, site), body })
            assertRefused(answer, 403, 'AUTH_FORBIDDEN')
            assert.equal(answer.headers.get('set-cookie'), null)
          }
      assert.equal((await me(server, login.body.access_token)).status, 200)
      assert.equal((await withCookie('/auth/token/refresh', value)).status, 200)
    })

  for (const [origin, host, protocol] of [
    ['https://app.example.com', 'app.example.com:443', 'https'],
    ['http://app.example.com', 'app.example.com:80', 'http'],
    ['https://app.example.com', 'App.Example.com', 'https'],
    ['https://app.example.com:8443', 'app.example.com:8443', 'https'],
    ['https://[2001:db8::1]', '[2001:DB8::1]:443', 'https'],
  ] as const)
    test(`from ${origin} is from our own origin, when that is ${protocol} and the host ${host}`, async () => {
      const proxied = await startServer({ AUTH_REFRESH_TRANSPORT: 'cookie', AUTH_TRUST_PROXY: '127.0.0.1' })
      const { value } = cookieIn(await logIn(proxied))
      const there = { 'x-forwarded-host': host, 'x-forwarded-proto': protocol }
      const foreign = { ...there, origin: origin.replace('http', 'xhttp') }
      assertRefused(
        await withCookie('/auth/token/refresh', value, { headers: foreign }, proxied),
        403,
        'AUTH_FORBIDDEN',
      )
      const answer = await withCookie('/auth/token/refresh', value, { headers: { ...there, origin } }, proxied)
      assert.equal(answer.status, 200)
    })

  test('is what the rule is about: with the token in the body alone any origin is served', async () => {
    const { value } = cookieIn(await logIn(server))
    const headers = sentFrom('https://evil.example', 'cross-site')
    const answer = await server.call('POST', '/auth/token/refresh', { body: { refresh_token: value }, headers })
    assert.equal(answer.status, 200)
  })
})

suite('logging in where cookies are set', () => {
  test('is refused to a foreign origin before anything is looked at, as its cookie would be of no use', async () => {
    const limited = await startServer({ AUTH_REFRESH_TRANSPORT: 'cookie', AUTH_RATE_LIMIT_LOGIN: '1' })
    const body = await registerSomebody(limited)
    for (const wrong of [body, { ...body, password: 'wrong' }, 'not json'])
      for (const headers of [{ origin: 'https://evil.example' }, { 'sec-fetch-site': 'cross-site' }]) {
        const answer = await limited.call('POST', '/auth/login', { body: wrong, headers })
        assertRefused(answer, 403, 'AUTH_FORBIDDEN')
        assert.equal(answer.headers.get('set-cookie'), null)
      }
    const headers = { origin: limited.url }
    assert.equal((await limited.call('POST', '/auth/login', { body, headers })).status, 200, 'nothing was counted')
  })

  test('is open to our own origin and the listed ones, and to who is no browser', async () => {
    for (const headers of [sentFrom(server.url, 'same-origin'), sentFrom(LISTED, 'cross-site'), {}])
      assert.equal(
        (await server.call('POST', '/auth/login', { body: await registerSomebody(server), headers })).status,
        200,
      )
  })

  test('is not refused where tokens travel in the body', async () => {
    const inBody = await startServer()
    const headers = sentFrom('https://evil.example', 'cross-site')
    const body = await registerSomebody(inBody)
    assert.equal((await inBody.call('POST', '/auth/login', { body, headers })).status, 200)
  })
})

async function logIn(server: Server): Promise<Answer> {
  const answer = await server.call('POST', '/auth/login', { body: await registerSomebody(server) })
  assert.equal(answer.status, 200)
  return answer
}

function withCookie(
  path: string,
  token: string,
  { headers = {}, body }: { headers?: Record<string, string>; body?: unknown } = {},
  to: Server = server,
): Promise<Answer> {
  return to.call('POST', path, { headers: { cookie: `refresh_token=${token}`, ...headers }, body })
}

function sentFrom(origin: string | undefined, site: string | undefined): Record<string, string> {
  return { ...(origin !== undefined && { origin }), ...(site && { 'sec-fetch-site': site }) }
}

/** The one cookie that an answer sets, its attributes in order. */
function cookieIn({ headers }: Answer, expectedName = 'refresh_token'): { value: string; attributes: string[] } {
  const cookies = headers.getSetCookie()
  assert.equal(cookies.length, 1)
  const [pair = '', ...attributes] = (cookies[0] as string).split('; ')
  const [name, value = ''] = pair.split('=')
  assert.equal(name, expectedName)
  return { value, attributes: attributes.sort() }
}

test("with the body transport a cookie of that name is somebody else's, and ignored", async () => {
  const bodyServer = await startServer()
  const { body } = await bodyServer.call('POST', '/auth/login', { body: await registerSomebody(bodyServer) })
  const headers = { cookie: 'refresh_token=anything', origin: 'https://evil.example' }
  const alone = await bodyServer.call('POST', '/auth/token/refresh', { headers })
  assertRefused(alone, 401, 'AUTH_REFRESH_NOT_FOUND')
  const answer = await bodyServer.call('POST', '/auth/token/refresh', { body, headers })
  assert.deepEqual([answer.status, answer.headers.get('set-cookie')], [200, null])
})
