/** The configurations in deploy/, each run by its proxy, with TLS, in front of real nodes. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { request } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { assertRefused } from '../support/answers.ts'
import { isThere, makeAuthority } from '../support/certificates.ts'
import { freePort } from '../support/cluster.ts'
import { type Answer, newCredentials, registerSomebody, type Server, startServer } from '../support/server.ts'
import { until } from '../support/wait.ts'

interface Site {
  port: number
  /** Addresses and ports of one node or two. */
  nodes: string[]
  hasPrefix: boolean
  /** Of the proxy's own. */
  folder: string
}

interface Proxy {
  name: string
  file: string
  /** What an operator changes in the file, and what keeps the proxy within the test's folder. */
  adapt(text: string, site: Site): string
  /** How it is started in the foreground. */
  words(path: string): string[]
}

const authority = isThere('openssl') ? makeAuthority() : undefined
const { certificate = '', key = '' } = authority?.issue('localhost') ?? {}

const PROXIES: Proxy[] = [
  {
    name: 'nginx',
    file: 'nginx.conf',
    adapt: (text, { port, nodes: [first, second], hasPrefix, folder }) => {
      const site = replaced(text, [
        ['listen 443', `listen 127.0.0.1:${port}`],
        ['listen [::]:443 ssl http2;', ''],
        ['server_name auth.example.com', 'server_name localhost'],
        ['/etc/letsencrypt/live/auth.example.com/fullchain.pem', certificate],
        ['/etc/letsencrypt/live/auth.example.com/privkey.pem', key],
        ['server 127.0.0.1:3000', `server ${first}`],
        ...when(second, ['# server 127.0.0.1:3001', `server ${second}`]),
        ...when(hasPrefix, ['location / {', 'location /api/ {'], ['http://cerrojo;', 'http://cerrojo/;']),
      ])
      const kinds = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
      const folders = kinds.map((kind) => `${kind}_temp_path ${folder}/${kind};`).join(' ')
      return `daemon off; master_process off; pid ${folder}/pid; error_log stderr; events {}
              http { access_log off; ${folders} ${site} }`
    },
    words: (path) => ['-c', path, '-e', 'stderr'],
  },
  {
    name: 'caddy',
    file: 'Caddyfile',
    adapt: (text, { port, nodes, hasPrefix, folder }) => {
      const site = replaced(text, [
        ['{$SITE:auth.example.com} {', `https://localhost:${port} {\nbind 127.0.0.1\ntls ${certificate} ${key}`],
        ['{$NODES:127.0.0.1:3000}', nodes.join(' ')],
        ...when(hasPrefix, ['handle {', 'handle_path /api/* {']),
      ])
      return `{\nadmin off\nauto_https disable_redirects\nstorage file_system ${folder}\n}\n${site}`
    },
    words: (path) => ['run', '--adapter', 'caddyfile', '--config', path],
  },
  {
    name: 'haproxy',
    file: 'haproxy.cfg',
    adapt: (text, { port, nodes: [first, second], hasPrefix, folder }) => {
      writeFileSync(join(folder, 'pem'), readFileSync(certificate, 'utf8') + readFileSync(key, 'utf8'))
      return replaced(text, [
        ['user haproxy', ''],
        ['group haproxy', ''],
        ['chroot /var/lib/haproxy', ''],
        ['log /dev/log local0', ''],
        ['/run/haproxy/admin.sock', join(folder, 'admin.sock')],
        ['bind :443', `bind 127.0.0.1:${port}`],
        ['/etc/haproxy/auth.example.com.pem', join(folder, 'pem')],
        ['127.0.0.1:3000', String(first)],
        ...when(second, ['# server node_3001 127.0.0.1:3001', `server node_3001 ${second}`]),
        ...when(hasPrefix, ['# http-request replace-path', 'http-request replace-path']),
      ])
    },
    words: (path) => ['-db', '-f', path],
  },
]

type Replacement = [text: string, by: string]

