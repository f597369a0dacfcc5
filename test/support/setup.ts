/** Runs once before all test files: makes a set of keys and an embedded database that each server starts from a copy of. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadConfig } from '../../src/config.ts'
import { buildApp } from '../../src/main.ts'

let folder: string

export async function globalSetup(): Promise<void> {
  folder = await mkdtemp(join(tmpdir(), 'cerrojo-template-'))
  const app = await buildApp(loadConfig({ AUTH_DATA_DIR: join(folder, 'data'), AUTH_KEYS_DIR: join(folder, 'keys') }))
  await app.close()
  process.env.CERROJO_TEST_TEMPLATE = folder
}

export async function globalTeardown(): Promise<void> {
  await rm(folder, { recursive: true, force: true })
}
