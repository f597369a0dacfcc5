/** The same member twice, of which a filter in front may read the first and the module the last. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Target } from '../support/hostile.ts'

export default function attack(target: Target): void {
  test('nobody gets in by one that is right and one that is not, or as two', async () => {
    const { email, password } = target.user
    const [right, wrong] = [JSON.stringify(password), JSON.stringify(`${password}x`)]
    const wrongLast = `{"email":"${email}","password":${right},"password":${wrong}}`
    target.assertRefused(await target.call('POST', '/auth/login', { body: wrongLast }), 401, 'AUTH_INVALID_CREDENTIALS')
    const noText = `{"email":"${email}","password":${right},"password":null}`
    target.assertRefused(await target.call('POST', '/auth/login', { body: noText }), 400)
    const escaped = `{"email":"${email}","password":${wrong},"p\\u0061ssword":${right}}`
    assert.equal((await target.call('POST', '/auth/login', { body: escaped })).status, 200, 'the last one counts')
  })
}
