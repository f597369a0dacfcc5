/** What an installation weighs on the disk. */
import { execFile } from 'node:child_process'
import { cpSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Stage } from '../support/stage.ts'

const run = promisify(execFile)
const ROOT = join(import.meta.dirname, '../..')
const LARGEST = 8
const PINNED_NODE = /^node-(bin-)?(linux|darwin|win)/

export interface Installed {
  what: string
  /** Of all files. */
  bytes: number
  /** What they take in blocks of the file system. */
  bytesOnDisk: number
  largest: { name: string; bytes: number }[]
  sourceMapBytes: number
}

export async function measureInstalled(stage: Stage): Promise<Installed[]> {
  const installed = [await installClone(stage), await installPackage(stage)]
  for (const { what, bytesOnDisk } of installed) stage.progress(`${what}: ${(bytesOnDisk / 1e6).toFixed(0)} MB`)
  return installed
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
