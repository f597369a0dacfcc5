/** What docs/admin.md shows is what runs. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { type Environment, freshEnvironment, newCredentials, refresh, runSql, startServer } from '../support/server.ts'

const ROOT = join(import.meta.dirname, '../..')
const NEW_PASSWORD = 'fresh apples 9'
const USED = 'This link was used before, or is too old.'

interface Example {
  admin: { close(): Promise<void> }
  askForReset(email: string, sendMail: SendMail): Promise<void>
  resetPassword(secret: string, password: string): Promise<string>
  askForVerification(id: string, sendMail: SendMail): Promise<void>
  verifyAddress(secret: string): Promise<string>
}
type SendMail = (to: string, text: string) => Promise<void>

let folder: string
let examples: string[]

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cerrojo-example-'))
  const page = await readFile(join(ROOT, 'docs/admin.md'), 'utf8')
  examples = [...page.matchAll(/```ts\n(.*?)```/gs)].map(([, code]) => code as string)
})
after(() => rm(folder, { recursive: true, force: true }))

suite('docs/admin.md', () => {
  test('has only examples that the types of the module allow', async () => {
    assert.equal(examples.length, 2)
    for (const [index, code] of examples.entries()) await writeFile(join(folder, `${index}.mts`), code)
    const options = {
      extends: join(ROOT, 'tsconfig.json'),
      compilerOptions: {
        typeRoots: [join(ROOT, 'node_modules/@types')],
        paths: { 'cerrojo/admin': [join(ROOT, 'admin/index.ts')] },
      },
      include: ['*.mts'],
    }
    await writeFile(join(folder, 'tsconfig.json'), JSON.stringify(options))
    await promisify(execFile)(join(ROOT, 'node_modules/.bin/tsc'), ['-p', folder])
  })

  test('resets a password and verifies an address by links that are good once, and for one purpose', async () => {
    const env = await freshEnvironment({ AUTH_REQUIRE_VERIFIED_EMAIL: 'true' })
    const [ada, eve] = [newCredentials(), newCredentials()]
    const first = await startServer(env)
    const { id } = (await first.call('POST', '/auth/register', { body: ada })).body
    await first.call('POST', '/auth/register', { body: eve })
    await first.close()

    const { admin, ...example } = await startExample(env)
    const mails: { to: string; secret: string }[] = []
    const sendMail: SendMail = async (to, text) => void mails.push({ to, secret: text.split('#')[1] as string })
    const lastSecret = () => mails.at(-1)?.secret as string

    await example.askForVerification(id, sendMail)
    assert.equal(await example.resetPassword(lastSecret(), NEW_PASSWORD), USED)
    assert.deepEqual(await Promise.all([1, 2].map(() => example.verifyAddress(lastSecret()))), [
      'Your address is verified.',
      USED,
    ])
    await example.askForVerification(id, sendMail)
    assert.equal(mails.length, 1, 'who is verified gets no mail')

    await example.askForReset('nobody@example.com', sendMail)
    assert.equal(mails.length, 1)
    await example.askForReset(eve.email.toUpperCase(), sendMail)
    await example.askForReset(eve.email, sendMail)
    assert.deepEqual(
      mails.slice(1).map(({ to }) => to),
      [eve.email, eve.email],
    )
    assert.equal(await example.resetPassword('x', NEW_PASSWORD), USED)
    assert.equal(await example.resetPassword(lastSecret(), 'short 1'), 'password must have at least 8 characters')
    assert.match(await example.resetPassword(lastSecret(), NEW_PASSWORD), /is set/)
    for (const { secret } of mails) assert.equal(await example.resetPassword(secret, 'other pears 8'), USED)
    const stored = await readFile(join(folder, 'links.db'), 'latin1')
    for (const { secret } of mails) assert.ok(!stored.includes(secret))
    await admin.close()

    const second = await startServer(env)
    const logIn = (body: object) => second.call('POST', '/auth/login', { body })
    assert.equal((await logIn(ada)).status, 200)
    assert.equal((await logIn(eve)).status, 401)
    const { body } = await logIn({ ...eve, password: NEW_PASSWORD })
    assert.equal((await refresh(second, body.refresh_token)).status, 200)
    assert.equal((await runSql(env, 'select from users where email_verified')).length, 2)
  })
})

/** In this process, as a backend would have it. */
async function startExample(env: Environment): Promise<Example> {
  Object.assign(process.env, env)
  process.chdir(folder)
  const path = join(folder, 'example.mts')
  const url = pathToFileURL(join(ROOT, 'admin/index.ts')).href
  await writeFile(path, (examples[1] as string).replace("'cerrojo/admin'", `'${url}'`))
  return import(pathToFileURL(path).href)
}
