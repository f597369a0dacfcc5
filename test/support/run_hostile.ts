/** Runs the cases of test/hostile/ against a deployment, or against a module of their own; says first what they do. */
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { isThere } from './certificates.ts'

const USAGE = `npm run hostile -- [--url <https://auth.example.com>] [--hard] [--fuzz]

  --url   what to attack, with the prefix of its paths if it has one; without: a module of their own
  --hard  also floods, and a measurement of times; they meet the limits: for a quarter of an hour your address may not
          log in there
  --fuzz  also Schemathesis with contract/openapi.json, if you have installed it; it meets the limits likewise`

const { url, hard, fuzz } = readArguments()
const HARMLESS = `registers somebody named hostile-…@example.invalid, who stays there; logs in as him some 40 times;
sends 500 requests, of which 30 have wrong passwords or payloads (the module allows an address 100 in a quarter of an
hour), and holds nine half ones for as long as they are let. Nobody else's data is touched.`

console.log(`Against ${url ?? 'a module of its own'}: ${HARMLESS}`)
if (hard)
  console.log(`--hard: registers two more, sends 180 wrong passwords, and opens 180 connections that say nothing or half
of it. Your address will be kept from logging in.`)
const canFuzz = fuzz && isThere('schemathesis')
if (canFuzz) console.log('--fuzz: some 700 requests more. Your address will be kept from registering and logging in.')
else if (fuzz) console.log('--fuzz is left out, as schemathesis is not installed: pipx install schemathesis')

const tests = join(import.meta.dirname, '../hostile/all.test.ts')
const setup = join(import.meta.dirname, 'setup.ts')
const options = ['--test', '--test-timeout=600000', ...(url ? [] : [`--test-global-setup=${setup}`])]
const child = spawn(process.execPath, [...options, tests], {
  env: {
    ...process.env,
    ...(url && { HOSTILE_URL: url }),
    ...(hard && { HOSTILE_HARD: '1' }),
    ...(canFuzz && { HOSTILE_FUZZ: '1' }),
  },
  stdio: 'inherit',
})
child.once('exit', (code) => process.exit(code ?? 1))

function readArguments(): { url?: string; hard?: boolean; fuzz?: boolean } {
  try {
    const options = { url: { type: 'string' }, hard: { type: 'boolean' }, fuzz: { type: 'boolean' } } as const
    const { values } = parseArgs({ options })
    if (values.url !== undefined && !/^https?:$/.test(URL.parse(values.url)?.protocol ?? ''))
      throw new Error(`--url is ${JSON.stringify(values.url)}; it must be like https://auth.example.com`)
    if (values.url && values.hard && values.fuzz)
      throw new Error('--hard and --fuzz would each meet the limits that the other has met; begin with one of them')
    return { ...values, ...(values.url && { url: values.url.replace(/\/$/, '') }) }
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${USAGE}`)
    process.exit(1)
  }
}
