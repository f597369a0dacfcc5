/** What the release check refuses, before it builds anything; the rest of it runs in .ci/run. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { promisify } from 'node:util'

const ROOT = join(import.meta.dirname, '../..')
const MANIFESTS = ['package.json', 'packages/client/package.json', 'packages/verifier/package.json']
const { version } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8'))

/** A repository with what the check looks at, where one file is then changed. */
async function released(name: string, change: (text: string) => string, { isCommitted = true } = {}) {
  const folder = await mkdtemp(join(tmpdir(), 'cerrojo-release-'))
  after(() => rm(folder, { recursive: true, force: true }))
  const git = (...words: string[]) => {
    const author = ['-c', 'user.name=Ada', '-c', 'user.email=ada@example.com']
    return promisify(execFile)('git', [...author, ...words], { cwd: folder })
  }
  for (const path of ['scripts/release_check.sh', 'CHANGELOG.md', ...MANIFESTS])
    await cp(join(ROOT, path), join(folder, path))
  await git('init', '--quiet')
  if (!isCommitted) await git('add', '.').then(() => git('commit', '--quiet', '-m', 'before'))
  await writeFile(join(folder, name), change(await readFile(join(folder, name), 'utf8')))
  if (isCommitted) await git('add', '.').then(() => git('commit', '--quiet', '-m', 'after'))
  const check = promisify(execFile)('bash', [join(folder, 'scripts/release_check.sh')])
  return check.then(
    () => assert.fail('it was not refused'),
    ({ stderr }) => stderr as string,
  )
}

suite('the release check refuses', { skip: process.platform === 'win32' && 'it is a shell script' }, () => {
  test('what is not committed, and names it', async () => {
    const refusal = await released('CHANGELOG.md', (text) => `${text}\n`, { isCommitted: false })
    assert.equal(refusal, 'commit or drop what has changed:  M CHANGELOG.md\n')
  })

  test('a package of another version than the module', async () => {
    const refusal = await released('packages/client/package.json', (text) => text.replace(version, '9.9.9'))
    assert.equal(refusal, `packages/client has version 9.9.9, but the module ${version}; give both the same\n`)
  })

  test('a version that the changelog does not begin with', async () => {
    const refusal = await released('CHANGELOG.md', (text) => text.replace(`## ${version}`, '## 9.9.9'))
    assert.match(refusal, new RegExp(`^CHANGELOG.md begins with 9\\.9\\.9, but package\\.json says ${version}`))
  })
})
