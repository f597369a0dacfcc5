/** Tokens of our own keys that were issued by somebody else or for somebody else (RFC 8725, sections 3.8 and 3.9). */
import { refuseTokens, type Target } from '../support/hostile.ts'

export const needs = ['module']

export default function attack(target: Target): void {
  const ours = 'auth-mvp-clients'
  refuseTokens(target, {
    'an issuer that is not ours': (it) => it.token({ claims: { iss: 'https://evil.invalid' } }),
    'an issuer that begins like ours': (it) => it.token({ claims: { iss: 'auth-mvp.evil.invalid' } }),
    'an audience that is not ours': (it) => it.token({ claims: { aud: 'others' } }),
    'an audience that is a list with ours in it': (it) => it.token({ claims: { aud: [ours] } }),
    'an audience that is a list beside a copy that is ours': (it) =>
      it.token({ claims: { aud: [ours] }, outer: { aud: ours } }),
  })
}
