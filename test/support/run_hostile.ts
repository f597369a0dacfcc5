/** Runs the cases of test/hostile/ against a deployment, or against a module of their own; says first what they do. */
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { parseArgs } from 'node:util'

const USAGE = `npm run hostile -- [--url <https://auth.example.com>] [--hard]

  --url   what to attack, with the prefix of its paths if it has one; without: a module of their own
  --hard  also a flood, which meets the limits: for a quarter of an hour your address may not log in there`

const { url, hard } = readArguments()
const HARMLESS = `registers somebody named hostile-…@example.invalid, who stays there; logs in as him some 80 times;
sends 400 requests, of which 30 have wrong passwords or payloads (the module allows an address 100 in a quarter of an
hour), and holds nine half ones for as long as they are let. Nobody else's data is touched.`

console.log(`Against ${url ?? 'a module of its own'}: ${HARMLESS}`)
if (hard) console.log('--hard: a flood of 150 wrong passwords. Your address will be kept from logging in.')

const tests = join(import.meta.dirname, '../hostile/all.test.ts')
const setup = join(import.meta.dirname, 'setup.ts')
const options = ['--test', '--test-timeout=600000', ...(url ? [] : [`--test-global-setup=${setup}`])]
const child = spawn(process.execPath, [...options, tests], {
  env: {
    ...process.env,
    ...(url && { HOSTILE_URL: url }),
    ...(hard && { HOSTILE_HARD: '1' }),
  },
  stdio: 'inherit',
})
child.once('exit', (code) => process.exit(code ?? 1))

function readArguments(): { url?: string; hard?: boolean } {
  try {
    const options = { url: { type: 'string' }, hard: { type: 'boolean' } } as const
    const { values } = parseArgs({ options })
    if (values.url !== undefined && !/^https?:$/.test(URL.parse(values.url)?.protocol ?? ''))
      throw new Error(`--url is ${JSON.stringify(values.url)}; it must be like https://auth.example.com`)
    return { ...values, ...(values.url && { url: values.url.replace(/\/$/, '') }) }
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${USAGE}`)
    process.exit(1)
  }
}
