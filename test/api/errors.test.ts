/** Every refusal has the contract's shape, whoever refused: the service, the framework, or Node's HTTP parser. */
import assert from 'node:assert/strict'
import { randomBytes, randomUUID } from 'node:crypto'
import { connect } from 'node:net'
import { after, suite, test } from 'node:test'
import fc from 'fast-check'
import { loadConfig } from '../../src/config.ts'
import { buildApp } from '../../src/main.ts'
import { type AuthErrorCode, ERRORS } from '../../src/models/types.ts'
import { issueAccessToken } from '../../src/utils/crypto.ts'
import { assertRefused } from '../support/answers.ts'
import { openStore } from '../support/keys.ts'
import {
  type Answer,
  freshEnvironment,
  logInSomebody,
  me,
  newCredentials,
  refresh,
  registerSomebody,
  runSql,
  startServer,
} from '../support/server.ts'

const LOGIN = '/auth/login'
const REGISTER = '/auth/register'
const REFRESH = '/auth/token/refresh'
const LOGOUT = '/auth/logout'
const POSTS = [LOGIN, REGISTER, REFRESH, LOGOUT]
const server = await startServer()
const post = (path: string, body?: unknown, headers: Record<string, string> = {}) =>
  server.call('POST', path, { body, headers })

suite('each error code', () => {
  const provoked: Record<Exclude<AuthErrorCode, 'AUTH_BAD_REQUEST'>, [status: number, () => Promise<Answer>]> = {
    AUTH_INVALID_CREDENTIALS: [401, () => post(LOGIN, newCredentials())],
    AUTH_TOKEN_INVALID: [401, () => me(server, 'a.b.c.d.e')],
    AUTH_TOKEN_EXPIRED: [401, async () => me(server, await expiredAccessToken())],
    AUTH_TOKEN_REVOKED: [
      401,
      async () => {
        const { access_token, refresh_token } = await logInSomebody(server)
        assert.equal((await post(LOGOUT, { refresh_token })).status, 204)
        assertRefused(await refresh(server, refresh_token), 401, 'AUTH_TOKEN_REVOKED')
        return me(server, access_token)
      },
    ],
    AUTH_REFRESH_NOT_FOUND: [401, () => refresh(server, randomBytes(48).toString('base64url'))],
    AUTH_EMAIL_NOT_VERIFIED: [
      403,
      async () => {
        const strict = await startServer({ AUTH_REQUIRE_VERIFIED_EMAIL: 'true' })
        return strict.call('POST', LOGIN, { body: await registerSomebody(strict) })
      },
    ],
    AUTH_FORBIDDEN: [
      403,
      async () => {
        const cookies = await startServer({ AUTH_REFRESH_TRANSPORT: 'cookie' })
        const headers = { cookie: `refresh_token=${'a'.repeat(64)}`, origin: 'https://evil.example' }
        return cookies.call('POST', REFRESH, { headers })
      },
    ],
    AUTH_EMAIL_TAKEN: [409, async () => post(REGISTER, await registerSomebody(server))],
    AUTH_RATE_LIMIT: [
      429,
      async () => {
        const limited = await startServer({ AUTH_RATE_LIMIT_REGISTER: '1' })
        await registerSomebody(limited)
        return limited.call('POST', REGISTER, { body: newCredentials() })
      },
    ],
    AUTH_INTERNAL: [
      500,
      async () => {
        const whole = await startServer()
        await whole.close()
        await runSql(whole.env, 'drop table users cascade')
        const broken = await startServer(whole.env)
        const answers = [
          await broken.call('POST', LOGIN, { body: newCredentials() }),
          await broken.call('POST', REGISTER, { body: newCredentials() }),
        ]
        assert.deepEqual(answers[0]?.body, answers[1]?.body, 'the message is always the same')
        assert.doesNotMatch(JSON.stringify(answers[0]?.body), /users|relation|select|insert/i)
        return answers[0] as Answer
      },
    ],
    AUTH_UNAVAILABLE: [
      503,
      async () => {
        // Hashing takes a quarter of a second here, so that others knock while the only place is taken.
        const rounds = { AUTH_BCRYPT_ROUNDS: '12', AUTH_HASH_CONCURRENCY: '1', AUTH_HASH_QUEUE: '0' }
        const busy = await startServer(rounds)
        const logIn = () => busy.call('POST', LOGIN, { body: newCredentials() })
        const answers = await Promise.all(Array.from({ length: 8 }, logIn))
        assertRefused(answers.find(({ status }) => status !== 503) as Answer, 401, 'AUTH_INVALID_CREDENTIALS')
        return answers.find(({ status }) => status === 503) as Answer
      },
    ],
  }

  for (const [code, [status, provoke]] of Object.entries(provoked))
    test(`${code} answers ${status} in the contract's shape`, async () => {
      const answer = await provoke()
      assertRefused(answer, status, code as AuthErrorCode)
      assert.equal(answer.body.error.message, ERRORS[code as AuthErrorCode].message)
      assert.equal(/^\d+$/.test(answer.headers.get('retry-after') ?? ''), [429, 503].includes(status), 'Retry-After')
    })

  async function expiredAccessToken(): Promise<string> {
    const config = loadConfig(server.env)
    const session = { id: randomUUID(), user_id: randomUUID(), expires_in_seconds: 0, ends_in_seconds: 0 }
    return issueAccessToken(await openStore(server), config, session, -3600)
  }
})

