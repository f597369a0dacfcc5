/** The private keys that a server on this machine has in its AUTH_KEYS_DIR. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Jwk } from './jose_by_hand.ts'
import type { Environment } from './server.ts'

export function readKeyFiles(env: Environment): Jwk[] {
  const folder = env.AUTH_KEYS_DIR as string
  return readdirSync(folder)
    .filter((name) => name.endsWith('.json'))
    .map((name) => JSON.parse(readFileSync(join(folder, name), 'utf8')))
}

/** The only key of that use and algorithm. */
export function keyFor(env: Environment, use: 'sig' | 'enc' | 'enc_front', alg?: string): Jwk {
  const found = readKeyFiles(env).filter((key) => key.use === use && (alg === undefined || key.alg === alg))
  if (found.length !== 1) throw new Error(`${found.length} keys for ${use} ${alg ?? ''}`)
  return found[0] as Jwk
}
