/** What deploy/ has that reads the log, on lines that the module has written. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { BEHIND_PROXY, from } from '../support/addresses.ts'
import { isThere } from '../support/certificates.ts'
import { linesOf } from '../support/log.ts'
import { freshEnvironment, newCredentials, registerSomebody, startProcess } from '../support/server.ts'
import { until } from '../support/wait.ts'

const DEPLOY = join(import.meta.dirname, '../../deploy')
/** A client that would like another address banned, and another event counted. */
const FORGER = '"event":"auth.login.failure","address":"198.51.100.1","reason":"password","limit":"login","count":1000'

const server = await startProcess(
  await freshEnvironment({
    ...BEHIND_PROXY,
    LOG_LEVEL: 'info',
    AUTH_REQUIRE_VERIFIED_EMAIL: 'true',
    AUTH_RATE_LIMIT_LOGIN: '2',
  }),
)
const logIn = (address: string, body: object, userAgent = FORGER) =>
  from(address, server).call('POST', '/auth/login', { body, headers: { 'user-agent': userAgent } })

const credentials = await registerSomebody(from('203.0.113.1', server))
const wrong = { ...credentials, password: 'wrong' }
await logIn('203.0.113.1', credentials)
await logIn('203.0.113.2', wrong)
await logIn('203.0.113.2', wrong, '')
await logIn('203.0.113.2', wrong)
await logIn('2001:db8::3', newCredentials())
await until('the last line', () => linesOf(server).filter(({ event }) => event === 'auth.login.failure').length === 4)
const lines = server.output().trimEnd().split('\n')

suite('fail2ban', () => {
  const filter = readFileSync(join(DEPLOY, 'fail2ban/filter.conf'), 'utf8')
  const settingOf = (name: string) => new RegExp(`^${name} = (.*)$`, 'm').exec(filter)?.[1] as string
  const failure = new RegExp(settingOf('failregex').replace('<ADDR>', '(?<address>[\\d.]+|[\\da-f:]+)'))

  test('finds the addresses of wrong passwords and unknown emails, and no others', () => {
    assert.deepEqual(
      lines.flatMap((line) => failure.exec(line)?.groups?.address ?? []),
      ['203.0.113.2', '203.0.113.2', '2001:db8::3'],
    )
  })

  test('finds the time of each', () => {
    const time = new RegExp(settingOf('datepattern').replace('{LEPOCH}', '(?<milliseconds>\\d{13}),'))
    for (const line of lines.filter((line) => failure.test(line))) {
      const milliseconds = Number(time.exec(line)?.groups?.milliseconds)
      assert.ok(Math.abs(milliseconds - Date.now()) < 3_600_000, line)
    }
  })

  test('is told of the same lines by its own command', skipWithout('fail2ban-regex'), () => {
    const found = run('fail2ban-regex', lines, (path) => [path, join(DEPLOY, 'fail2ban/filter.conf')])
    assert.match(found, /Failregex: 3 total/)
    assert.match(found, new RegExp(`\\[${lines.length - 1}\\] "time":`), 'all but the sentence of the start')
  })
})

test('mtail counts each event, and what stands behind a count', skipWithout('mtail'), () => {
  const words = ['--one_shot', '--one_shot_format=prometheus', '--progs', join(DEPLOY, 'cerrojo.mtail'), '--logs']
  const counted = run('mtail', [...lines, floodLine()], (path) => [...words, path])
  const counts = [...counted.matchAll(/^cerrojo_events_total\{event="(.*?)",.*reason="(.*?)"\} (\d+)$/gm)]
  assert.deepEqual(counts.map(([, event, reason, count]) => `${event} ${reason} ${count}`).sort(), [
    'auth.limited login 100',
    'auth.login.failure password 2',
    'auth.login.failure unknown 1',
    'auth.login.failure unverified 1',
    'auth.register  1',
  ])
})

/** The line at the end of a minute, of which these tests have no time to wait. */
function floodLine(): string {
  const line = lines.find((line) => line.includes('"auth.limited"')) as string
  assert.match(line, /"count":1\}$/)
  return line.replace('"count":1}', '"count":99}')
}

function skipWithout(program: string) {
  return { skip: isThere(program) ? false : `${program} is not installed` }
}

function run(program: string, lines: string[], words: (path: string) => string[]): string {
  const folder = mkdtempSync(join(tmpdir(), 'cerrojo-log-'))
  after(() => rmSync(folder, { recursive: true, force: true }))
  writeFileSync(join(folder, 'log'), `${lines.join('\n')}\n`)
  return execFileSync(program, words(join(folder, 'log')), { encoding: 'utf8', stdio: 'pipe' })
}
