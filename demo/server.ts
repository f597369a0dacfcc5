/** The demo: the module, a server for notes, and a page that uses both, all on one origin so that cookies are real. */
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http'
import { stripTypeScriptTypes } from 'node:module'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { createVerifier } from '../packages/verifier/src/index.ts'
import { type Config, loadConfig, StartError } from '../src/config.ts'
import type { Database } from '../src/db/database.ts'
import { isAccepted, readKeys } from '../src/keys/rotation.ts'
import { readSecrets } from '../src/keys/secret.ts'
import { buildApp } from '../src/main.ts'
import { createNotesServer } from './notes.ts'
import { createAuthProxy, passOn } from './proxy.ts'

const REPOSITORY = join(import.meta.dirname, '..')

const SETTINGS = {
  AUTH_REFRESH_TRANSPORT: 'cookie',
  AUTH_COOKIE_SECURE: 'false', // the page is served by plain HTTP, which browsers trust on loopback
  AUTH_ACCESS_TTL_SEC: '120', // short enough to watch it end
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
  const notesKeys = await shareEncryptionKeys(config, database, join(folder, 'notes-keys'))
  const verifier = createVerifier({
    issuer: 'auth-mvp',
    audience: 'auth-mvp-clients',
    jwksUrl: `${authUrl}/.well-known/jwks.json`,
    keysDir: notesKeys.directory,
    cooldownSeconds: 1, // a key that came into use at once is missed for so long only
  })
  const notes = createNotesServer(verifier)
  const notesUrl = await listen(notes, 0)

  const passToAuth = createAuthProxy(authUrl)
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
    const file = await readPageFile(path)
    if (!file) return response.writeHead(404, PAGE_HEADERS).end()
    return response.writeHead(200, { ...PAGE_HEADERS, 'content-type': file.type }).end(file.content)
  }

  return {
    url,
    async close() {
      await notesKeys.close()
      for (const server of [front, notes]) {
        server.close()
        server.closeAllConnections()
      }
      await auth.close()
    },
  }
}

/**
 * Keeps a folder for a resource server, with the keys that decrypt and no others: with a signing key it could make
 * tokens
 * itself. As keys rotate the folder follows, long before their first use.
 */
async function shareEncryptionKeys(config: Config, database: Database, directory: string) {
  const secrets = await readSecrets(config, false)

  async function share(): Promise<void> {
    const { keys, now } = await readKeys({ config, database, secrets })
    const accepted = keys.filter((key) => key.use === 'enc' && isAccepted(key, now))
    const files = new Map(accepted.map(({ number, kid, use, jwk }) => [`enc-${number}.json`, { kid, use, ...jwk }]))
    const shared = await readdir(directory)
    for (const [name, jwk] of files)
      if (!shared.includes(name)) await writeFile(join(directory, name), JSON.stringify(jwk), { mode: 0o600 })
    for (const name of shared) if (!files.has(name)) await rm(join(directory, name))
  }

  await mkdir(directory, { recursive: true, mode: 0o700 })
  await share()
  let sharing = Promise.resolve()
  const timer = setInterval(() => {
    sharing = sharing.then(share).catch(console.error) // what is missed now is shared the next time
  }, config.jwksCacheTtlSeconds * 1000)
  return {
    directory,
    close(): Promise<void> {
      clearInterval(timer)
      return sharing
    },
  }
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