suite('a path that does not exist', () => {
  for (const path of ['/', '/auth', '/auth/login/', '/auth/Login', '/auth//me', '/auth/users', '/health', '/*', '/%2e'])
    test(`answers 404: ${path}`, async () => {
      for (const method of ['GET', 'POST', 'DELETE', 'OPTIONS'])
        assertRefused(await server.call(method, path), 404, 'AUTH_BAD_REQUEST')
      assertRefused(await post(path, '{not json', { 'content-type': 'text/plain' }), 404, 'AUTH_BAD_REQUEST')
    })
})

suite('a method that a path does not take', () => {
  for (const [path, taken] of [
    ...POSTS.map((path) => [path, 'POST'] as const),
    ['/auth/me', 'GET'] as const,
    ['/.well-known/jwks.json', 'GET'] as const,
  ])
    test(`answers 405, and Allow names those that ${path} takes`, async () => {
      const others = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'].filter((method) => method !== taken)
      for (const method of others)
        for (const query of ['', '?a=b']) {
          const answer = await server.call(method, path + query)
          assertRefused(answer, 405, 'AUTH_BAD_REQUEST')
          const allowed = (answer.headers.get('allow') ?? '').split(', ').filter((name) => name !== 'HEAD')
          assert.deepEqual(allowed, [taken])
        }
    })
})

