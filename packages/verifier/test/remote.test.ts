/** Tokens that the issuer verifies, asked by `/auth/me`. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, mock, test } from 'node:test'
import { logInSomebody, me } from '../../../test/support/server.ts'
import { until } from '../../../test/support/wait.ts'
import { createRemoteVerifier, type RemoteVerifierOptions, type VerifierError } from '../src/index.ts'
import { requireToken } from '../src/node.ts'
import { issue } from './support/issuer.ts'
import { startModule } from './support/module.ts'

const module = await startModule()
const USER = { id: randomUUID(), email: 'ada@example.com', email_verified: true }
const nowSeconds = () => Math.floor(Date.now() / 1000)

interface Issuer {
  url: string
  /** How often it was asked. */
  questions: number
  /** How many questions wait for an answer. */
  waiting: number
  answer: (response: ServerResponse, request: IncomingMessage) => unknown
  stop(): Promise<void>
  start(): Promise<void>
}

/** Answers every token with the same user, until told otherwise. */
async function startIssuer(answer: Issuer['answer'] = (response) => json(response, 200, USER)): Promise<Issuer> {
  const server = createServer((request, response) => {
    issuer.questions++
    issuer.waiting++
    response.once('close', () => issuer.waiting--)
    issuer.answer(response, request)
  })
  let port = 0
  const issuer: Issuer = {
    url: '',
    questions: 0,
    waiting: 0,
    answer,
    async start() {
      await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
      port = (server.address() as AddressInfo).port
      issuer.url = `http://127.0.0.1:${port}`
    },
    async stop() {
      const closed = new Promise((resolve) => server.close(resolve))
      server.closeAllConnections()
      await closed
    },
  }
  await issuer.start()
  after(() => server.listening && issuer.stop())
  return issuer
}

/** In front of the real module. */
async function relay(response: ServerResponse, { url, headers }: IncomingMessage): Promise<void> {
  const { authorization = '' } = headers
  const { status, body } = await module.server.call('GET', url as string, { headers: { authorization } })
  json(response, status, body)
}

function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}

/** Of the right form, and nothing in it: what only the issuer can tell. */
function sealed(changes: Record<string, unknown> = {}): string {
  const header = { alg: 'ECDH-ES+A256KW', enc: 'A256GCM', cty: 'JWT', kid: 'k', exp: nowSeconds() + 900 }
  const text = JSON.stringify({ ...header, jti: randomUUID(), ...changes })
  return `${Buffer.from(text).toString('base64url')}.AAAA.AAAA.AAAA.AAAA`
}

const outcomeOf = (verification: Promise<unknown>): Promise<string> =>
  verification.then(
    () => 'verified',
    (error: VerifierError) => error.code,
  )

test('a token of the module tells who sends it, with email, and without a key here', async () => {
  const { access_token: token } = await logInSomebody(module.server)
  const { id, email, email_verified: emailVerified } = (await me(module.server, token)).body
  const { jti: tokenId, exp: expiresAt } = JSON.parse(
    Buffer.from(token.split('.')[0] as string, 'base64url').toString(),
  )
  const auth = await createRemoteVerifier({ url: module.server.url }).verify(token)
  assert.deepEqual(auth, { userId: id, expiresAt, tokenId, email, emailVerified })
  assert.throws(() => Object.assign(auth, { userId: 'somebody else' }), TypeError)
})

test('a token is asked about once, also when it comes many times at once, and then remembered', async () => {
  const issuer = await startIssuer()
  const verifier = createRemoteVerifier({ url: `${issuer.url}/` })
  const token = sealed()
  const auths = await Promise.all(Array.from({ length: 20 }, () => verifier.verify(token)))
  assert.equal(new Set([...auths, await verifier.verify(token)]).size, 1)
  assert.equal(issuer.questions, 1)
  await verifier.verify(sealed())
  assert.equal(issuer.questions, 2)
})

