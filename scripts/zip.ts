/** Writes dist/cerrojo.zip, the module alone with what it needs to be installed and run: `npm run zip`. */
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { dirname, join, posix } from 'node:path'
import { type Zippable, zipSync } from 'fflate'

const ROOT = join(import.meta.dirname, '..')
const CONTENT = [
  'src',
  'admin',
  'cli',
  'scripts/run.cjs',
  'migrations',
  'contract',
  'docs',
  'deploy',
  'package-lock.json',
  '.npmrc',
  '.env.example',
  'LICENSE',
  'SECURITY.md',
  'CHANGELOG.md',
]
/** The same content always gives the same file. */
const MODIFIED = new Date('2026-01-01T00:00:00')

export async function writeZip(path: string): Promise<void> {
  const files: Zippable = {}
  const add = (name: string, content: Uint8Array) => {
    files[`cerrojo/${name}`] = [content, { mtime: MODIFIED }]
  }
  const names = await filesBelow(CONTENT)
  for (const name of names) {
    const content = await readFile(join(ROOT, name))
    add(name, name.endsWith('.md') ? Buffer.from(keepLinks(name, String(content), names)) : content)
  }
  add('README.md', await readFile(join(import.meta.dirname, 'zip_readme.md')))
  const { scripts, ...manifest } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8'))
  const ownScripts = { start: scripts.start, dev: scripts.dev }
  add('package.json', Buffer.from(`${JSON.stringify({ ...manifest, scripts: ownScripts }, null, 2)}\n`))

  await mkdir(dirname(path), { recursive: true })
  await writeFile(path, zipSync(files))
}

/** In place of a link to what is not in the zip its text stands, and where that is. */
function keepLinks(name: string, document: string, names: string[]): string {
  return document.replaceAll(/\[([^\]]+)\]\(([^):\s#]+)(#[\w-]+)?\)/g, (link, text, path) => {
    const isInside = ['README.md', ...names].includes(posix.join(posix.dirname(name), path))
    return isInside ? link : `${text} (in the repository)`
  })
}

async function filesBelow(names: string[]): Promise<string[]> {
  const found = names.map(async (name) => {
    if ((await stat(join(ROOT, name))).isFile()) return [name]
    return filesBelow((await readdir(join(ROOT, name))).sort().map((child) => `${name}/${child}`))
  })
  return (await Promise.all(found)).flat()
}

if (import.meta.main) {
  const path = join(ROOT, 'dist', 'cerrojo.zip')
  await writeZip(path)
  console.log(`wrote ${path}`)
}
