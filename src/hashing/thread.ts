/** What a thread of its own does with bcrypt, which keeps a processor busy from its first step to its last. */
import bcrypt from 'bcrypt'

export function hash({ password, cost }: { password: string; cost: number }): string {
  return bcrypt.hashSync(password, cost)
}

export function compare({ password, hash }: { password: string; hash: string }): boolean {
  return bcrypt.compareSync(password, hash)
}
