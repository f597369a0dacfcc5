/** Extensions that must be understood, and are not (RFC 7515, section 4.1.11). */
import { refuseTokens, type Target } from '../support/hostile.ts'

export const needs = ['module']

export default function attack(target: Target): void {
  refuseTokens(target, {
    'a crit in the inner header': (it) => it.token({ inner: { crit: ['exp'], exp: 1 } }),
    'an inner header that asks for unencoded content (b64)': (it) => it.token({ inner: { crit: ['b64'], b64: true } }),
    'an inner crit that is empty': (it) => it.token({ inner: { crit: [] } }),
    'an outer crit': (it) => it.token({ outer: { crit: ['exp'] } }),
    'an outer crit of what nobody knows': (it) => it.token({ outer: { crit: ['x'], x: 1 } }),
  })
}
