/** A genuine token with parts cut, added or from somewhere else. */
import { refuseTokens, type Target } from '../support/hostile.ts'

export default function attack(target: Target): void {
  refuseTokens(target, {
    'its end missing': ({ genuine }) => genuine.slice(0, -5),
    'its tag cut to 12 bytes': ({ genuine }) => genuine.slice(0, -6),
    'its tag cut to 4 bytes': ({ genuine }) => genuine.replace(/[^.]+$/, (tag) => tag.slice(0, 6)),
    'its tag empty': ({ genuine }) => genuine.replace(/[^.]+$/, ''),
    'four parts': ({ genuine }) => genuine.split('.').slice(0, 4).join('.'),
    'a sixth part': ({ genuine }) => `${genuine}.AAAA`,
    padding: ({ genuine }) => `${genuine}==`,
    'the content of another token': (it) =>
      [...it.genuine.split('.').slice(0, 3), ...it.token({ signatureKey: it.stranger }).split('.').slice(3)].join('.'),
    'nothing in its five parts': () => '....',
    'a text that is no token in its place': () => 'abc',
    'the form of a refresh token': () => 'A'.repeat(64),
  })
}
