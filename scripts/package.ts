/**
 * Makes the package that other projects install: `npm run build` compiles it into dist/, `npm pack` writes the tarball.
 * Its manifest is ours without what this folder alone needs: above all the pinned Node, which would become theirs.
 */
import { execFileSync } from 'node:child_process'
import { cpSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

process.chdir(join(import.meta.dirname, '..'))
const MANIFEST = 'package.json'
const OWN_MANIFEST = 'package.own.json'
const TSC = 'node_modules/typescript/bin/tsc'
/** Not imported, so the compiler leaves them. */
const COPIED = ['migrations', 'cli/cerrojo.cjs', 'scripts/run.cjs']

const { name, version, description, license, type, exports, dependencies } = JSON.parse(readFileSync(MANIFEST, 'utf8'))
const engines = { node: '>=22.13' }
const write = (path: string, manifest: object) => writeFileSync(path, `${JSON.stringify(manifest, null, 2)}\n`)

function build(): void {
  rmSync('dist', { recursive: true, force: true })
  execFileSync(process.execPath, [TSC, '-p', 'tsconfig.build.json'], { stdio: 'inherit' })
  for (const path of COPIED) cpSync(path, join('dist', path), { recursive: true })
  write(join('dist', MANIFEST), { version, type, engines }) // what the compiled code reads of it
}

/** npm reads the manifest from this folder, and from nowhere else, so it has ours back when the tarball is written. */
const steps: Record<string, () => void> = {
  build,
  prepack() {
    build()
    renameSync(MANIFEST, OWN_MANIFEST)
    const bin = { cerrojo: 'dist/cli/cerrojo.cjs' }
    write(MANIFEST, { name, version, description, license, type, engines, bin, files: ['dist'], exports, dependencies })
  },
  postpack: () => renameSync(OWN_MANIFEST, MANIFEST),
}
steps[process.argv[2] as string]?.()
