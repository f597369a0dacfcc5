/** Numbers that no computer holds, where texts are wanted. */
import { test } from 'node:test'
import type { Target } from '../support/hostile.ts'

const NUMBERS = ['1e999', '-1e999', '9'.repeat(5000), `0.${'0'.repeat(5000)}1`, '1e-999', '-0', '9007199254740993']

export default function attack(target: Target): void {
  test('as any field', async () => {
    for (const number of NUMBERS) {
      for (const body of [
        `{"email":${number},"password":"a"}`,
        `{"email":"a@example.invalid","password":${number}}`,
        `{"__front_enc__":${number}}`,
        `{"__front_enc__":{"kid":${number},"iv":${number}}}`,
      ])
        target.assertRefused(await target.call('POST', '/auth/login', { body }), 400)
      for (const path of ['/auth/token/refresh', '/auth/logout'])
        target.assertRefused(await target.call('POST', path, { body: `{"refresh_token":${number}}` }), 400)
    }
  })
}
