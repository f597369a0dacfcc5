/** Key ids that are paths, statements, addresses or names that every object has (RFC 8725, section 3.10). */
import { refuseTokens, type Target } from '../support/hostile.ts'

const KIDS: Record<string, unknown> = {
  'a path': '../../../../dev/null',
  'a statement': "' union select 'AAAA' --",
  'an address': 'https://evil.invalid/key',
  'a command': '| sleep 10',
  'a name that every object has': '__proto__',
  'a method that every object has': 'constructor',
  'a NUL byte': '\0',
  'four kilobytes': 'k'.repeat(4096),
  'a number': 1,
  'a list': ['a'],
  'an object': { toString: 'a' },
  null: null,
  missing: undefined,
}

export default function attack(target: Target): void {
  for (const [what, kid] of Object.entries(KIDS))
    refuseTokens(target, {
      [`an inner kid that is ${what}`]: (it) => it.token({ signatureKey: it.stranger, inner: { kid } }),
      [`an outer kid that is ${what}`]: (it) => it.token({ signatureKey: it.stranger, outer: { kid } }),
    })
}
