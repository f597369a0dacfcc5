/** The notes server, by itself: the token names the user here. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, suite, test } from 'node:test'
import { VerifierError } from '../../packages/verifier/src/index.ts'
import { call } from '../../test/support/server.ts'
import { createNotesServer } from '../notes.ts'

suite('the notes server', async () => {
  const server = createNotesServer({
    async verify(token) {
      if (token === 'forged') throw new VerifierError('AUTH_TOKEN_INVALID', 'forged')
      return { userId: token, tokenId: '', expiresAt: 0 }
    },
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  after(() => server.close())
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

  const ask = (user: string, method: string, body?: unknown) =>
    call(url, method, '/notes', { body, headers: { authorization: `Bearer ${user}` } })
  const textsOf = async (user: string) => (await ask(user, 'GET')).body.map(({ text }: { text: string }) => text)

  test('keeps a note that is added while another is on its way', async () => {
    const body = JSON.stringify({ text: 'slow' })
    const headers = { authorization: 'Bearer ada', 'content-length': body.length }
    const slow = request(`${url}/notes`, { method: 'POST', headers })
    slow.write(body.slice(0, 5))
    await once(server, 'request')
    await ask('ada', 'POST', { text: 'quick' })
    slow.end(body.slice(5))
    const [answer] = await once(slow, 'response')
    assert.equal(answer.resume().statusCode, 201)
    assert.deepEqual(await textsOf('ada'), ['slow', 'quick'])
  })

  test('says what is wrong with a note, and when there are too many', async () => {
    for (const text of ['', '  ', 'x'.repeat(201), 7])
      assert.match((await ask('bob', 'POST', { text })).body.error.message, /1 to 200 characters/)
    for (let count = 1; count <= 50; count++) assert.equal((await ask('bob', 'POST', { text: 'x' })).status, 201)
    const { status, body } = await ask('bob', 'POST', { text: 'x' })
    assert.equal(status, 409)
    assert.match(body.error.message, /room for 50 notes/)
  })

  test('reads no long body, and none of unknown length', async () => {
    assert.equal((await ask('eve', 'POST', { text: 'x'.padEnd(5000) })).status, 413)
    const chunked = request(`${url}/notes`, { method: 'POST', headers: { authorization: 'Bearer eve' } })
    chunked.write(JSON.stringify({ text: 'x' }))
    chunked.end()
    const [answer] = await once(chunked, 'response')
    assert.equal(answer.resume().statusCode, 413)
    assert.deepEqual(await textsOf('eve'), [])
  })

  test('has no answer kept, or taken for something else than JSON', async () => {
    for (const { status, headers } of [await ask('ada', 'GET'), await ask('forged', 'GET'), await ask('ada', 'PUT')]) {
      assert.equal(headers.get('x-content-type-options'), 'nosniff', `${status}`)
      assert.equal(headers.get('cache-control'), 'no-store', `${status}`)
    }
  })
})
