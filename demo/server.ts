/** The demo: the module, two servers that take its tokens, and a page, all on one origin so that cookies are real. */
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http'
import { stripTypeScriptTypes } from 'node:module'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { createRemoteVerifier, createVerifier } from '../packages/verifier/src/index.ts'
import { loadConfig, StartError } from '../src/config.ts'
import type { Database } from '../src/db/database.ts'
import { isAccepted, type KeyRoom, readKeys } from '../src/keys/rotation.ts'
import { readSecrets } from '../src/keys/secret.ts'
import { buildApp } from '../src/main.ts'
import { createGreetingsServer } from './greetings.ts'
import { createNotesServer } from './notes.ts'
import { createOperator } from './operator.ts'
import { createAuthProxy, passOn } from './proxy.ts'

const REPOSITORY = join(import.meta.dirname, '..')

const SETTINGS = {
  AUTH_REFRESH_TRANSPORT: 'cookie',
  AUTH_COOKIE_SECURE: 'false', // the page is served by plain HTTP, which browsers trust on loopback
  AUTH_ACCESS_TTL_SEC: '120', // short enough to watch it end
  AUTH_JWKS_CACHE_TTL_SEC: '2', // so soon keys that are rotated from outside are noticed
  AUTH_RATE_LIMIT_LOGIN: '100',
  AUTH_RATE_LIMIT_REGISTER: '100',
  AUTH_RATE_LIMIT_REFRESH: '100',
}

const PAGE_HEADERS = {
  'content-security-policy': [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; '),
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-cache',
}

export interface Demo {
  url: string
  close(): Promise<void>
}

export interface DemoOptions {
  /** Where database and keys are kept; made when it is missing. */
  folder: string
  /** 0 takes any free one. */
  port: number
  /** More settings of the module, by the names of its environment variables. */
  settings?: Record<string, string>
}

/** @throws {Error} with `syscall` for a port that cannot be had, StartError for a folder that cannot be used */
export async function startDemo({ folder, port, settings = {} }: DemoOptions): Promise<Demo> {
  let serve: RequestListener = (_request, response) =>
    response.writeHead(503, { ...PAGE_HEADERS, 'retry-after': '1' }).end('The demo is starting: try again in a moment.')
  const front = createServer((request, response) => serve(request, response))
  const url = await listen(front, port) // first, so that a port that is taken stops everything else

  const config = loadConfig({ ...SETTINGS, ...settings, AUTH_DATA_DIR: join(folder, 'database') })
  const auth = await buildApp(config)
  const authUrl = await auth.listen({ host: '127.0.0.1', port: 0 })

  const database = auth.getDecorator<Database>('database')
  const room: KeyRoom = { config, database, secrets: await readSecrets(config, false), log: auth.log }
  const jwksUrl = `${authUrl}/.well-known/jwks.json`
  const ownVerifier = createVerifier({
    issuer: 'auth-mvp',
    audience: 'auth-mvp-clients',
    jwksUrl,
    decryptionKeys: () => readEncryptionKeys(room),
    clockSkewSeconds: 0, // there is one clock, and it is to be seen when a token ends
  })
  const notes = createNotesServer(ownVerifier)
  const notesUrl = await listen(notes, 0)
  const greetings = createGreetingsServer(createRemoteVerifier({ url: authUrl, maxAgeSeconds: 3 }))
  const greetingsUrl = await listen(greetings, 0)

  const passToAuth = createAuthProxy(authUrl, createOperator(room, jwksUrl))
  serve = (request, response) => {
    route(request, response).catch((error) => {
      console.error(error)
      response.destroy()
    })
  }

  async function route(request: IncomingMessage, response: ServerResponse): Promise<unknown> {
    const path = request.url?.split('?')[0] ?? '/'
    if (/^\/(auth|\.well-known)\//.test(path)) return passToAuth(request, response)
    if (/^\/notes(\/|$)/.test(path)) return passOn(notesUrl, request, response)
    if (path === '/greeting') return passOn(greetingsUrl, request, response)
    const file = await readPageFile(path)
    if (!file) return response.writeHead(404, PAGE_HEADERS).end()
    return response.writeHead(200, { ...PAGE_HEADERS, 'content-type': file.type }).end(file.content)
  }

  return {
    url,
    async close() {
      for (const server of [front, notes, greetings]) {
        server.close()
        server.closeAllConnections()
      }
      await auth.close()
    },
  }
}

/** What `cerrojo keys export` would give a resource server; with a key of use `sig` it could make tokens itself. */
async function readEncryptionKeys(room: KeyRoom) {
  const { keys, now } = await readKeys(room)
  return keys
    .filter((key) => key.use === 'enc' && isAccepted(key, now))
    .map(({ kid, use, jwk }) => ({ kid, use, ...jwk }))
}

const PUBLIC_FILES: Record<string, { name: string; type: string }> = {
  '/': { name: 'index.html', type: 'text/html; charset=utf-8' },
  '/style.css': { name: 'style.css', type: 'text/css; charset=utf-8' },
  '/icon.svg': { name: 'icon.svg', type: 'image/svg+xml' },
}

/** The page's TypeScript, and the client package's, become JavaScript by leaving the types out. */
async function readPageFile(path: string): Promise<{ type: string; content: string } | undefined> {
  const file = PUBLIC_FILES[path]
  if (file) return { type: file.type, content: await readFile(join(import.meta.dirname, 'public', file.name), 'utf8') }
  if (!/^\/(demo|packages\/client)\/src\/[a-z_]+\.ts$/.test(path)) return undefined
  const source = await readFile(join(REPOSITORY, path), 'utf8').catch(() => undefined)
  return source === undefined
    ? undefined
    : { type: 'text/javascript; charset=utf-8', content: stripTypeScriptTypes(source) }
}

function listen(server: Server, port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', () => resolve(`http://127.0.0.1:${(server.address() as AddressInfo).port}`))
  })
}

async function start(): Promise<void> {
  const port = Number(process.env.PORT || 4000)
  const folder = process.argv[2] ?? join(import.meta.dirname, 'data')
  if (!existsSync(folder)) console.log(`Making a database in ${folder}: some seconds, at the first start alone`)
  const demo = await startDemo({ folder, port })
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => demo.close())
  console.log(`Open ${demo.url} in a browser. Ctrl-C ends the demo.`)
}

if (import.meta.main)
  await start().catch((error) => {
    if (error.code === 'EADDRINUSE')
      console.error(`Port ${error.port} is taken. Choose another: PORT=4001 npm run demo`)
    else console.error(error instanceof StartError || 'code' in error ? error.message : error)
    process.exit(1)
  })