suite('a body', () => {
  const credentials = newCredentials()

  test('of 16 KiB is read, and one byte more answers 413, announced or in chunks', async () => {
    const body = paddedTo(16 * 1024)
    assert.equal((await post(REGISTER, body)).status, 201)
    for (const path of POSTS) assertRefused(await post(path, `${body} `), 413, 'AUTH_BAD_REQUEST')
    const chunk = `${(body.length + 1).toString(16)}\r\n${body} \r\n0\r\n\r\n`
    const head = rawHead(LOGIN, 'Content-Type: application/json\r\nTransfer-Encoding: chunked')
    assertRefused(await sendBytes(head + chunk), 413, 'AUTH_BAD_REQUEST')

    function paddedTo(length: number): string {
      const text = JSON.stringify({ ...credentials, unknown: '' })
      return text.replace('""', `"${'x'.repeat(length - text.length)}"`)
    }
  })

  for (const type of ['text/plain', 'text/json', 'application/x-www-form-urlencoded', 'application/jsonx', 'a/b', ';'])
    test(`of the type ${type} answers 415`, async () => {
      for (const path of POSTS)
        assertRefused(await post(path, JSON.stringify(credentials), { 'content-type': type }), 415, 'AUTH_BAD_REQUEST')
    })

  test('of no type answers 415', async () => {
    for (const path of POSTS)
      assertRefused(await sendBytes(`${rawHead(path, 'Content-Length: 2')}{}`), 415, 'AUTH_BAD_REQUEST')
  })

  test('may name its type in any case and with a charset', async () => {
    const answer = await post(LOGIN, newCredentials(), { 'content-type': 'Application/JSON; charset=utf-8' })
    assertRefused(answer, 401, 'AUTH_INVALID_CREDENTIALS')
  })

  const { password } = credentials
  for (const text of ['{', '{"email":}', "{'email':1}", password, `{"password":${password}}`, '{}{}', '\ufeff{', 'NaN'])
    test(`that is not JSON answers 400 and is not quoted: ${text.replace(password, '(a password)')}`, async () => {
      for (const path of POSTS) {
        const answer = await post(path, text)
        assertRefused(answer, 400, 'AUTH_BAD_REQUEST')
        assert.ok(!JSON.stringify(answer.body).includes(password))
      }
    })

  test('that is not UTF-8 answers 400, so that no two passwords become one', async () => {
    const bytes = Buffer.from('{"email":"a@example.com","password":"zk4wqv9t\xff"}', 'latin1')
    const head = rawHead(REGISTER, `Content-Type: application/json\r\nContent-Length: ${bytes.length}`)
    assertRefused(await sendBytes(Buffer.concat([Buffer.from(head), bytes])), 400, 'AUTH_BAD_REQUEST')
  })

  for (const text of ['[]', '"text"', '1', 'true', '[{"email":"a@b.co","password":"zk4wqv9t"}]'])
    test(`that is not an object answers 400: ${text}`, async () => {
      for (const path of POSTS) assertRefused(await post(path, text), 400, 'AUTH_BAD_REQUEST')
    })

  for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data', 'json', ';', ''])
    test(`of no bytes is none, also of the type "${type}"`, async () => {
      for (const [path, status, code] of [
        [REFRESH, 401, 'AUTH_REFRESH_NOT_FOUND'],
        [LOGOUT, 401, 'AUTH_REFRESH_NOT_FOUND'],
        [LOGIN, 400, 'AUTH_BAD_REQUEST'],
      ] as const)
        for (const [length, end] of [
          ['Content-Length: 0', ''],
          ['Transfer-Encoding: chunked', '0\r\n\r\n'],
        ]) {
          const head = rawHead(path, `Content-Type: ${type}\r\n${length}`)
          assertRefused(await sendBytes(head + end), status, code)
        }
    })

  test('that is empty answers 400 where one is wanted, and is no refresh token elsewhere', async () => {
    for (const body of [undefined, '', 'null'])
      for (const path of [LOGIN, REGISTER]) assertRefused(await post(path, body), 400, 'AUTH_BAD_REQUEST')
    for (const body of [undefined, '', 'null', '{}'])
      for (const path of [REFRESH, LOGOUT]) assertRefused(await post(path, body), 401, 'AUTH_REFRESH_NOT_FOUND')
  })

  for (const [field, paths, others] of [
    ['email', [LOGIN, REGISTER], { password }],
    ['password', [LOGIN, REGISTER], { email: credentials.email }],
    ['refresh_token', [REFRESH, LOGOUT], {}],
    ['__front_enc__', [LOGIN, REGISTER], {}],
  ] as const)
    test(`with ${field} of another type answers 400 and names it`, async () => {
      for (const path of paths)
        for (const value of [1, 0.5, true, null, [], {}, ['a@b.co'], [[]], { toString: 'a@b.co' }]) {
          const answer = await post(path, { ...others, [field]: value })
          assertRefused(answer, 400, 'AUTH_BAD_REQUEST')
          assert.match(answer.body.error.message, new RegExp(`\\b${field}\\b`))
        }
    })

  for (const field of ['email', 'password'])
    test(`without ${field} answers 400 and names it`, async () => {
      for (const path of [LOGIN, REGISTER]) {
        const answer = await post(path, { ...credentials, [field]: undefined })
        assertRefused(answer, 400, 'AUTH_BAD_REQUEST')
        assert.match(answer.body.error.message, new RegExp(`\\b${field}\\b`))
      }
    })

  test('cannot reach a prototype', async () => {
    const { refresh_token } = await logInSomebody(server)
    const hidden = JSON.stringify(newCredentials())
    for (const path of [LOGIN, REGISTER])
      assertRefused(await post(path, `{"__proto__":${hidden}}`), 400, 'AUTH_BAD_REQUEST')
    const token = `{"__proto__":{"refresh_token":"${refresh_token}"}}`
    for (const path of [REFRESH, LOGOUT]) assertRefused(await post(path, token), 401, 'AUTH_REFRESH_NOT_FOUND')
    for (const poison of ['"__proto__":{"polluted":1}', '"constructor":{"prototype":{"polluted":1}}'])
      assert.equal((await post(REGISTER, `{${poison},${JSON.stringify(newCredentials()).slice(1)}`)).status, 201)
    assert.equal('polluted' in {}, false)
    assert.equal((await refresh(server, refresh_token)).status, 200)
  })
})

