/** Members that would change every object of the program. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Target } from '../support/hostile.ts'
import { me } from '../support/server.ts'

const MEMBERS = ['__proto__', 'constructor', 'prototype', '\\u005f\\u005fproto__']

export default function attack(target: Target): void {
  test('beside good credentials they change nothing, now or for those who come later', async () => {
    const [, good = ''] = /^\{(.*)\}$/.exec(JSON.stringify(target.user)) ?? []
    for (const member of MEMBERS) {
      const polluted = '{"email_verified":true,"admin":true,"prototype":{"admin":true},"status":500}'
      const body = `{${good},"${member}":${polluted}}`
      const answer = await target.call('POST', '/auth/login', { body })
      assert.ok([200, 400].includes(answer.status), `${answer.status}`)
    }
    const { access_token } = await target.logIn()
    const answer = await me(target, access_token)
    assert.deepEqual(Object.keys(answer.body).sort(), ['email', 'email_verified', 'id'])
    assert.equal(answer.body.email, target.user.email)
  })

  test('in place of credentials they are none', async () => {
    for (const member of MEMBERS) {
      const body = `{"${member}":${JSON.stringify(target.user)}}`
      target.assertRefused(await target.call('POST', '/auth/login', { body }), 400)
    }
    target.assertRefused(await target.call('POST', '/auth/login', { body: '{}' }), 400)
  })
}
