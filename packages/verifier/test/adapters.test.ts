/** Each adapter in its real framework, over HTTP: the same requests get the same answers. */
import assert from 'node:assert/strict'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, test } from 'node:test'
import { type ServerType, serve } from '@hono/node-server'
import express from 'express'
import Fastify, { type FastifyReply, type FastifyRequest } from 'fastify'
import { type Context, Hono } from 'hono'
import * as forExpress from '../src/express.ts'
import * as forFastify from '../src/fastify.ts'
import * as forHono from '../src/hono.ts'
import { type Auth, createVerifier, type TokenOptions, type Verifier, VerifierError } from '../src/index.ts'
import * as forNode from '../src/node.ts'
import { AUDIENCE, ISSUER, issue, newKey, startJwksEndpoint } from './support/issuer.ts'

const sig = await newKey('sig', 'ES256')
const enc = await newKey('enc', 'ECDH-ES+A256KW')
const { url: jwksUrl } = await startJwksEndpoint(sig)
const genuine = createVerifier({ issuer: ISSUER, audience: AUDIENCE, jwksUrl, decryptionKeys: [enc.privateJwk] })

const nowSeconds = Math.floor(Date.now() / 1000)
const token = await issue(sig, enc)
const { userId } = await genuine.verify(token)
const expired = await issue(sig, enc, { claims: { iat: nowSeconds - 1000, exp: nowSeconds - 100 } })

type Verify = Pick<Verifier, 'verify'>
interface Options extends TokenOptions {
  name?: string
  onRefusal?: (refusal: VerifierError) => void
}

/** How often a handler ran behind the adapter. */
let handled = 0
function handle(auth: Auth | undefined) {
  handled++
  return { userId: auth?.userId ?? null }
}

/** At `/`, for GET and POST, what wants a token; at `/open` what does not, and says what it sees all the same. */
const FRAMEWORKS: Record<string, (verifier: Verify, options?: Options) => Promise<string>> = {
  async fastify(verifier, options = {}) {
    const app = Fastify()
    const onRequest = forFastify.requireToken(verifier, options)
    const answer = async (request: FastifyRequest) => {
      const { auth } = options.name ? { auth: Reflect.get(request, options.name) } : request
      if (!options.optional) assert.equal(auth, forFastify.authOf(request))
      return handle(auth)
    }
    app.get('/', { onRequest }, answer)
    app.post('/', { onRequest }, answer)
    app.get('/open', async (request) => ({ auth: request.auth ?? null }))
    app.get('/forgotten', async (request) => forFastify.authOf(request))
    app.setErrorHandler((error: VerifierError, _request, reply) => reply.code(error.status ?? 500).send(error.reason))
    after(() => app.close())
    return app.listen({ host: '127.0.0.1', port: 0 })
  },

  async express(verifier, options = {}) {
    const app = express()
    app.set('env', 'test')
    const required = forExpress.requireToken(verifier, options)
    app.all('/', required, express.json(), (request, response) => {
      const { auth } = options.name ? { auth: Reflect.get(request, options.name) } : request
      if (!options.optional) assert.equal(auth, forExpress.authOf(request))
      response.json(handle(auth))
    })
    app.get('/open', (request, response) => {
      response.json({ auth: request.auth ?? null })
    })
    app.get('/forgotten', (request, response) => {
      response.json(forExpress.authOf(request))
    })
    app.use((error: VerifierError, _request: unknown, response: express.Response, _next: unknown) => {
      response.status(error.status ?? 500).send(error.reason)
    })
    return listening(app.listen(0, '127.0.0.1'))
  },

  async hono(verifier, options = {}) {
    const app = new Hono()
    const required = forHono.requireToken(verifier, options)
    app.all('/', required, (context) => {
      const auth = options.name ? context.get(options.name as 'auth') : context.get('auth')
      if (!options.optional) assert.equal(auth, forHono.authOf(context))
      return context.json(handle(auth))
    })
    app.get('/open', (context) => context.json({ auth: context.get('auth') ?? null }))
    app.get('/forgotten', (context) => context.json(forHono.authOf(context)))
    app.onError((error, context) =>
      error instanceof VerifierError ? context.text(error.reason, error.status) : context.text('', 500),
    )
    return listening(serve({ fetch: app.fetch, hostname: '127.0.0.1', port: 0 }))
  },

  async node(verifier, options = {}) {
    const server = createServer(async (request, response) => {
      try {
        if (request.url === '/open') return response.end('{"auth":null}')
        if (request.url === '/forgotten') return response.writeHead(500).end()
        const auth = await forNode.requireToken(verifier, request, response, options)
        if (auth) response.end(JSON.stringify(handle(auth)))
      } catch (error) {
        if (error instanceof VerifierError) response.writeHead(error.status).end(error.reason)
        else response.writeHead(500).end()
      }
    })
    return listening(server.listen(0, '127.0.0.1'))
  },
}

