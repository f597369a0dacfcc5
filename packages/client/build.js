/** Compiles src/ to dist/, and once more to dist/cjs/ for those who still require modules, such as Jest. */
import { execFileSync } from 'node:child_process'
import { copyFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { buildSync } from 'esbuild'

process.chdir(import.meta.dirname)
rmSync('dist', { recursive: true, force: true })
execFileSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json'], { stdio: 'inherit' })

const files = readdirSync('dist')
const modules = files.filter((name) => name.endsWith('.js')).map((name) => `dist/${name}`)
buildSync({ entryPoints: modules, outdir: 'dist/cjs', format: 'cjs', target: 'es2022' })
for (const name of files) if (name.endsWith('.d.ts')) copyFileSync(`dist/${name}`, `dist/cjs/${name}`)
writeFileSync('dist/cjs/package.json', JSON.stringify({ type: 'commonjs' }))
