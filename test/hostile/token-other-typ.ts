/** Tokens of another kind than access tokens (RFC 8725, section 3.11). */
import { refuseTokens, type Target } from '../support/hostile.ts'

export const needs = ['module']

export default function attack(target: Target): void {
  refuseTokens(target, {
    'an inner typ of JWT': (it) => it.token({ inner: { typ: 'JWT' } }),
    'an inner typ of a logout token': (it) => it.token({ inner: { typ: 'logout+jwt' } }),
    'no inner typ': (it) => it.token({ inner: { typ: undefined } }),
    'another cty': (it) => it.token({ outer: { cty: 'JSON' } }),
    'no cty': (it) => it.token({ outer: { cty: undefined } }),
  })
}
