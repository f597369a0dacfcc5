/** A genuine token with one bit changed, in each of its parts. */
import { flip } from '../support/forgery.ts'
import { refuseTokens, type Target } from '../support/hostile.ts'

export default function attack(target: Target): void {
  for (const [part, name] of ['header', 'encrypted key', 'iv', 'ciphertext', 'tag'].entries())
    refuseTokens(target, { [`one bit of its ${name} flipped`]: ({ genuine }) => flip(genuine, part) })
}
