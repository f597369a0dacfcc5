import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { globSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { promisify } from 'node:util'
import { generateOpenApi } from '../scripts/openapi.ts'
import * as promises from '../scripts/promises.ts'
import { writeExample, writeReadme } from '../scripts/settings.ts'
import { SETTINGS } from '../src/settings.ts'
import { blocksOf, findBroken, inlineCodeOf, literalOf } from './support/documents.ts'
import { startServer } from './support/server.ts'

const ROOT = join(import.meta.dirname, '..')
const read = (name: string) => readFile(join(ROOT, name), 'utf8')

suite('the documents', () => {
  test('contract/openapi.json is what the route schemas say', async () => {
    assert.equal(await read('contract/openapi.json'), await generateOpenApi(), 'run: npm run openapi')
  })

  test('.env.example and README tell the settings as the table in src/settings.ts does', async () => {
    assert.equal(await read('.env.example'), writeExample(), 'run: npm run settings')
    assert.equal(await read('README.md'), writeReadme(await read('README.md')), 'run: npm run settings')
    for (const { name } of Object.values(SETTINGS)) {
      assert.match(await read('.env.example'), new RegExp(`^#?${name}=`, 'm'))
      assert.ok((await read('README.md')).includes(`| \`${name}\` |`), name)
    }
  })

  test('docs/asvs.md and SECURITY.md name no test that there is not, and call nothing met without one', async () => {
    const rows = (await Promise.all(['docs/asvs.md', 'SECURITY.md'].map(read)))
      .join('\n')
      .split('\n')
      .filter((line) => /^\| \d/.test(line))
    const files = globSync(['test/**/*.ts', 'packages/*/test/*.test.ts', 'demo/test/*.test.ts'], { cwd: ROOT })
    const texts = new Map(await Promise.all(files.map(async (file) => [file, await read(file)] as const)))
    assert.ok(rows.length > 200)
    for (const row of rows) {
      let text: string | undefined
      let tests = 0
      for (const [, file, title] of row.matchAll(/`((?:test|packages|demo)\/[^` ]+\.ts)`|\*([^*]+)\*/g)) {
        if (file) text = texts.get(file)
        assert.ok(text, row)
        if (title) assert.match(text, literalOf(title), row)
        if (title) tests++
      }
      if (/\| (met|in part) \|/.test(row)) assert.ok(tests > 0, row)
    }
  })

  test('README tells the promises of the contract, each with tests that there are', async () => {
    const readme = await read('README.md')
    assert.equal(readme, promises.writeReadme(readme), 'run: npm run prove -- --quick --write')
    assert.equal(promises.PROMISES.length, 9)
    for (const { name, proofs } of promises.PROMISES) {
      assert.ok(
        proofs.some(({ isQuick }) => isQuick),
        name,
      )
      for (const { file, titles } of proofs)
        for (const title of titles) assert.match(await read(file), literalOf(title), `${name} in ${file}`)
    }
  })

  test("README's walk with curl prints what README says", async () => {
    const server = await startServer()
    const [, walk = ''] = /## A walk with curl\n\n```sh\n(.*?)```/s.exec(await read('README.md')) ?? []
    const script = walk.replaceAll('http://127.0.0.1:3000', server.url)
    const { stdout } = await promisify(execFile)('bash', ['-euo', 'pipefail', '-c', script])

    const promised = [...walk.matchAll(/^# ([{\d].*)$/gm)].map(([, line]) => line as string)
    const printed = stdout.split('\n').filter((line) => line !== '')
    assert.equal(printed.length, promised.length)
    for (const [index, line] of promised.entries()) assert.match(printed[index] as string, patternOf(line))
  })

  for (const name of ['README.md', 'README.es.md', 'CONTRIBUTING.md', 'docs/embedding.md', 'docs/where.md'])
    test(`${name} names no link, path or command that leads nowhere`, async () => {
      assert.deepEqual(await findBroken(ROOT, name), [])
    })

  test('the documents name the version that package.json has, and tell nobody to install what is nowhere', async () => {
    const { version } = JSON.parse(await read('package.json'))
    const names = ['README.md', 'README.es.md', 'docs/embedding.md']
    for (const name of [...names, 'packages/client/README.md', 'packages/verifier/README.md']) {
      const document = await read(name)
      const named = [...document.matchAll(/cerrojo(?:-client|-verifier)?[- ](\d+\.\d+\.\d+)/gi)]
      assert.ok(named.length > 0, name)
      for (const [, one] of named) assert.equal(one, version, name)
      for (const [, what] of document.matchAll(/npm install (\S+)/g))
        assert.match(what as string, /^\.\/cerrojo-/, 'a registry may give a stranger of that name')
    }
    assert.ok((await read('README.md')).includes(`Cerrojo ${version} listens on http://127.0.0.1:3000 and uses`))
  })

  test('nobody is told to run npx cerrojo before the package is installed, as npx would fetch any such', async () => {
    const told = globSync(['*.md', 'docs/*.md', 'scripts/*.md', 'cli/*.ts', 'src/**/*.ts'], { cwd: ROOT })
    assert.ok(told.includes('README.md') && told.includes('cli/cerrojo.ts'))
    for (const name of told.filter((name) => name !== join('docs', 'embedding.md')))
      assert.doesNotMatch(await read(name), /npx/, name)
    assert.match(await read('docs/embedding.md'), /npm install \.\/cerrojo-.*npx cerrojo/s, 'installed first')
  })

  test('README.es has the code, the commands, the links and the sections of README', async () => {
    const [english, spanish] = await Promise.all([read('README.md'), read('README.es.md')])
    for (const language of ['sh', 'text']) assert.deepEqual(blocksOf(spanish, language), blocksOf(english, language))
    const countHeadings = (text: string) => text.match(/^#+ /gm)?.length
    assert.equal(countHeadings(spanish), countHeadings(english))
    const withoutSettings = (text: string) => text.replace(/<!-- settings -->.*<!-- end of settings -->/s, '')
    const named = (text: string) => new Set(inlineCodeOf(withoutSettings(text)))
    assert.deepEqual(named(spanish), named(english))
  })
})

/** `…` stands for what differs from run to run. */
function patternOf(line: string): RegExp {
  return new RegExp(
    `^${line
      .split(/[\w-]+…/)
      .map(RegExp.escape)
      .join('[\\w.-]+')}$`,
  )
}