test('a logout is noticed when what is remembered has aged', async () => {
  const issuer = await startIssuer(relay)
  const verifier = createRemoteVerifier({ url: issuer.url, maxAgeSeconds: 0.3 })
  const { access_token, refresh_token } = await logInSomebody(module.server)
  await verifier.verify(access_token)
  assert.equal((await module.server.call('POST', '/auth/logout', { body: { refresh_token } })).status, 204)
  await until('the logout to be noticed', async () => (await outcomeOf(verifier.verify(access_token))) !== 'verified')
  const refusal = { code: 'AUTH_TOKEN_REVOKED', status: 401 }
  await assert.rejects(verifier.verify(access_token), refusal)
  await assert.rejects(createRemoteVerifier({ url: issuer.url }).verify(access_token), refusal)
})

test('what is wrong by its form, alg, enc or exp is refused without asking', async () => {
  const issuer = await startIssuer()
  const verifier = createRemoteVerifier({ url: issuer.url })
  let jws = ''
  await issue(module.sig, module.enc, {
    replaceJws: (inner) => {
      jws = inner
      return inner
    },
  })
  const token = sealed()
  const wrong: Record<string, unknown> = {
    'no token': '',
    'no text': 7,
    'a part too few': token.slice(0, token.lastIndexOf('.')),
    'a part too many': `${token}.AAAA`,
    'an empty part': token.replace('.AAAA', '.'),
    'a space': `${token} `,
    padding: `${token}=`,
    'a line break': `${token}\n`,
    'no header': `AAAA${token.slice(token.indexOf('.'))}`,
    'a header that is null': `${Buffer.from('null').toString('base64url')}${token.slice(token.indexOf('.'))}`,
    'another alg': sealed({ alg: 'dir' }),
    'no alg': sealed({ alg: undefined }),
    'another enc': sealed({ enc: 'A128GCM' }),
    'another cty': sealed({ cty: 'JSON' }),
    'a compressed content': sealed({ zip: 'DEF' }),
    'a key of its own': sealed({ jwk: {} }),
    'no exp': sealed({ exp: undefined }),
    'exp as text': sealed({ exp: '9999999999' }),
    'no token id': sealed({ jti: undefined }),
    'a signed token that is not encrypted': jws,
  }
  for (const [name, token] of Object.entries(wrong))
    assert.equal(await outcomeOf(verifier.verify(token as string)), 'AUTH_TOKEN_INVALID', name)
  assert.equal(await outcomeOf(verifier.verify(sealed({ exp: nowSeconds() - 100 }))), 'AUTH_TOKEN_EXPIRED')
  assert.equal(issuer.questions, 0)
})

test('a refusal is passed on, and not remembered', async () => {
  const issuer = await startIssuer()
  const verifier = createRemoteVerifier({ url: issuer.url })
  const token = sealed()
  for (const code of ['AUTH_TOKEN_INVALID', 'AUTH_TOKEN_EXPIRED', 'AUTH_TOKEN_REVOKED']) {
    issuer.answer = (response) => json(response, 401, { error: { code, message: 'no' } })
    await assert.rejects(verifier.verify(token), { code, status: 401, reason: 'refused by the issuer' })
  }
  issuer.answer = (response) => json(response, 200, USER)
  assert.equal(await outcomeOf(verifier.verify(token)), 'verified')
  assert.equal(issuer.questions, 4)

  const forged = await issue(module.sig, module.enc, { replaceJws: (jws) => `${jws.slice(0, -8)}AAAAAAAA` })
  const real = createRemoteVerifier({ url: module.server.url })
  assert.equal(await outcomeOf(real.verify(forged)), 'AUTH_TOKEN_INVALID')
})

test('nothing is remembered past the exp in the token, however long it may be remembered otherwise', async () => {
  const issuer = await startIssuer()
  const verifier = createRemoteVerifier({ url: issuer.url, maxAgeSeconds: 3600 })
  mock.timers.enable({ apis: ['Date'], now: Date.now() })
  const exp = nowSeconds() + 5
  const token = sealed({ exp })
  await verifier.verify(token)
  mock.timers.setTime(exp * 1000 - 1)
  await verifier.verify(token)
  assert.equal(issuer.questions, 1)
  mock.timers.setTime(exp * 1000)
  await verifier.verify(token)
  assert.equal(issuer.questions, 2, 'within the clock skew the issuer decides')
  mock.timers.setTime((exp + 60) * 1000)
  assert.equal(await outcomeOf(verifier.verify(token)), 'AUTH_TOKEN_EXPIRED')
  assert.equal(issuer.questions, 2)
  mock.timers.reset()
})

