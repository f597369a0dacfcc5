/** The demo as a program, and what it serves beside the page. */
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { promisify } from 'node:util'
import { freePort } from '../../test/support/cluster.ts'
import { call, newCredentials } from '../../test/support/server.ts'
import { until } from '../../test/support/wait.ts'
import { startDemo } from '../server.ts'
import { anatomyOf } from '../src/token.ts'

const run = promisify(execFile)

const PROGRAM = join(import.meta.dirname, '../server.ts')
/** Short, so that servers look at the keys often. */
const SETTINGS = { AUTH_JWKS_CACHE_TTL_SEC: '1', AUTH_BCRYPT_ROUNDS: '4', AUTH_RATE_LIMIT_LOGIN: '0' }

suite('the demo', async () => {
  const root = await mkdtemp(join(tmpdir(), 'cerrojo-demo-'))
  after(() => rm(root, { recursive: true, force: true, maxRetries: 10 }))

  test('names its page, serves it, and ends on Ctrl-C', async (t) => {
    const demo = spawn(process.execPath, [PROGRAM, join(root, 'program')], { env: { ...process.env, PORT: '0' } })
    t.after(() => demo.kill('SIGKILL'))
    let output = ''
    for (const stream of [demo.stdout, demo.stderr]) stream.on('data', (chunk) => (output += chunk))
    await until('the address', () => output.includes('Ctrl-C'))
    const [address = ''] = /http:\S+/.exec(output) ?? []
    const response = await fetch(address)
    assert.match(await response.text(), /<h1>Cerrojo<\/h1>/)
    assert.match(response.headers.get('content-security-policy') ?? '', /^default-src 'none'; script-src 'self'/)
    demo.kill('SIGINT')
    assert.deepEqual(await once(demo, 'exit'), [0, null])
    const first = `Making a database in ${join(root, 'program')}: some seconds, at the first start alone`
    assert.equal(output.trim(), `${first}\nOpen ${address} in a browser. Ctrl-C ends the demo.`)
  })

  test('logs that the database was behind, once it was set back', async (t) => {
    const demo = spawn(process.execPath, [PROGRAM, join(root, 'set back')], { env: { ...process.env, PORT: '0' } })
    t.after(() => demo.kill('SIGKILL'))
    let output = ''
    demo.stdout.on('data', (chunk) => (output += chunk))
    await until('the address', () => output.includes('Ctrl-C'))
    const [origin = ''] = /http:\S+/.exec(output) ?? []
    let cookie = ''
    const post = async (path: string, body?: object) => {
      const { status, headers } = await call(origin, 'POST', path, { body, headers: { origin, cookie } })
      cookie = headers.get('set-cookie')?.split(';')[0] ?? cookie
      return status
    }
    const credentials = newCredentials()
    assert.equal(await post('/auth/register', credentials), 201)
    assert.equal(await post('/auth/login', credentials), 200)
    assert.equal(await post('/auth/demo-only/set-session-back'), 409, 'there is no copy yet')
    assert.equal(await post('/auth/demo-only/copy-session'), 204)
    assert.equal(await post('/auth/token/refresh'), 200)
    assert.doesNotMatch(output, /token\.refresh\.ahead/)
    assert.equal(await post('/auth/demo-only/set-session-back'), 204)
    assert.equal(await post('/auth/token/refresh'), 200)
    await until('the line', () => /"event":"token\.refresh\.ahead"/.test(output))
  })

  test('says so when its port is taken', async (t) => {
    const other = createServer().listen(0, '127.0.0.1')
    t.after(() => other.close())
    await once(other, 'listening')
    const { port } = other.address() as AddressInfo
    const env = { ...process.env, PORT: String(port) }
    await assert.rejects(run(process.execPath, [PROGRAM, join(root, 'no port')], { env }), {
      code: 1,
      stderr: `Port ${port} is taken. Choose another: PORT=4001 npm run demo\n`,
    })
  })

  test('answers at once while it starts', async (t) => {
    const port = await freePort()
    const starting = startDemo({ folder: join(root, 'starting'), port, settings: SETTINGS })
    t.after(async () => (await starting).close())
    const statusNow = () => fetch(`http://127.0.0.1:${port}`).then(({ status }) => status)
    let first: number | undefined
    await until('an answer', async () => {
      first = await statusNow().catch(() => undefined) // nobody listens yet
      return first
    })
    assert.equal(first, 503)
    await starting
    assert.equal(await statusNow(), 200)
  })

  test('has greetings hear of a logout within seconds, and notes when the token ends', async (t) => {
    const settings = { ...SETTINGS, AUTH_ACCESS_TTL_SEC: '10' }
    const demo = await startDemo({ folder: join(root, 'logout'), port: 0, settings })
    t.after(() => demo.close())
    const credentials = newCredentials()
    await call(demo.url, 'POST', '/auth/register', { body: credentials })
    const login = await call(demo.url, 'POST', '/auth/login', { body: credentials })
    const headers = { authorization: `Bearer ${login.body.access_token}` }
    const codeOf = async (path: string) => (await call(demo.url, 'GET', path, { headers })).body.error?.code
    assert.equal((await call(demo.url, 'GET', '/greeting', { headers })).body.text, `Hello, ${credentials.email}!`)
    assert.equal(await codeOf('/notes'), undefined)

    const [cookie = ''] = login.headers.get('set-cookie')?.split(';') ?? []
    await call(demo.url, 'POST', '/auth/logout', { headers: { cookie, origin: demo.url } })
    await until('greetings to refuse', async () => (await codeOf('/greeting')) === 'AUTH_TOKEN_REVOKED')
    await until('notes to refuse', async () => (await codeOf('/notes')) === 'AUTH_TOKEN_EXPIRED')
    const { exp } = anatomyOf(login.body.access_token).header
    assert.ok(Date.now() / 1000 >= exp, 'not before its end')
  })

  test('gives notes the keys that decrypt, and new ones as they are made', async (t) => {
    const folder = join(root, 'rotation')
    const seconds = (count: number) => String(count / 86_400) // in days
    const settings = {
      ...SETTINGS,
      AUTH_ACCESS_TTL_SEC: '10',
      AUTH_CLOCK_SKEW_SEC: '1',
      AUTH_KEY_ROTATION_DAYS: seconds(6),
      AUTH_KEY_GRACE_DAYS: seconds(12),
    }
    const demo = await startDemo({ folder, port: 0, settings })
    t.after(() => demo.close())
    const credentials = newCredentials()
    await call(demo.url, 'POST', '/auth/register', { body: credentials })
    /** @returns the id of the key that encrypted the token */
    const noteWithNewToken = async () => {
      const { body } = await call(demo.url, 'POST', '/auth/login', { body: credentials })
      const headers = { authorization: `Bearer ${body.access_token}` }
      assert.equal((await call(demo.url, 'GET', '/notes', { headers })).status, 200)
      return anatomyOf(body.access_token).header.kid
    }
    const firstKey = await noteWithNewToken()
    await until('a token of the next key', async () => (await noteWithNewToken()) !== firstKey)
    const published = async () => JSON.stringify((await call(demo.url, 'GET', '/.well-known/jwks.json')).body)
    await until('the old key to go', async () => !(await published()).includes(String(firstKey)))
    await noteWithNewToken()
  })
})
