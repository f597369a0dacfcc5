/** Runs once before all test files: makes the databases that each server starts from a copy of. */
import { randomUUID } from 'node:crypto'
import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadConfig } from '../../src/config.ts'
import { buildApp } from '../../src/main.ts'
import { onMaintenance, runSql } from './server.ts'

let folder: string
let templateDatabase: string | undefined

export async function globalSetup(): Promise<void> {
  folder = await mkdtemp(join(tmpdir(), 'cerrojo-template-'))
  process.env.CERROJO_TEST_TEMPLATE = folder
  process.env.NODE_COMPILE_CACHE = join(folder, 'compiled') // each program that a test starts compiles what is new
  const env = { AUTH_DATA_DIR: join(folder, 'with-keys') }
  await (await buildApp(loadConfig(env))).close()

  const withoutKeys = { AUTH_DATA_DIR: join(folder, 'without-keys') }
  await cp(env.AUTH_DATA_DIR, withoutKeys.AUTH_DATA_DIR, { recursive: true })
  await runSql(withoutKeys, 'delete from keys')
  await rm(join(withoutKeys.AUTH_DATA_DIR, 'keys-secret'))

  if (!process.env.TEST_DATABASE_URL) return
  templateDatabase = `template_${randomUUID().replaceAll('-', '')}`
  await onMaintenance(`create database ${templateDatabase}`)
  const DATABASE_URL = Object.assign(new URL(process.env.TEST_DATABASE_URL), { pathname: `/${templateDatabase}` }).href
  await (await buildApp(loadConfig({ ...env, DATABASE_URL }))).close()
  process.env.CERROJO_TEST_TEMPLATE_DATABASE = templateDatabase
}

export async function globalTeardown(): Promise<void> {
  await rm(folder, { recursive: true, force: true })
  if (templateDatabase) await onMaintenance(`drop database ${templateDatabase} with (force)`)
}