test('ten thousand tokens are remembered, and the oldest makes room for the next', async () => {
  const asking = mock.method(globalThis, 'fetch', async () => Response.json(USER))
  const verifier = createRemoteVerifier({ url: 'https://auth.example.com', maxAgeSeconds: 3600 })
  const tokens = Array.from({ length: 10_001 }, () => sealed())
  for (const token of tokens) await verifier.verify(token)
  for (const token of tokens.slice(1)) await verifier.verify(token)
  assert.equal(asking.mock.callCount(), 10_001)
  await verifier.verify(tokens[0] as string)
  assert.equal(asking.mock.callCount(), 10_002)
  asking.mock.restore()
})

test('fifty questions are put at once, and the others wait for their turn', async () => {
  let most = 0
  const held: (() => void)[] = []
  const issuer = await startIssuer((response) => {
    most = Math.max(most, issuer.waiting)
    held.push(() => json(response, 200, USER))
  })
  const verifier = createRemoteVerifier({ url: issuer.url, timeoutSeconds: 60 })
  const verifications = Array.from({ length: 70 }, () => outcomeOf(verifier.verify(sealed())))
  await until('fifty questions', () => issuer.waiting === 50)
  issuer.answer = (response) => {
    most = Math.max(most, issuer.waiting)
    json(response, 200, USER)
  }
  for (const answer of held) answer()
  assert.deepEqual(new Set(await Promise.all(verifications)), new Set(['verified']))
  assert.equal(most, 50)
  assert.equal(issuer.questions, 70)
})

test('an issuer that never answers is not waited for long, nor is a turn', async () => {
  const issuer = await startIssuer(() => {})
  const failures: unknown[] = []
  const onFailure = (error: unknown) => failures.push(error)
  const verifier = createRemoteVerifier({ url: issuer.url, timeoutSeconds: 0.5, onFailure })
  const outcomes = await Promise.all(Array.from({ length: 120 }, () => outcomeOf(verifier.verify(sealed()))))
  assert.deepEqual(new Set(outcomes), new Set(['AUTH_UNAVAILABLE']))
  assert.equal(failures.length, 120)
  assert.ok(issuer.questions < 120, 'whose time was over when the turn came put no question')
  issuer.answer = (response) => json(response, 200, USER)
  await until('every turn to be given back', async () => (await outcomeOf(verifier.verify(sealed()))) === 'verified')
})

test('while the issuer is away the answer is 503, and what is remembered serves on', async () => {
  const issuer = await startIssuer()
  const verifier = createRemoteVerifier({ url: issuer.url })
  const seen = sealed()
  await verifier.verify(seen)
  await issuer.stop()
  await assert.rejects(verifier.verify(sealed()), (error: VerifierError) => {
    assert.ok(error.cause instanceof Error)
    assert.ok(!`${error.message}${error.stack}`.includes(seen))
    return error.code === 'AUTH_UNAVAILABLE' && error.status === 503
  })
  await assert.rejects(verifier.ready(), { code: 'AUTH_UNAVAILABLE' })
  assert.equal(await outcomeOf(verifier.verify(seen)), 'verified')
  await issuer.start()
  assert.equal(await outcomeOf(verifier.verify(sealed())), 'verified')
  await verifier.ready()
})

