/** The README's route of Next, which is a function from a request to an answer, in front of the real module. */
import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { newCredentials, startServer } from '../../../test/support/server.ts'
import { openClient } from './support/clients.ts'
import { fails } from './support/expect.ts'
import { examples } from './support/readme.ts'

const server = await startServer({
  AUTH_REFRESH_TRANSPORT: 'cookie',
  AUTH_COOKIE_PATH: '/api/auth',
  AUTH_TRUST_PROXY: '127.0.0.1',
  AUTH_RATE_LIMIT_REGISTER: '1',
})
const folder = await mkdtemp(join(tmpdir(), 'cerrojo-next-'))
after(() => rm(folder, { recursive: true, force: true }))
const path = join(folder, 'route.ts')
await writeFile(path, examples.get('app/api/[...path]/route.ts') as string)
process.env.AUTH_URL = server.url
const { GET, POST }: Record<'GET' | 'POST', (request: Request) => Promise<Response>> = await import(
  pathToFileURL(path).href
)

/** A client in the page of a visitor: its requests come to the route as Next gives them, cookie and all. */
function visitorAt(address: string, origin = 'https://app.example.com') {
  const cookies: string[] = []
  let cookie = ''
  const client = openClient({
    baseUrl: 'https://app.example.com/api',
    fetch: async (...parameters) => {
      const request = new Request(...parameters)
      request.headers.set('x-forwarded-for', address)
      if (request.method === 'POST') request.headers.set('origin', origin)
      if (cookie) request.headers.set('cookie', cookie)
      const answer = await (request.method === 'POST' ? POST : GET)(request)
      for (const header of answer.headers.getSetCookie()) {
        cookies.push(header)
        cookie = header.split(';')[0] as string
      }
      return answer
    },
  })
  return { client, cookies }
}

suite('the route of Next', () => {
  test('lets a page log in, stay logged in, and log out', async () => {
    const { client, cookies } = visitorAt('192.0.2.1')
    const credentials = newCredentials()
    await client.register({ ...credentials, encrypt: true })
    await client.login(credentials)
    await client.refresh()
    assert.equal((await client.me()).email, credentials.email)
    assert.ok(cookies.length >= 2)
    for (const cookie of cookies) assert.match(cookie, /; Path=\/api\/auth;/)
    await client.logout()
    await assert.rejects(client.refresh(), fails('AUTH_REFRESH_NOT_FOUND'))
  })

  test('passes the visitor’s address on, so that one visitor’s limit is not another’s', async () => {
    const [one, other] = [visitorAt('192.0.2.2'), visitorAt('192.0.2.3')]
    await one.client.register(newCredentials())
    await assert.rejects(one.client.register(newCredentials()), fails('AUTH_RATE_LIMIT', { status: 429 }))
    await other.client.register(newCredentials())
  })

  test('passes on from which origin a request comes', async () => {
    const { client } = visitorAt('192.0.2.4', 'https://evil.example')
    await assert.rejects(client.login(newCredentials()), fails('AUTH_FORBIDDEN'))
  })

  test('passes on nothing that is not the module’s', async () => {
    for (const path of ['/api/auth/../secrets', '/api/secrets', '/api/auth/me/x'])
      assert.equal((await GET(new Request(`https://app.example.com${path}`))).status, 404)
  })
})
