import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { globSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, test } from 'node:test'
import { unzipSync } from 'fflate'
import { writeZip } from '../../scripts/zip.ts'
import { brokenLinks, findBroken } from '../support/documents.ts'
import { outsideEnvironment } from '../support/outside.ts'
import { call, logInSomebody } from '../support/server.ts'

const folder = await mkdtemp(join(tmpdir(), 'cerrojo-zip-'))
after(() => rm(folder, { recursive: true, force: true, maxRetries: 10 }))
const unpacked = join(folder, 'cerrojo')
await writeZip(join(folder, 'cerrojo.zip'))
for (const [name, content] of Object.entries(unzipSync(await readFile(join(folder, 'cerrojo.zip'))))) {
  await mkdir(dirname(join(folder, name)), { recursive: true })
  await writeFile(join(folder, name), content)
}

test('the zip, unpacked into an empty folder, runs by the command of its README, and one can log in', async () => {
  const [, command = ''] = /```sh\n(.*?)```/s.exec(await readFile(join(unpacked, 'README.md'), 'utf8')) ?? []
  const child = spawn('bash', ['-euc', command], {
    cwd: unpacked,
    env: { ...outsideEnvironment(), PORT: '0', AUTH_BCRYPT_ROUNDS: '4' },
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: true,
  })
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()))
  const endAll = () => process.kill(-(child.pid as number), 'SIGTERM')

  let output = ''
  for await (const chunk of child.stdout) {
    output += chunk
    const url = /listens on (http:\S+)/.exec(output)?.[1]
    if (!url) continue
    const tokens = await logInSomebody({ url, env: {}, call: (...rest) => call(url, ...rest) })
    assert.match(tokens.refresh_token, /^[\w-]{64}$/)
    endAll()
  }
  await ended
  assert.match(output, /^Making the embedded database in \.\/data: some seconds.*\nCerrojo .* listens on/m)
})

test('every link, path and command in its README leads somewhere, the command for operators too', async () => {
  assert.deepEqual(await findBroken(unpacked, 'README.md'), [])
})

test('every link of its documents leads to something in it, and what is elsewhere is said to be', async () => {
  const names = globSync('**/*.md', { cwd: unpacked, exclude: ['node_modules'] })
  assert.ok(names.includes('SECURITY.md') && names.includes(join('docs', 'where.md')))
  for (const name of names) {
    const path = join(unpacked, name)
    assert.deepEqual(brokenLinks(path, await readFile(path, 'utf8')), [], name)
  }
  const verifier = /packages\/verifier \(in the repository\)/
  assert.match(await readFile(join(unpacked, 'docs/operating.md'), 'utf8'), verifier)
})
