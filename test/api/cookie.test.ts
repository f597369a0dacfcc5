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

  test('is what the rule is about: with the token in the body alone any origin is served', async () => {
    const { value } = cookieIn(await logIn(server))
    const headers = sentFrom('https://evil.example', 'cross-site')
    const answer = await server.call('POST', '/auth/token/refresh', { body: { refresh_token: value }, headers })
    assert.equal(answer.status, 200)
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
function cookieIn({ headers }: Answer): { value: string; attributes: string[] } {
  const cookies = headers.getSetCookie()
  assert.equal(cookies.length, 1)
  const [pair = '', ...attributes] = (cookies[0] as string).split('; ')
  const [name, value = ''] = pair.split('=')
  assert.equal(name, 'refresh_token')
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
