/** JSON as deep as sixteen kilobytes allow. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Target } from '../support/hostile.ts'

const DEPTH = 3000

export default function attack(target: Target): void {
  test('in place of a body', async () => {
    for (const body of ['['.repeat(DEPTH), '['.repeat(DEPTH) + ']'.repeat(DEPTH), '{"a":'.repeat(DEPTH)])
      for (const path of ['/auth/register', '/auth/login', '/auth/token/refresh', '/auth/logout'])
        target.assertRefused(await target.call('POST', path, { body }), 400)
  })

  test('in a field', async () => {
    const deep = '['.repeat(DEPTH) + ']'.repeat(DEPTH)
    const objects = `${'{"a":'.repeat(DEPTH / 3)}1${'}'.repeat(DEPTH / 3)}`
    for (const value of [deep, objects])
      for (const body of [`{"email":${value},"password":"a"}`, `{"__front_enc__":${value}}`])
        target.assertRefused(await target.call('POST', '/auth/login', { body }), 400)
  })

  test('in a field that nobody asked for, which is ignored', async () => {
    const text = JSON.stringify({ ...target.user, unknown: 0 })
    const body = text.replace(/0\}$/, `${'['.repeat(DEPTH)}${']'.repeat(DEPTH)}}`)
    assert.equal((await target.call('POST', '/auth/login', { body })).status, 200)
  })
}
