/** The rotation in all its interleavings: a model that spin looks through, and along which the module is walked. */
import assert from 'node:assert/strict'
import { execFile, spawnSync } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'
import { promisify } from 'node:util'
import { onPostgres } from '../support/server.ts'
import { openWalks } from './walk.ts'

const run = promisify(execFile)
const MODEL = join(import.meta.dirname, 'rotation.pml')
/** How many tokens the session may see; 4 are 1.0 million states, 5 are 4.8 million. */
const TOKENS = process.env.MODEL_TOKENS ?? '4'
const WALKS = 100

const missing = ['spin', 'gcc'].filter((program) => spawnSync(program, ['--version']).error)
const reason = onPostgres
  ? 'it is looked through beside the embedded database'
  : missing.length > 0 && `missing: apt-get install ${missing.join(' ')}`

/** Looks through all states, or as far as the first in which a promise is broken. */
async function lookThrough(tokens: string, attempt: string) {
  const cwd = await mkdtemp(join(tmpdir(), 'cerrojo-model-'))
  after(() => rm(cwd, { recursive: true }))
  const model = [`-DTOKENS=${tokens}`, `-DTRY=${attempt}`, '-DQUIET=1', MODEL]
  await run('spin', ['-a', ...model], { cwd })
  await run('gcc', ['-O2', '-w', '-DSAFETY', '-DCOLLAPSE', '-DMEMLIM=4096', '-o', 'pan', 'pan.c'], { cwd })
  const { stdout } = await run('./pan', ['-E', '-m100000', '-w24'], { cwd, timeout: 240_000 })
  const [, errors, states] = /errors: (\d+)\n\s*(\d+) states, stored/.exec(stdout) ?? []
  assert.doesNotMatch(stdout, /depth too small|out of memory/)
  if (errors === '0') assert.doesNotMatch(stdout, /Search not completed/)
  const isBroken = errors !== '0'
  const trail = isBroken ? await run('spin', ['-k', 'rotation.pml.trail', '-t', ...model], { cwd }) : { stdout: '' }
  return { isBroken, states: Number(states), lines: linesOf(trail.stdout) }
}

function linesOf(output: string): string[] {
  return [...output.matchAll(/^ *> (.*)$/gm)].map(([, line]) => line as string)
}

const walks = await openWalks()
after(walks.close)

suite('the model of the rotation', { skip: reason }, () => {
  test('keeps its promises whatever happens, and in whatever order', async (t) => {
    const { isBroken, states, lines } = await lookThrough(TOKENS, 'nothing')
    assert.ok(!isBroken, lines.join('\n'))
    assert.ok(states > 1_000_000)
    t.diagnostic(`${states} states, all that there are with ${TOKENS} tokens`)
  })

  for (const [fault, title] of [
    ['no_mac', 'a generation that anybody may claim'],
    ['endless_grace', 'a grace without an end'],
    ['idle_reuse', 'a reuse that revokes nothing'],
  ] as const)
    test(`breaks a promise with ${title}`, async () => {
      assert.ok((await lookThrough('4', fault)).isBroken)
    })

  for (const [exception, title, tokens] of [
    ['ahead_too', 'a thief was ahead of the owner when the database was set back', '5'],
    ['unanswered_too', 'a thief shows the node that answered 503 the same token within the minute', '4'],
    ['late_too', 'a request of the owner arrives after its successor was used', '4'],
    ['two_keys_too', 'two requests of the owner for one token lie on both sides of a set-back', '4'],
  ] as const)
    test(`needs the exception that ${title}, and so does the module`, async () => {
      const { isBroken, lines } = await lookThrough(tokens, exception)
      assert.ok(isBroken)
      await walks.walk(lines)
    })

  test('is what the module does, on walks at random', async (t) => {
    const seen: string[] = []
    for (let seed = 1; seed <= WALKS; seed++) {
      const model = ['-DTOKENS=8', '-DTRY=nothing', `-DQUIET=${seed % 7}`, MODEL]
      const lines = linesOf((await run('spin', [`-n${seed}`, '-u2000', ...model])).stdout)
      // At its bound the model does not do what the module does.
      const end = lines.findIndex((line) => /: (live|ahead) 8$/.test(line))
      seen.push(...(await walks.walk(end < 0 ? lines : lines.slice(0, end))))
    }
    for (const standing of ['revoked', 'live', 'ahead', 'reused', 'by_key', 'in_grace'])
      assert.ok(seen.includes(standing), standing)
    t.diagnostic(`${seen.length} refreshes on ${WALKS} walks`)
  })
})
