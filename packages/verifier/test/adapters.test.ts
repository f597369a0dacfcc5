/** Each adapter in its real framework, over HTTP: the same requests get the same answers. */
import assert from 'node:assert/strict'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, test } from 'node:test'
import { type ServerType, serve } from '@hono/node-server'
import express from 'express'
import Fastify from 'fastify'
import { Hono } from 'hono'
import * as forExpress from '../src/express.ts'
import { verifierPlugin } from '../src/fastify.ts'
import * as forHono from '../src/hono.ts'
import { createVerifier, type Verifier, VerifierError } from '../src/index.ts'
import * as forNode from '../src/node.ts'
import { AUDIENCE, ISSUER, issue, newKey, startJwksEndpoint } from './support/issuer.ts'

const sig = await newKey('sig', 'ES256')
const enc = await newKey('enc', 'ECDH-ES+A256KW')
const { url: jwksUrl } = await startJwksEndpoint(sig)
const genuine = createVerifier({ issuer: ISSUER, audience: AUDIENCE, jwksUrl, decryptionKeys: [enc.privateJwk] })

const nowSeconds = Math.floor(Date.now() / 1000)
const token = await issue(sig, enc)
const { sub } = await genuine.verify(token)
const expired = await issue(sig, enc, { claims: { iat: nowSeconds - 1000, exp: nowSeconds - 100 } })

/** How often a handler ran behind the adapter. */
let handled = 0

const FRAMEWORKS: Record<string, (verifier: Verifier) => Promise<string>> = {
  async fastify(verifier) {
    const app = Fastify()
    await app.register(verifierPlugin, { verifier })
    app.get('/', { preHandler: app.requireToken }, async (request) => {
      handled++
      return { sub: request.claims?.sub }
    })
    app.get('/open', async (request) => ({ claims: request.claims }))
    after(() => app.close())
    return app.listen({ host: '127.0.0.1', port: 0 })
  },

  async express(verifier) {
    const app = express()
    app.set('env', 'test')
    app.get('/', forExpress.requireToken(verifier), (request, response) => {
      handled++
      response.json({ sub: request.claims?.sub })
    })
    app.get('/open', (request, response) => {
      response.json({ claims: request.claims ?? null })
    })
    return listening(app.listen(0, '127.0.0.1'))
  },

  async hono(verifier) {
    const app = new Hono()
    app.get('/', forHono.requireToken(verifier), (context) => {
      handled++
      return context.json({ sub: context.get('claims').sub })
    })
    app.get('/open', (context) => context.json({ claims: context.get('claims' as never) ?? null }))
    app.onError((_error, context) => context.text('', 500))
    return listening(serve({ fetch: app.fetch, hostname: '127.0.0.1', port: 0 }))
  },

  async node(verifier) {
    const server = createServer(async (request, response) => {
      try {
        if (request.url === '/open') return response.end('{"claims":null}')
        const claims = await forNode.requireToken(verifier, request, response)
        if (!claims) return
        handled++
        response.end(JSON.stringify({ sub: claims.sub }))
      } catch {
        response.writeHead(500).end()
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
  const request = async (url: string, authorization?: string) => {
    const response = await fetch(url, { headers: authorization === undefined ? {} : { authorization } })
    return { status: response.status, headers: response.headers, body: await response.text() }
  }

  test(`${framework}: a good token reaches the handler, with its claims`, async () => {
    const url = await start(genuine)
    for (const scheme of ['Bearer', 'bearer', 'BEARER']) {
      const answer = await request(url, `${scheme} ${token}`)
      assert.equal(answer.status, 200)
      assert.deepEqual(JSON.parse(answer.body), { sub })
    }
    const open = await request(`${url}/open`, `Bearer ${token}`)
    assert.equal(open.body, '{"claims":null}', 'a route without it asks for no token and sees no claims')
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
    const url = await start({ verify: () => Promise.reject(new Error('a bug')) })
    handled = 0
    assert.equal((await request(url, `Bearer ${token}`)).status, 500)
    assert.equal(handled, 0)
  })
}