async function listening(server: Server | ServerType): Promise<string> {
  after(() => server.close())
  if (!server.listening) await new Promise<void>((resolve) => server.once('listening', resolve))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

const INVALID = { error: { code: 'AUTH_TOKEN_INVALID', message: 'The access token is missing or not valid' } }
const EXPIRED = { error: { code: 'AUTH_TOKEN_EXPIRED', message: 'The token has expired' } }
const BARE_CHALLENGE = 'Bearer realm="auth"'
const challengeOf = ({ error }: typeof INVALID) =>
  `${BARE_CHALLENGE}, error="invalid_token", error_description="${error.message}"`

const REFUSED: [name: string, authorization: string | undefined, body: typeof INVALID, challenge: string][] = [
  ['no Authorization header', undefined, INVALID, BARE_CHALLENGE],
  ['another scheme', 'Basic dTpw', INVALID, BARE_CHALLENGE],
  ['the scheme alone', 'Bearer', INVALID, BARE_CHALLENGE],
  ['two tokens', `Bearer ${token} ${token}`, INVALID, BARE_CHALLENGE],
  ['a scheme that only ends like it', `NotBearer ${token}`, INVALID, BARE_CHALLENGE],
  ['a token that is none', 'Bearer nonsense', INVALID, challengeOf(INVALID)],
  ['an expired token', `Bearer ${expired}`, EXPIRED, challengeOf(EXPIRED)],
]

for (const [framework, start] of Object.entries(FRAMEWORKS)) {
  const request = async (url: string, authorization?: string, init: RequestInit = {}) => {
    const response = await fetch(url, { ...init, headers: authorization === undefined ? {} : { authorization } })
    return { status: response.status, headers: response.headers, body: await response.text() }
  }

  test(`${framework}: a good token reaches the handler, with what it tells`, async () => {
    const url = await start(genuine)
    for (const scheme of ['Bearer', 'bearer', 'BEARER']) {
      const answer = await request(url, `${scheme} ${token}`)
      assert.equal(answer.status, 200)
      assert.deepEqual(JSON.parse(answer.body), { userId })
    }
    const open = await request(`${url}/open`, `Bearer ${token}`)
    assert.equal(open.body, '{"auth":null}', 'a route without it asks for no token and knows nobody')
    const forgotten = await request(`${url}/forgotten`, `Bearer ${token}`)
    assert.equal(forgotten.status, 500, 'and whoever believes it does know somebody is stopped')
  })

  for (const [name, authorization, body, challenge] of REFUSED)
    test(`${framework}: ${name} answers 401 and reaches no handler`, async () => {
      const url = await start(genuine)
      handled = 0
      const answer = await request(url, authorization)
      assert.equal(answer.status, 401)
      assert.equal(answer.headers.get('www-authenticate'), challenge)
      assert.match(answer.headers.get('content-type') ?? '', /^application\/json/)
      assert.deepEqual(JSON.parse(answer.body), body)
      assert.equal(handled, 0)
    })

  test(`${framework}: two megabytes from nobody are answered 401, not read`, async () => {
    const url = await start(genuine)
    const answer = await request(url, undefined, { method: 'POST', body: 'x'.repeat(2_000_000) })
    assert.equal(answer.status, 401)
  })

  test(`${framework}: keys that cannot be had answer 503 with Retry-After, and no challenge`, async () => {
    const url = await start({
      verify: async () => Promise.reject(new VerifierError('AUTH_UNAVAILABLE', 'no signing keys', new Error('secret'))),
    })
    handled = 0
    const answer = await request(url, `Bearer ${token}`)
    assert.equal(answer.status, 503)
    assert.equal(answer.headers.get('retry-after'), '1')
    assert.equal(answer.headers.get('www-authenticate'), null)
    assert.equal(JSON.parse(answer.body).error.code, 'AUTH_UNAVAILABLE')
    assert.ok(!answer.body.includes('secret'))
    assert.equal(handled, 0)
  })

  test(`${framework}: any other error is the framework's to answer`, async () => {
    const verifiers = [{ verify: () => Promise.reject(new Error('a bug')) }, genuine]
    const check = () => Promise.reject(new Error('another'))
    handled = 0
    for (const verifier of verifiers)
      assert.equal((await request(await start(verifier, { check }), `Bearer ${token}`)).status, 500)
    assert.equal(handled, 0)
  })

  test(`${framework}: a good token that the check refuses answers 403, and no client refreshes for it`, async () => {
    const seen: Auth[] = []
    const isGranted = [true, false]
    const url = await start(genuine, {
      async check(auth) {
        seen.push(auth)
        return isGranted.shift() as boolean
      },
    })
    assert.equal((await request(url, `Bearer ${token}`)).status, 200)
    const answer = await request(url, `Bearer ${token}`)
    assert.equal(answer.status, 403)
    assert.match(answer.headers.get('www-authenticate') ?? '', /error="insufficient_scope"/)
    assert.equal(JSON.parse(answer.body).error.code, 'AUTH_FORBIDDEN')
    assert.equal(seen[1]?.claims?.sub, userId)
    assert.equal((await request(url)).status, 401)
    assert.equal(seen.length, 2, 'it is asked about good tokens alone')
  })

  test(`${framework}: a refusal can be thrown to the framework's error handler, which learns why`, async () => {
    const url = await start(genuine, {
      onRefusal(refusal) {
        throw refusal
      },
    })
    assert.equal((await request(url, `Bearer ${token}`)).status, 200)
    const answer = await request(url, `Bearer ${expired}`)
    assert.deepEqual([answer.status, answer.body], [401, 'exp'])
  })

  test(`${framework}: a refusal that is only logged is answered all the same, and reaches no handler`, async () => {
    const log: string[] = []
    const url = await start(genuine, { onRefusal: ({ reason }) => void log.push(reason) })
    handled = 0
    const answer = await request(url, `Bearer ${expired}`)
    assert.deepEqual([answer.status, JSON.parse(answer.body)], [401, EXPIRED])
    assert.deepEqual(log, ['exp'])
    assert.equal(handled, 0)
  })

  if (framework === 'node') continue // which has neither

  test(`${framework}: where a token is optional nobody is let in, and somebody with a bad one is not`, async () => {
    const url = await start(genuine, { optional: true })
    assert.deepEqual(JSON.parse((await request(url)).body), { userId: null })
    assert.deepEqual(JSON.parse((await request(url, `Bearer ${token}`)).body), { userId })
    for (const authorization of ['Basic dTpw', 'Bearer nonsense', `Bearer ${expired}`])
      assert.equal((await request(url, authorization)).status, 401)
  })

  test(`${framework}: what the token tells can have another name`, async () => {
    const url = await start(genuine, { name: 'caller' })
    assert.deepEqual(JSON.parse((await request(url, `Bearer ${token}`)).body), { userId })
  })
}

/** What answers refusals in a way of its own, and what throws them. */
async function startAll(answer: 'itself' | 'throw'): Promise<string[]> {
  const refuse = (refusal: VerifierError) => {
    throw refusal
  }
  const isThrown = answer === 'throw'
  const onExpress = express().set('env', 'test')
  const toLogin = (_refusal: unknown, _request: unknown, response: express.Response) => response.redirect('/login')
  onExpress.get('/', forExpress.requireToken(genuine, { onRefusal: isThrown ? refuse : toLogin }))
  const onFastify = Fastify()
  const byReply = (_refusal: unknown, _request: unknown, reply: FastifyReply) => reply.redirect('/login')
  const onRequest = forFastify.requireToken(genuine, { onRefusal: isThrown ? refuse : byReply })
  onFastify.addHook('onSend', async () => {}) // which has replies take their time
  onFastify.get('/', { onRequest }, async () => 'never')
  after(() => onFastify.close())
  const onHono = new Hono()
  const byContext = (_refusal: unknown, context: Context) => context.redirect('/login')
  onHono.get('/', forHono.requireToken(genuine, { onRefusal: isThrown ? refuse : byContext }))
  return [
    await listening(onExpress.listen(0, '127.0.0.1')),
    await onFastify.listen({ host: '127.0.0.1', port: 0 }),
    await listening(serve({ fetch: onHono.fetch, hostname: '127.0.0.1', port: 0 })),
  ]
}

test('thrown to the default error handler of a framework, a refusal keeps its status and headers', async () => {
  for (const url of await startAll('throw')) {
    const { status, headers } = await fetch(url)
    assert.deepEqual([status, headers.get('www-authenticate')], [401, BARE_CHALLENGE], url)
  }
})

test('who wants to answers refusals in another way', async () => {
  for (const url of await startAll('itself')) {
    const { status, headers } = await fetch(url, { redirect: 'manual' })
    assert.deepEqual([status, headers.get('location')], [302, '/login'], url)
  }
})
