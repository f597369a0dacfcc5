/** The secret that keys in the database are sealed under: AUTH_KEYS_SECRET, or a file that the server makes once. */
import { hkdfSync, randomBytes } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { type Config, StartError } from '../config.ts'

export type Secrets = Awaited<ReturnType<typeof readSecrets>>

const SECRET_FORM = /^[\w-]{43}$/
/** For how long a file is looked at again that another process has not written to its end. */
const LOOKS = 20
const LOOK_INTERVAL_MS = 50

/**
 * @param mayMake whether the file is made when there is none: by a server, while the database has no keys
 * @returns keys of 32 bytes that open, the first of which seals; and where they come from, for messages
 * @throws {StartError} when the file cannot be made, or does not hold 32 bytes in base64url
 */
export async function readSecrets(config: Config, mayMake: boolean) {
  const path = join(config.dataDir, 'keys-secret')
  if (!config.keysSecret && mayMake) await makeSecretFile(path, config.dataDir)
  const current = config.keysSecret ?? (await readSecretFile(path))
  const secrets = [current, config.keysSecretPrevious].filter((secret) => secret !== undefined)
  const source = config.keysSecret ? config.keysSecretSource : current ? path : `${path}, which does not exist`
  return { sealingKeys: secrets.map(deriveSealingKey), source }
}

/** HKDF-SHA-256 (RFC 5869). */
function deriveSealingKey(secret: Buffer): Buffer {
  return Buffer.from(hkdfSync('sha256', secret, '', 'cerrojo key seal', 32))
}

async function makeSecretFile(path: string, folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 })
    await writeFile(path, randomBytes(32).toString('base64url'), { flag: 'wx', mode: 0o600, flush: true })
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const advice = 'set AUTH_KEYS_SECRET to 32 random bytes in base64url, or let the server write to AUTH_DATA_DIR'
    if (code !== 'EEXIST') throw new StartError(`The secret for the keys cannot be written (${message}): ${advice}`)
  }
}

/** @returns undefined when there is no such file */
async function readSecretFile(path: string): Promise<Buffer | undefined> {
  for (let look = 1; look <= LOOKS; look++) {
    const text = await readFile(path, 'utf8').catch((error) => {
      if (error.code !== 'ENOENT') throw error
    })
    if (text === undefined) return undefined
    if (SECRET_FORM.test(text.trim())) return Buffer.from(text, 'base64url')
    await pause(LOOK_INTERVAL_MS)
  }
  throw new StartError(`${path} must hold 32 bytes in base64url: restore it, or delete it if the database has no keys`)
}
