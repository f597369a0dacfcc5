/** Schemathesis, as installed by whoever attacks, with contract/openapi.json and what schemathesis.toml says of us. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { getCACertificates } from 'node:tls'
import type { Target } from '../support/hostile.ts'

export const needs = ['fuzz']
export const locksOut = true

const SETTINGS = join(import.meta.dirname, 'schemathesis.toml')
const DOCUMENT = join(import.meta.dirname, '../../contract/openapi.json')

export default function attack(target: Target): void {
  test('finds no answer that the document does not have', async (context) => {
    const folder = await mkdtemp(join(tmpdir(), 'cerrojo-schemathesis-')) // where it leaves what it remembers
    context.after(() => rm(folder, { recursive: true }))
    const authorities = join(folder, 'authorities.pem')
    await writeFile(authorities, getCACertificates().join('\n')) // those that Node trusts, NODE_EXTRA_CA_CERTS too
    const words = ['run', DOCUMENT, '--url', target.url, '--tls-verify', authorities, '--no-color']
    const child = spawn('schemathesis', ['--config-file', SETTINGS, ...words], {
      cwd: folder,
      env: { ...process.env, HOSTILE_TOKEN: target.session.access_token },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const [report, [code]] = await Promise.all([text(child.stdout), once(child, 'exit')])
    assert.equal(code, 0, report)
    context.diagnostic(/\d+ generated/.exec(report)?.[0] ?? report)
  })
}
