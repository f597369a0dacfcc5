import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { promisify } from 'node:util'
import { generateOpenApi } from '../scripts/openapi.ts'
import { startServer } from './support/server.ts'

const ROOT = join(import.meta.dirname, '..')
const read = (name: string) => readFile(join(ROOT, name), 'utf8')

/** The variables of the contract with the first word of what stands behind them. */
async function contractVariables(): Promise<Map<string, string>> {
  const [, section = ''] = (await read('contract/req.back.v3.2.mini.yml')).split(/^env:$/m)
  const lines = section.split(/^\S/m)[0]?.matchAll(/^ {2}([A-Z_]+): +"?([^\s;("]+)/gm) ?? []
  return new Map(
    [...lines].map(([, name, value]) => [name as string, value === 'unset:' ? 'unset' : (value as string)]),
  )
}

suite('the documents', () => {
  test('contract/openapi.json is what the route schemas say', async () => {
    assert.equal(await read('contract/openapi.json'), await generateOpenApi(), 'run: npm run openapi')
  })

  test('.env.example has every variable of the contract with its default', async () => {
    const lines = (await read('.env.example')).matchAll(/^([A-Z_]+)=(.*)$/gm)
    const example = new Map([...lines].map(([, name, value]) => [name as string, value as string]))
    const variables = await contractVariables()
    assert.ok(variables.size > 30)
    assert.deepEqual([...example.keys()].sort(), [...variables.keys()].sort())
    for (const [name, value] of variables)
      assert.equal(example.get(name), /^(unset|number)$/.test(value) ? '' : value, name)
  })

  test('README names every variable of the contract', async () => {
    const readme = await read('README.md')
    for (const name of (await contractVariables()).keys()) {
      const short = name.replace(/^AUTH_RATE_LIMIT(?=_[RF])/, '…').replace(/_FILE$/, '')
      assert.ok(readme.includes(`\`${name}\``) || readme.includes(`\`${short}\``), name)
    }
  })

  test("README's walk with curl prints what README says", async () => {
    const server = await startServer()
    const [, walk = ''] = /## A walk with curl\n\n```sh\n(.*?)```/s.exec(await read('README.md')) ?? []
    const script = walk.replaceAll('http://127.0.0.1:3000', server.url).replaceAll(/^curl.*$/gm, '$&; echo')
    const { stdout } = await promisify(execFile)('bash', ['-euo', 'pipefail', '-c', script])

    const promised = [...walk.matchAll(/^# ([{\d].*)$/gm)].map(([, line]) => line as string)
    const printed = stdout.split('\n').filter((line) => line !== '')
    assert.equal(printed.length, promised.length)
    for (const [index, line] of promised.entries()) assert.match(printed[index] as string, patternOf(line))
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