const stranger = await startIssuer()
const NO_ANSWERS: Record<string, Issuer['answer']> = {
  'an error': (response) => json(response, 500, { error: { code: 'AUTH_INTERNAL', message: '' } }),
  'that it is busy': (response) => json(response, 503, { error: { code: 'AUTH_UNAVAILABLE', message: '' } }),
  'a limit': (response) => json(response, 429, { error: { code: 'AUTH_RATE_LIMIT', message: '' } }),
  'a refusal of somebody else': (response) => json(response, 401, { message: 'Unauthorized' }),
  'a 403': (response) => json(response, 403, { error: { code: 'AUTH_TOKEN_INVALID', message: '' } }),
  'a page': (response) => response.end('<html></html>'),
  nobody: (response) => json(response, 200, {}),
  null: (response) => json(response, 200, null),
  'half a user': (response) => json(response, 200, { ...USER, email_verified: undefined }),
  'an id that is none': (response) => json(response, 200, { ...USER, id: 'me' }),
  'a redirection': (response) => response.writeHead(307, { location: `${stranger.url}/auth/me` }).end(),
  'half an answer': (response) => {
    response.writeHead(200, { 'content-length': 1000 }).write('{"id":')
    setTimeout(() => response.destroy(), 20)
  },
}
for (const [name, answer] of Object.entries(NO_ANSWERS))
  test(`an issuer that answers ${name} has told nothing about the token`, async () => {
    const issuer = await startIssuer(answer)
    const failures: unknown[] = []
    const verifier = createRemoteVerifier({ url: issuer.url, onFailure: (error) => failures.push(error) })
    const token = sealed()
    await assert.rejects(verifier.verify(token), ({ code, cause }: VerifierError) => {
      assert.deepEqual(failures, [cause])
      return code === 'AUTH_UNAVAILABLE'
    })
    assert.ok(!String(failures[0]).includes(token))
    await assert.rejects(verifier.ready(), { code: 'AUTH_UNAVAILABLE' })
    assert.equal(stranger.questions, 0, 'and it is shown to nobody else')
  })

test('ready asks whether the issuer answers as one, without a token', async () => {
  await createRemoteVerifier({ url: module.server.url }).ready()
  await assert.rejects(createRemoteVerifier({ url: `${module.server.url}/elsewhere` }).ready(), { status: 503 })
})

test('the same adapters take it, and a check may ask for a verified email', async () => {
  const verifier = createRemoteVerifier({ url: module.server.url })
  const server = createServer(async (request, response) => {
    const options = { check: ({ emailVerified }: { emailVerified?: boolean }) => emailVerified === true }
    const auth = await requireToken(verifier, request, response, request.url === '/verified' ? options : {})
    if (auth) response.end(auth.email)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  after(() => server.close())
  const { access_token } = await logInSomebody(module.server)
  const ask = (path: string, token: string) =>
    fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}${path}`, {
      headers: { authorization: `Bearer ${token}` },
    })
  const { email } = (await me(module.server, access_token)).body
  assert.equal(await (await ask('/', access_token)).text(), email)
  assert.equal((await ask('/verified', access_token)).status, 403)
  assert.equal((await ask('/', sealed())).status, 401)
})

test('wrong options are refused at once, by name', () => {
  const good = [
    'https://auth.example.com',
    'https://example.com/login/',
    'http://localhost:3000',
    'http://127.0.0.1:3000',
    'http://[::1]:3000',
    new URL('https://auth.example.com'),
  ]
  for (const url of good) createRemoteVerifier({ url })
  const wrong = [
    undefined,
    '',
    'auth.example.com',
    '/auth',
    'http://auth.example.com',
    'http://localhost.example.com',
    'http://127.0.0.1.example.com',
    'http://10.0.0.1',
    'http://[::]',
    'ftp://localhost',
    'https://user:password@auth.example.com',
    'https://auth.example.com/?x',
  ]
  for (const url of wrong)
    assert.throws(() => createRemoteVerifier({ url } as RemoteVerifierOptions), { name: 'TypeError', message: /^url/ })
  for (const name of ['maxAgeSeconds', 'clockSkewSeconds', 'timeoutSeconds'])
    for (const value of [-1, Number.NaN, 'ten'])
      assert.throws(() => createRemoteVerifier({ url: 'https://auth.example.com', [name]: value }), {
        name: 'TypeError',
        message: new RegExp(`^${name}`),
      })
})
