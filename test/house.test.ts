/** The house: which room may ask which, and that nobody goes round in circles. */
import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { suite, test } from 'node:test'

const ROOT = join(import.meta.dirname, '..')
const FOLDERS = ['src', 'admin', 'cli', 'scripts', 'test', 'demo', 'bench', 'packages/client', 'packages/verifier']
const files = FOLDERS.flatMap((folder) => globSync(`${folder}/**/*.ts`, { cwd: ROOT }))
  .map((path) => path.replaceAll('\\', '/'))
  .filter((path) => !/node_modules|\/dist\/|\.d\.ts$/.test(path))
const textOf = new Map(files.map((path) => [path, readFileSync(join(ROOT, path), 'utf8')]))

/** What each file imports of ours, types included. */
const importsOf = new Map(
  [...textOf].map(([path, text]) => {
    const targets = [...text.matchAll(/(?:from|import\(?) ?'(\.[^']+)'/g)].map(([, target]) =>
      relative(ROOT, join(ROOT, dirname(path), target as string)).replaceAll('\\', '/'),
    )
    return [path, targets.filter((target) => textOf.has(target))] as const
  }),
)

/** From above to below; rooms of one floor stand side by side. */
const FLOORS = [
  ['main.ts'],
  ['api'],
  ['service'],
  ['http', 'hashing', 'jose', 'keys', 'limits', 'utils'],
  ['db'],
  ['models', 'config.ts', 'settings.ts'],
]
const roomOf = (path: string) => path.split('/')[1] as string
const floorOf = (path: string) => FLOORS.findIndex((rooms) => rooms.includes(roomOf(path)))

suite('the house', () => {
  test('has every file of src in a room that is known, and in utils the four of the tree', () => {
    const source = files.filter((path) => path.startsWith('src/'))
    assert.ok(source.length > 25)
    for (const path of source) assert.notEqual(floorOf(path), -1, path)
    assert.deepEqual(
      source.filter((path) => roomOf(path) === 'utils').sort(),
      ['crypto', 'jwks', 'security', 'tokens'].map((name) => `src/utils/${name}.ts`),
    )
  })

  test('lets nobody in src ask upward, and nothing of src ask what is not in it', () => {
    for (const [path, targets] of importsOf)
      for (const target of path.startsWith('src/') ? targets : []) {
        assert.ok(target.startsWith('src/'), `${path} imports ${target}`)
        assert.ok(floorOf(target) >= floorOf(path), `${path} imports ${target}, which stands above it`)
      }
  })

  test('has no circle of imports anywhere', () => {
    const done = new Set<string>()
    function walk(path: string, way: string[]): void {
      assert.ok(!way.includes(path), [...way, path].join(' > '))
      if (done.has(path)) return
      for (const target of importsOf.get(path) ?? []) walk(target, [...way, path])
      done.add(path)
    }
    for (const path of files) walk(path, [])
  })

  test('has no line over 120 columns', () => {
    for (const [path, text] of textOf)
      if (!path.startsWith('bench/'))
        for (const [index, line] of text.split('\n').entries()) assert.ok(line.length <= 120, `${path}:${index + 1}`)
  })
})
