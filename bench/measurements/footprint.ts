/** What the module holds in memory before it has done anything, and by what. */
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { PASSWORD } from '../generator/operations.ts'
import { residentMebibytes, sharedMebibytes } from '../support/processor.ts'
import type { Stage } from '../support/stage.ts'

const run = promisify(execFile)
const ROOT = join(import.meta.dirname, '../..')
const ROUNDS = 3

export interface Footprint {
  /** One process that loads one package after the other: what is resident after each. */
  loading: { what: string; mebibytes: number }[]
  /** The module at rest, each kind started several times. */
  atRest: Record<string, { resident: number; shared: number }[]>
}

export async function measureFootprint(stage: Stage): Promise<Footprint> {
  const atRest = await measureAtRest(stage)
  const loading = await measureLoading()
  stage.progress(
    `at rest ${Object.entries(atRest)
      .map(([what, values]) => `${what}: ${values.at(-1)?.resident.toFixed(0)} MiB`)
      .join(', ')}`,
  )
  return { loading, atRest }
}

async function measureAtRest(stage: Stage): Promise<Footprint['atRest']> {
  const databaseUrl = await stage.createDatabase('footprint')
  await (await stage.startModule(databaseUrl)).stop() // schema, keys, and what Node has compiled
  const embedded = { DATABASE_URL: '', AUTH_DATA_DIR: join(stage.folder, 'embedded') }
  await (await stage.startModule(databaseUrl, { env: embedded })).stop()
  const variants: Record<string, { env?: Record<string, string>; isRegistering?: boolean }> = {
    'as npm start runs it': {},
    'without what Node has compiled before': { env: { NODE_COMPILE_CACHE: '' } },
    'after a registration, which reads the list of common passwords': { isRegistering: true },
    'with the embedded database': { env: embedded },
  }
  const atRest: Footprint['atRest'] = Object.fromEntries(Object.keys(variants).map((what) => [what, []]))
  for (let round = 1; round <= (stage.isQuick ? 1 : ROUNDS); round++)
    for (const [what, { env = {}, isRegistering }] of Object.entries(variants)) {
      const server = await stage.startModule(databaseUrl, { env })
      if (isRegistering) await register(server.url, round)
      atRest[what]?.push({
        resident: residentMebibytes(server.processId),
        shared: sharedMebibytes(server.processId),
      })
      await server.stop()
    }
  return atRest
}

async function register(url: string, round: number): Promise<void> {
  const body = JSON.stringify({ email: `registered${round}@example.com`, password: PASSWORD })
  const headers = { 'content-type': 'application/json' }
  const answer = await fetch(`${url}/auth/register`, { method: 'POST', headers, body })
  if (answer.status !== 201) throw new Error(`The registration was answered ${answer.status}: ${await answer.text()}`)
}

async function measureLoading(): Promise<Footprint['loading']> {
  const options = ['--expose-gc', '--max-semi-space-size=4']
  const { stdout } = await run(process.execPath, [...options, join(ROOT, 'bench/references/resident.mjs')])
  return JSON.parse(stdout)
}
