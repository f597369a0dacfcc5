/** The peers as servers: their packages installed where that is needed, their keys made, their database filled. */
import { execFile } from 'node:child_process'
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type ServerProcess, startServer } from './children.ts'
import { CORES } from './processor.ts'
import { BCRYPT_ROUNDS, fillTables, query, type Stage } from './stage.ts'

const run = promisify(execFile)
const FASTAPI_FOLDER = join(import.meta.dirname, '../peers/fastapi')
const MIGRATIONS = join(import.meta.dirname, '../../migrations')

/** Into a virtual environment beside its source, which later runs find again. */
export async function installFastapi(): Promise<void> {
  const environment = join(FASTAPI_FOLDER, '.venv')
  const requirements = join(FASTAPI_FOLDER, 'requirements.txt')
  const installed = join(environment, 'installed.txt')
  if (existsSync(installed) && readFileSync(installed, 'utf8') === readFileSync(requirements, 'utf8')) return
  await run('python3', ['-m', 'venv', '--clear', environment])
  await run(join(environment, 'bin/pip'), ['install', '--quiet', '--no-deps', '--requirement', requirements])
  writeFileSync(installed, readFileSync(requirements))
}

/** On the contract's own tables: with them it has the same freedom, and the same one-row rotation, as the module. */
export async function startFastapi(stage: Stage, sessions: number): Promise<ServerProcess> {
  const databaseUrl = await stage.createDatabase('fastapi')
  for (const fileName of readdirSync(MIGRATIONS).sort())
    await query(databaseUrl, readFileSync(join(MIGRATIONS, fileName), 'utf8'))
  await fillTables(databaseUrl, sessions)
  const keysFile = join(stage.folder, 'fastapi_keys.json')
  writeFileSync(keysFile, JSON.stringify({ sig: newKey('sig'), enc: newKey('enc') }))
  const port = String(await freePort())
  return startServer(
    join(FASTAPI_FOLDER, '.venv/bin/uvicorn'),
    ['app:app', '--port', port, '--workers', String(CORES), '--no-access-log'],
    {
      DATABASE_URL: databaseUrl,
      KEYS_FILE: keysFile,
      BCRYPT_ROUNDS: String(BCRYPT_ROUNDS),
      WORKERS: String(CORES),
    },
    FASTAPI_FOLDER,
  )
}

export async function startBetterAuth(stage: Stage): Promise<ServerProcess> {
  const databaseUrl = await stage.createDatabase('better_auth')
  return startServer(process.execPath, ['peers/better-auth/server.ts'], {
    DATABASE_URL: databaseUrl,
    BASE_URL: `http://127.0.0.1:${await freePort()}`,
    SECRET: randomBytes(32).toString('base64url'),
    ROUNDS: String(BCRYPT_ROUNDS),
    NODE_ENV: 'production',
  })
}

function newKey(use: 'sig' | 'enc') {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return { kid: randomBytes(32).toString('base64url'), use, ...privateKey.export({ format: 'jwk' }) }
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const address = probe.address()
      probe.close(() => resolve(typeof address === 'object' && address ? address.port : 0))
    })
  })
}
