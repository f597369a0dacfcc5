/** What the module takes before it has done anything: memory, by what holds it, and room on the disk. */
import { execFile } from 'node:child_process'
import { cpSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { PASSWORD } from '../generator/operations.ts'
import { residentMebibytes, sharedMebibytes } from '../support/processor.ts'
import type { Stage } from '../support/stage.ts'

const run = promisify(execFile)
const ROOT = join(import.meta.dirname, '../..')
const ROUNDS = 3
const LARGEST = 8
const PINNED_NODE = /^node-(bin-)?(linux|darwin|win)/

export interface Footprint {
  /** One process that loads one package after the other: what is resident after each. */
  loading: { what: string; mebibytes: number }[]
  /** The module at rest, each kind started several times. */
  atRest: Record<string, { resident: number; shared: number }[]>
  installed: Installed[]
}

export interface Installed {
  what: string
  /** Of all files. */
  bytes: number
  /** What they take in blocks of the file system. */
  bytesOnDisk: number
  largest: { name: string; bytes: number }[]
  sourceMapBytes: number
}

export async function measureFootprint(stage: Stage): Promise<Footprint> {
  const atRest = await measureAtRest(stage)
  const loading = await measureLoading()
  stage.progress(
    `at rest ${Object.entries(atRest)
      .map(([what, values]) => `${what}: ${values.at(-1)?.resident.toFixed(0)} MiB`)
      .join(', ')}`,
  )
  const installed = [await installClone(stage), await installPackage(stage)]
  for (const { what, bytesOnDisk } of installed) stage.progress(`${what}: ${(bytesOnDisk / 1e6).toFixed(0)} MB`)
  return { loading, atRest, installed }
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

/** `npm ci --omit=dev`, as a machine has it that runs a clone. */
async function installClone(stage: Stage): Promise<Installed> {
  const folder = mkdtempSync(join(stage.folder, 'clone-'))
  for (const name of ['package.json', 'package-lock.json', '.npmrc']) cpSync(join(ROOT, name), join(folder, name))
  await run('npm', ['ci', '--omit=dev'], { cwd: folder })
  return weigh('npm ci --omit=dev, without the pinned Node', join(folder, 'node_modules'))
}

/** The tarball of `npm pack`, installed into a project that has nothing else. */
async function installPackage(stage: Stage): Promise<Installed> {
  // Packing changes the manifest for a moment, so it is done to a copy.
  const source = mkdtempSync(join(stage.folder, 'source-'))
  for (const name of readdirSync(ROOT).filter(
    (name) => !/^(node_modules|\.git|bench|demo|packages|dist|data)$/.test(name),
  ))
    cpSync(join(ROOT, name), join(source, name), { recursive: true })
  symlinkSync(join(ROOT, 'node_modules'), join(source, 'node_modules'))
  const { stdout } = await run('npm', ['pack', '--json'], { cwd: source, maxBuffer: 2 ** 24 })
  const tarball = join(source, JSON.parse(stdout.slice(stdout.indexOf('[\n')))[0].filename)
  const project = join(stage.folder, 'project')
  mkdirSync(project)
  writeFileSync(join(project, 'package.json'), JSON.stringify({ name: 'project', private: true }))
  await run('npm', ['install', '--no-audit', '--no-fund', tarball], { cwd: project })
  return weigh('the package, installed into an empty project', join(project, 'node_modules'))
}

/** Without the Node that a clone brings along. */
function weigh(what: string, folder: string): Installed {
  const files = filesBelow(folder)
  const packages = new Map<string, number>()
  for (const { path, bytes } of files) {
    const name = /^(@[^/]+\/)?[^/]+/.exec(path)?.[0] as string
    packages.set(name, (packages.get(name) ?? 0) + bytes)
  }
  const largest = [...packages].map(([name, bytes]) => ({ name, bytes })).sort((one, other) => other.bytes - one.bytes)
  const sum = (of: (file: File) => number) => files.reduce((total, file) => total + of(file), 0)
  return {
    what,
    bytes: sum(({ bytes }) => bytes),
    bytesOnDisk: sum(({ bytesOnDisk }) => bytesOnDisk),
    largest: largest.slice(0, LARGEST),
    sourceMapBytes: sum(({ path, bytes }) => (path.endsWith('.map') ? bytes : 0)),
  }
}

interface File {
  path: string
  bytes: number
  bytesOnDisk: number
}

function filesBelow(folder: string): File[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((path) => !PINNED_NODE.test(path))
    .map((path) => ({ path, stats: lstatSync(join(folder, path)) }))
    .filter(({ stats }) => stats.isFile())
    .map(({ path, stats: { size, blocks } }) => ({ path, bytes: size, bytesOnDisk: blocks * 512 }))
}