suite('an Idempotency-Key', () => {
  for (const [key, what] of [
    ['', 'that is empty'],
    ['k'.repeat(15), 'of 15 characters'],
    ['k'.repeat(129), 'of 129 characters'],
    [`${'k'.repeat(16)} ${'k'.repeat(16)}`, 'with a space'],
    [`${'k'.repeat(16)}\t${'k'.repeat(16)}`, 'with a tab'],
    ['é'.repeat(16), 'that is not ASCII'],
  ] as const)
    test(`${what} answers 400 and rotates nothing`, async () => {
      const { refresh_token } = await logInSomebody(server)
      const answer = await refresh(server, refresh_token, key)
      assertRefused(answer, 400, 'AUTH_BAD_REQUEST')
      assert.match(answer.body.error.message, /idempotency-key/i)
      assert.equal((await refresh(server, refresh_token)).status, 200)
    })

  for (const key of ['!'.repeat(16), '~'.repeat(128), '!"#$%&\'()*+,-./:;<=>?@[\\]^_`{|}~'])
    test(`of ${key.length} visible characters is taken: ${key.slice(0, 40)}`, async () => {
      const { refresh_token } = await logInSomebody(server)
      const answers = [await refresh(server, refresh_token, key), await refresh(server, refresh_token, key)]
      assert.deepEqual(
        answers.map(({ status }) => status),
        [200, 200],
      )
    })
})

suite('an access token', () => {
  for (const [authorization, challenge] of [
    [undefined, 'Bearer realm="auth"'],
    ['Basic YTpi', 'Bearer realm="auth"'],
    ['Bearer a.b.c.d.e', /^Bearer realm="auth", error="invalid_token", error_description="[^"\\]+"$/],
    ['bearer nonsense', /^Bearer realm="auth", error="invalid_token", error_description="[^"\\]+"$/],
  ] as const)
    test(`refused as "Authorization: ${authorization}" is challenged as in RFC 6750`, async () => {
      const headers: Record<string, string> = authorization ? { authorization } : {}
      const answer = await server.call('GET', '/auth/me', { headers })
      assertRefused(answer, 401, 'AUTH_TOKEN_INVALID')
      assert.match(answer.headers.get('www-authenticate') ?? '', new RegExp(challenge))
    })
})