/** Each text by another, in the first line that has it and is no comment, unless the text begins one. */
function replaced(text: string, replacements: Replacement[]): string {
  const lines = text.split('\n')
  for (const [old, by] of replacements) {
    const index = lines.findIndex((line) => line.includes(old) && (old.startsWith('#') || !/^\s*#/.test(line)))
    assert.notEqual(index, -1, `${old} stands there`)
    lines[index] = (lines[index] as string).replace(old, () => by)
  }
  return lines.join('\n')
}

function when(condition: unknown, ...replacements: Replacement[]): Replacement[] {
  return condition ? replacements : []
}

/** @returns the port on which it listens, as soon as it does */
async function start(proxy: Proxy, nodes: string[], hasPrefix = false): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), `cerrojo-${proxy.name}-`))
  const port = await freePort()
  const path = join(folder, proxy.file)
  const text = readFileSync(join(import.meta.dirname, '../../deploy', proxy.file), 'utf8')
  writeFileSync(path, proxy.adapt(text, { port, nodes, hasPrefix, folder }))
  const child = spawn(proxy.name, proxy.words(path), {
    env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin`, HOME: folder },
    stdio: 'pipe',
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk) => {
      output += chunk
    })
  const ended = new Promise((resolve) => child.once('exit', resolve))
  after(async () => {
    child.kill('SIGKILL')
    await ended
    rmSync(folder, { recursive: true, force: true })
  })
  await until(`${proxy.name} to listen`, () => {
    assert.equal(child.exitCode, null, output)
    return visitor(port)
      .call('GET', '/')
      .then(
        () => true,
        () => false,
      )
  })
  return port
}

/** Somebody at an address of the loopback network, who speaks to a proxy. */
function visitor(port: number, address = '127.0.0.1'): Server {
  const host = `localhost:${port}`
  const call: Server['call'] = (method, path, { body, headers = {} } = {}) =>
    new Promise<Answer>((resolve, reject) => {
      const text = body === undefined ? '' : JSON.stringify(body)
      const type = body === undefined ? {} : { 'content-type': 'application/json', 'content-length': text.length }
      const tls = { servername: 'localhost', ca: authority?.pem, agent: false }
      const to = { host: '127.0.0.1', port, localAddress: address, method, path }
      const asked = request({ ...to, ...tls, headers: { host, ...type, ...headers } }, async (response) => {
        const chunks = await response.toArray().catch(reject)
        const answered = Buffer.concat(chunks ?? []).toString()
        const isJson = response.headers['content-type']?.startsWith('application/json')
        resolve({
          status: response.statusCode as number,
          headers: new Headers(Object.entries(response.headers).map(([name, value]) => [name, String(value)])),
          body: isJson ? JSON.parse(answered) : undefined,
        })
      })
      asked.on('error', reject).end(text)
    })
  return { url: `https://${host}`, env: {}, call }
}

const addressOf = ({ url }: Server) => url.replace('http://', '')
const cookieOf = ({ headers }: Answer) => headers.get('set-cookie') ?? ''
const login = (to: Server, body: object, headers = {}) => to.call('POST', '/auth/login', { body, headers })
const ENVIRONMENT = { AUTH_TRUST_PROXY: '127.0.0.1', AUTH_REFRESH_TRANSPORT: 'cookie', AUTH_RATE_LIMIT_LOGIN: '2' }

const node = await startServer(ENVIRONMENT)
const nodeUnderPrefix = await startServer({ ...ENVIRONMENT, AUTH_COOKIE_PATH: '/api/auth' })

for (const proxy of PROXIES) {
  const missing = ['openssl', proxy.name].find((program) => !isThere(program))
  const skip = missing ? `${missing} is not installed` : false

  suite(`behind ${proxy.name}, as in deploy/${proxy.file},`, { skip }, async () => {
    if (skip) return
    const port = await start(proxy, [addressOf(node)])

    test('one logs in and refreshes by a cookie, from a page of the own origin and of no other', async () => {
      const ada = visitor(port)
      const credentials = await registerSomebody(ada)
      const loggedIn = await login(ada, credentials, { origin: ada.url })
      assert.equal(loggedIn.status, 200)
      assert.match(cookieOf(loggedIn), /^refresh_token=.*Path=\/auth; HttpOnly; Secure; SameSite=Strict$/)
      assert.match(loggedIn.headers.get('strict-transport-security') ?? '', /^max-age=\d+$/)

      const cookie = cookieOf(loggedIn).split(';')[0] as string
      const refresh = (headers: object) => ada.call('POST', '/auth/token/refresh', { headers: { cookie, ...headers } })
      const foreign = { origin: 'https://evil.example' }
      const forged = {
        'x-forwarded-host': 'evil.example',
        'x-forwarded-proto': 'https',
        forwarded: 'host=evil.example',
      }
      assertRefused(await refresh(foreign), 403, 'AUTH_FORBIDDEN')
      assertRefused(await refresh({ ...foreign, ...forged }), 403, 'AUTH_FORBIDDEN')
      assertRefused(await login(ada, credentials, { ...foreign, ...forged }), 403, 'AUTH_FORBIDDEN')
      const refreshed = await refresh({ origin: ada.url })
      assert.equal(refreshed.status, 200)
      assert.match(cookieOf(refreshed), /^refresh_token=[\w-]{64};/)
    })

    test('two visitors have limits of their own, whatever address they claim', async () => {
      const [guesser, owner] = [visitor(port, '127.0.0.2'), visitor(port, '127.0.0.3')]
      const credentials = await registerSomebody(owner)
      const guess = { ...credentials, password: 'wrong' }
      const statuses: number[] = []
      for (const claimed of ['198.51.100.1', '198.51.100.2', '198.51.100.3'])
        statuses.push((await login(guesser, guess, { 'x-forwarded-for': claimed })).status)
      assert.deepEqual(statuses, [401, 401, 429])
      assert.equal((await login(owner, credentials)).status, 200)
    })

    test('each answer has an id of the proxy’s making', async () => {
      const ids = await Promise.all(
        Array.from({ length: 2 }, async () => {
          const headers = { 'x-request-id': 'mine' }
          return (await visitor(port).call('GET', '/.well-known/jwks.json', { headers })).headers.get('x-request-id')
        }),
      )
      assert.notEqual(ids[0], ids[1])
      for (const id of ids) assert.match(id ?? '', /^[\da-f-]{32,36}$/i)
    })

    test('a body of 20 KB reaches the module, which refuses it in the shape of the contract', async () => {
      const answer = await visitor(port).call('POST', '/auth/login', { body: { email: 'x'.repeat(20_000) } })
      assertRefused(answer, 413, 'AUTH_BAD_REQUEST')
    })

    test('a body that drips is refused in time, and not waited for', { timeout: 60_000 }, async () => {
      const tls = { servername: 'localhost', ca: authority?.pem, agent: false }
      const headers = { host: `localhost:${port}`, 'content-type': 'application/json', 'content-length': 5000 }
      const to = { host: '127.0.0.1', port, ...tls, method: 'POST', path: '/auth/login', headers }
      const asked = request(to).on('error', () => {}) // once it is answered, it may be cut off
      const dripping = setInterval(() => asked.write(' '), 300)
      const [{ statusCode }] = await once(asked, 'response')
      clearInterval(dripping)
      asked.destroy()
      assert.ok([400, 408].includes(statusCode), `${statusCode}`)
    })

    test('under a prefix the cookie goes to that prefix', async () => {
      const ada = visitor(await start(proxy, [addressOf(nodeUnderPrefix)], true))
      const body = newCredentials()
      assert.equal((await ada.call('POST', '/api/auth/register', { body })).status, 201)
      const loggedIn = await ada.call('POST', '/api/auth/login', { body, headers: { origin: ada.url } })
      const cookie = cookieOf(loggedIn)
      assert.match(cookie, /; Path=\/api\/auth;/)
      const headers = { cookie: cookie.split(';')[0] as string, origin: ada.url }
      assert.equal((await ada.call('POST', '/api/auth/token/refresh', { headers })).status, 200)
      assert.equal((await ada.call('GET', '/api/.well-known/jwks.json')).status, 200)
    })

    test('of two nodes one may be down', async () => {
      const port = await start(proxy, [`127.0.0.1:${await freePort()}`, addressOf(node)])
      const together = async (post: () => Promise<Answer>) => {
        const answers = await Promise.all(Array.from({ length: 40 }, post))
        return [...new Set(answers.map(({ status }) => status))]
      }
      await until('the proxy to know', async () => {
        const statuses = await together(() => visitor(port).call('POST', '/auth/logout', { body: {} }))
        return statuses.join() === '401'
      })
      assert.deepEqual(await together(async () => login(visitor(port), await registerSomebody(visitor(port)))), [200])
    })

    test('a POST whose node broke off is not sent again', async () => {
      const nodes = await Promise.all([startBreaking(), startBreaking()])
      const port = await start(
        proxy,
        nodes.map(({ address }) => address),
      )
      const { status } = await login(visitor(port), newCredentials())
      assert.ok(status >= 500, `${status}`)
      assert.equal(
        nodes.reduce((sum, { posts }) => sum + posts(), 0),
        1,
      )
    })
  })
}

/** A node that is well, and breaks off the connection of every POST. */
async function startBreaking(): Promise<{ address: string; posts(): number }> {
  let posts = 0
  const server = createServer((request, response) => {
    if (request.method === 'GET') return response.end('{}')
    posts++
    request.socket.destroy()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  after(() => server.close().closeAllConnections())
  return { address: `127.0.0.1:${(server.address() as AddressInfo).port}`, posts: () => posts }
}
