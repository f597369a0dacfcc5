/** Methods that show what was sent, that open a file share, or that pretend to be another. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { connectTo } from '../support/bare.ts'
import { letGo, refuseBytes, type Target } from '../support/hostile.ts'

export default function attack(target: Target): void {
  const head = (line: string, ...headers: string[]) => target.head(line, 'Connection: close', ...headers)
  refuseBytes(target, 405, {
    'a method of WebDAV': head('PROPFIND /auth/me HTTP/1.1'),
    'a PURGE': head('PURGE /auth/me HTTP/1.1'),
    'a PUT': head('PUT /auth/login HTTP/1.1', 'Content-Length: 0'),
  })
  refuseBytes(target, 400, { 'a method that nobody knows': head('BREW /auth/me HTTP/1.1') })

  test('a TRACE, which must not show what it was sent', async () => {
    const connection = await connectTo(target.url, head('TRACE /auth/me HTTP/1.1', 'Cookie: refresh_token=shibboleth'))
    await letGo(connection)
    assert.doesNotMatch(connection.received(), /shibboleth/)
    assert.match(connection.received(), /^HTTP\/1\.1 4\d\d/)
  })

  test('a GET that asks to be taken for a POST', async () => {
    for (const name of ['x-http-method-override', 'x-http-method', 'x-method-override']) {
      const answer = await target.call('GET', '/auth/logout', { headers: { [name]: 'POST' } })
      target.assertRefused(answer, 405)
    }
  })
}