suite('a Host', () => {
  for (const host of ['a', 'A.example.', 'a_b:80', '127.0.0.1:3000', '[::1]', '[2001:db8::1]:443'])
    test(`is taken that is ${host}`, async () => {
      const bytes = `GET /auth/me HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`
      assertRefused(await sendBytes(bytes), 401, 'AUTH_TOKEN_INVALID')
    })

  test('need not be there in HTTP/1.0', async () => {
    assertRefused(await sendBytes('GET /auth/me HTTP/1.0\r\n\r\n'), 401, 'AUTH_TOKEN_INVALID')
  })
})

test('no answer tells what the module is made of', async () => {
  const answers = [
    await me(server, 'nonsense'),
    await server.call('GET', '/.well-known/jwks.json'),
    await sendBytes('hello there\r\n\r\n'),
  ]
  for (const { headers } of answers)
    assert.deepEqual([headers.get('server'), headers.get('x-powered-by')], [null, null])
})

test('no body whatsoever breaks an endpoint, hangs it or has it echo the password', async () => {
  const marker = 'Correct-Horse-7'
  const marked = fc.string({ unit: 'binary', maxLength: 90 }).map((text) => `${marker}${text}`)
  const email = fc.oneof(fc.emailAddress(), fc.string({ unit: 'binary' }), fc.jsonValue())
  const token = fc.oneof(fc.base64String({ minLength: 64, maxLength: 64 }), marked, fc.jsonValue())
  const frontEnc = fc.oneof(
    marked,
    fc.jsonValue(),
    fc.dictionary(fc.constantFrom('kid', 'alg', 'enc', 'cek', 'iv', 'ct', 'aad'), fc.oneof(marked, fc.base64String())),
  )
  const body = fc.oneof(
    fc.json(),
    marked,
    fc.string({ unit: 'binary' }),
    fc.jsonValue().map((value) => JSON.stringify([marker, value])),
    fc
      .record({ email, password: fc.oneof(marked, fc.constant([marker])), refresh_token: token }, { requiredKeys: [] })
      .map((value) => JSON.stringify(value)),
    frontEnc.map((value) => JSON.stringify({ __front_enc__: value })),
  )
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...POSTS), body, async (path, text) => {
      const answer = await post(path, text)
      assert.ok(!JSON.stringify([answer.body, ...answer.headers]).includes(marker))
      if (answer.status === 201) return
      assert.ok([400, 401, 409, 413].includes(answer.status), `${answer.status}`)
      assertRefused(answer, answer.status, answer.body.error.code)
    }),
    { numRuns: 400 },
  )
})

function rawHead(path: string, headers: string): string {
  return `POST ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${headers}\r\n\r\n`
}

/** What comes back over a bare connection until the server closes it. */
async function sendBytes(bytes: string | Buffer): Promise<Answer> {
  const { hostname, port } = new URL(server.url)
  const text = await new Promise<string>((resolve, reject) => {
    let received = ''
    const socket = connect(Number(port), hostname, () => socket.write(bytes))
    socket.setEncoding('utf8').on('data', (chunk) => {
      received += chunk
    })
    socket.on('error', reject).on('close', () => resolve(received))
  })
  const [head = '', body = ''] = text.split('\r\n\r\n')
  const [statusLine = '', ...lines] = head.split('\r\n')
  const headers = new Headers(lines.map((line) => line.split(/: (.*)/, 2) as [string, string]))
  assert.equal(headers.get('content-length'), String(Buffer.byteLength(body)))
  return { status: Number(statusLine.split(' ')[1]), headers, body: JSON.parse(body) }
}

test('a program that has the module in it may ask without a connection, by inject()', async () => {
  const app = await buildApp(loadConfig(await freshEnvironment()))
  after(() => app.close())
  const payload = newCredentials()
  assert.equal((await app.inject({ method: 'POST', url: REGISTER, payload })).statusCode, 201)
  assert.equal((await app.inject({ method: 'POST', url: LOGIN, payload })).statusCode, 200)
  assert.equal((await app.inject({ url: '/nowhere' })).statusCode, 404)
})
