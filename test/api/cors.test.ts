/** CORS: nobody by default, and then only the origins in the list. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { assertRefused, assertSecurityHeaders } from '../support/answers.ts'
import { type Answer, newCredentials, startServer } from '../support/server.ts'

const LISTED = ['https://app.example.com', 'http://localhost:5173', 'capacitor://localhost']
const DAY_SECONDS = 24 * 60 * 60
const PATHS = ['/auth/register', '/auth/login', '/auth/token/refresh', '/auth/logout', '/auth/me']
const closed = await startServer()
const open = await startServer({ AUTH_CORS_ORIGINS: LISTED.join(' , ') })

suite('without a list of origins', () => {
  test('no answer lets a page read it, and a preflight is refused', async () => {
    for (const path of [...PATHS, '/.well-known/jwks.json']) {
      assertRefused(await preflight(closed, path, 'https://app.example.com'), 405, 'AUTH_BAD_REQUEST')
      const answer = await closed.call('GET', path, { headers: { origin: 'https://app.example.com' } })
      assert.deepEqual(corsHeaders(answer), {})
    }
  })
})

suite('with a list of origins', () => {
  for (const origin of LISTED)
    test(`a page on ${origin} may ask with credentials`, async () => {
      for (const path of PATHS) {
        const answer = await preflight(open, path, origin)
        assert.equal(answer.status, 204)
        const { 'access-control-max-age': seconds, ...headers } = corsHeaders(answer)
        assert.equal(seconds, String(DAY_SECONDS))
        assert.deepEqual(lists(headers), {
          'access-control-allow-origin': [origin],
          'access-control-allow-credentials': ['true'],
          'access-control-allow-methods': ['GET', 'OPTIONS', 'POST'],
          'access-control-allow-headers': ['authorization', 'content-type', 'idempotency-key'],
          'access-control-expose-headers': ['age', 'date', 'etag', 'retry-after'],
        })
        assert.match(answer.headers.get('vary') ?? '', /\bOrigin\b/i)
        assert.equal(answer.headers.get('cache-control'), 'no-store')
        assertSecurityHeaders(answer)
      }
    })

  test('a page on one of them reads answers and refusals alike', async () => {
    const origin = LISTED[0] as string
    const body = newCredentials()
    const answers = [
      await open.call('POST', '/auth/register', { body, headers: { origin } }),
      await open.call('POST', '/auth/register', { body, headers: { origin } }),
      await open.call('POST', '/auth/login', { body: newCredentials(), headers: { origin } }),
      await open.call('POST', '/auth/login', { body: 'not json', headers: { origin } }),
      await open.call('GET', '/auth/me', { headers: { origin } }),
      await open.call('GET', '/.well-known/jwks.json', { headers: { origin } }),
      await open.call('GET', '/nowhere', { headers: { origin } }),
      await open.call('POST', '/auth/me', { body, headers: { origin } }),
      await open.call('POST', '/auth/login', { body: 'text', headers: { origin, 'content-type': 'text/plain' } }),
      await open.call('POST', '/auth/login', { body: 'x'.repeat(20_000), headers: { origin } }),
    ]
    assert.deepEqual(
      answers.map(({ status }) => status),
      [201, 409, 401, 400, 401, 200, 404, 405, 415, 413],
    )
    for (const answer of answers) {
      assert.equal(answer.headers.get('access-control-allow-origin'), origin)
      assert.match(answer.headers.get('access-control-expose-headers') ?? '', /\bRetry-After\b/)
      assert.equal(answer.headers.get('access-control-allow-credentials'), 'true')
      assert.match(answer.headers.get('vary') ?? '', /\bOrigin\b/i)
    }
  })

  for (const origin of [
    'https://evil.example',
    'https://app.example.com.evil.example',
    'https://evil-app.example.com',
    'https://sub.app.example.com',
    'https://app.example.com:8443',
    'http://app.example.com',
    'http://localhost',
    'https://appXexample.com',
    'capacitor://localhost.evil',
    'tauri://localhost',
    'https://localhost',
    'null',
    '*',
  ])
    test(`a page on ${origin} may not`, async () => {
      const answers = [
        await preflight(open, '/auth/login', origin),
        await open.call('GET', '/auth/me', { headers: { origin } }),
        await open.call('POST', '/auth/login', { body: newCredentials(), headers: { origin } }),
      ]
      for (const answer of answers) {
        assert.equal(answer.headers.get('access-control-allow-origin'), null)
        assert.match(
          answer.headers.get('vary') ?? '',
          /\bOrigin\b/i,
          'no cache may give it the answer of another origin',
        )
      }
    })

  for (const [listed, origin] of [
    ['https://App.Example.com:443', 'https://app.example.com'],
    ['http://app.example.com:80', 'http://app.example.com'],
    ['Capacitor://LocalHost', 'capacitor://localhost'],
  ] as const)
    test(`a page on ${origin} is the one that is listed as ${listed}`, async () => {
      const other = await startServer({ AUTH_CORS_ORIGINS: listed })
      const answer = await other.call('GET', '/auth/me', { headers: { origin } })
      assert.equal(answer.headers.get('access-control-allow-origin'), origin)
    })

  test('a preflight for a path that does not exist answers 404', async () => {
    assertRefused(await preflight(open, '/auth/users', LISTED[0] as string), 404, 'AUTH_BAD_REQUEST')
  })

  test('an OPTIONS that is no preflight is answered like one, or refused in the shape of all others', async () => {
    for (const headers of [{}, { origin: LISTED[0] as string }]) {
      assert.equal((await open.call('OPTIONS', '/auth/login', { headers })).status, 204)
      assertRefused(await open.call('OPTIONS', '/nowhere', { headers }), 404, 'AUTH_BAD_REQUEST')
    }
  })

  test('another method than those is still refused', async () => {
    const answer = await open.call('PUT', '/auth/login', { headers: { origin: LISTED[0] as string } })
    assertRefused(answer, 405, 'AUTH_BAD_REQUEST')
  })
})

function preflight(server: typeof open, path: string, origin: string): Promise<Answer> {
  const wanted = { 'access-control-request-method': 'POST', 'access-control-request-headers': 'content-type, x-evil' }
  return server.call('OPTIONS', path, { headers: { origin, ...wanted } })
}

function corsHeaders({ headers }: Answer): Record<string, string> {
  return Object.fromEntries([...headers].filter(([name]) => name.startsWith('access-control-')))
}

/** Each header as the sorted list it is; names of methods in upper case, of headers in lower case. */
function lists(headers: Record<string, string>): Record<string, string[]> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => {
      const text = /(allow|expose)-headers$/.test(name) ? value.toLowerCase() : value
      return [
        name,
        text
          .split(',')
          .map((item) => item.trim())
          .sort(),
      ]
    }),
  )
}
