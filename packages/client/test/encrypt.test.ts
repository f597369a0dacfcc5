import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { newCredentials, startServer } from '../../../test/support/server.ts'
import * as es from '../src/es.ts'
import { openClient } from './support/clients.ts'
import { fails } from './support/expect.ts'
import { startProxy } from './support/proxy.ts'

const JWKS = '/.well-known/jwks.json'
const server = await startServer({ AUTH_FRONT_ENC_REQUIRED: 'true' })

suite('encrypted credentials', () => {
  test('are all that a server sees that wants nothing else', async () => {
    const proxy = await startProxy(server.url)
    const client = openClient({ baseUrl: proxy.url, encrypt: true })
    const credentials = newCredentials()
    assert.equal((await client.register(credentials)).email, credentials.email)
    await client.login(credentials)
    await client.login(credentials)
    assert.ok(await client.me())
    const sent = proxy.seen.filter(({ method }) => method === 'POST')
    for (const { body } of sent) {
      assert.deepEqual(Object.keys(body), ['__front_enc__'])
      assert.ok(!JSON.stringify(body).includes(credentials.email))
    }
    assert.equal(new Set(sent.map(({ body }) => body.__front_enc__.iv)).size, sent.length)
  })

  test('can be wanted for one call', async () => {
    const proxy = await startProxy(server.url)
    const client = openClient({ baseUrl: proxy.url })
    const credentials = newCredentials()
    await assert.rejects(client.register(credentials), fails('AUTH_BAD_REQUEST', { status: 400 }))
    await client.register({ ...credentials, encrypt: true })
  })

  test('are encrypted to the key that is published then, past the caches on the way, and sent once', async () => {
    const proxy = await startProxy(server.url)
    const client = openClient({ baseUrl: proxy.url, encrypt: true })
    const published = await fetch(server.url + JWKS).then((answer) => answer.json())
    const gone = published.keys.map((key: { kid: string }) => ({ ...key, kid: `${key.kid}-gone` }))
    const answers = [{ kind: 'answer' as const, status: 200, body: JSON.stringify({ keys: gone }) }]
    proxy.decide = ({ path }) => (path === JWKS ? answers.shift() : undefined)
    await assert.rejects(client.register(newCredentials()), fails('AUTH_BAD_REQUEST', { status: 400 }))
    assert.equal(proxy.of('/auth/register').length, 1)
    await client.register(newCredentials())
    assert.deepEqual(
      proxy.of(JWKS).map(({ headers }) => headers['cache-control']),
      ['max-age=0', 'max-age=0'],
    )
  })

  test('carry the time of the server when the clock here is wrong', async () => {
    const proxy = await startProxy(server.url)
    const anHourAgo = new Date(Date.now() - 3_600_000).toUTCString()
    const body = await fetch(server.url + JWKS).then((answer) => answer.text())
    proxy.decide = ({ path }) =>
      path === JWKS ? { kind: 'answer', status: 200, headers: { date: anHourAgo, age: '3600' }, body } : undefined
    await openClient({ baseUrl: proxy.url, encrypt: true }).register(newCredentials())
    proxy.decide = ({ path }) =>
      path === JWKS ? { kind: 'answer', status: 200, headers: { date: anHourAgo }, body } : undefined
    const client = openClient({ baseUrl: proxy.url, encrypt: true })
    await assert.rejects(client.register(newCredentials()), fails('AUTH_BAD_REQUEST'))
  })

  test('cannot be made without a published key', async () => {
    const proxy = await startProxy(server.url)
    proxy.decide = () => ({ kind: 'answer', status: 200, body: '{"keys":[]}' })
    const client = openClient({ baseUrl: proxy.url, encrypt: true })
    await assert.rejects(client.register(newCredentials()), fails('CLIENT_CANNOT_ENCRYPT'))
    proxy.decide = () => undefined
    await client.register(newCredentials())
  })
})

suite('en español', () => {
  test('se registra, se loguea y se refresca, con lo que contesta el servidor', async () => {
    await assert.rejects(es.refrescar(), TypeError)
    const domain = es.cargarDominio(server.url)
    const credentials = { ...newCredentials(), cifrar: true }
    const user = await es.registrarse(credentials)
    assert.deepEqual(Object.keys(user).sort(), ['email', 'email_verified', 'id'])
    const tokens = await es.loguearse(credentials)
    assert.deepEqual(Object.keys(tokens).sort(), ['access_token', 'expires_in', 'refresh_token', 'token_type'])
    const refreshed = await es.refrescar()
    assert.deepEqual(Object.keys(refreshed).sort(), Object.keys(tokens).sort())
    assert.notEqual(refreshed.refresh_token, tokens.refresh_token)
    await assert.rejects(es.loguearse({ ...credentials, cifrar: false }), fails('AUTH_BAD_REQUEST'))
    domain.dispose()
  })

  test('encriptarDatos da lo que el servidor entiende', async () => {
    const domain = es.cargarDominio(server.url)
    const encrypted = await es.encriptarDatos(newCredentials())
    assert.deepEqual(Object.keys(encrypted.__front_enc__), ['kid', 'alg', 'enc', 'cek', 'iv', 'ct'])
    assert.equal((await server.call('POST', '/auth/register', { body: encrypted })).status, 201)
    assert.equal((await server.call('POST', '/auth/register', { body: encrypted })).status, 400, 'una sola vez')
    domain.dispose()
  })
})
