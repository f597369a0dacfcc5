/** What deploy/ tells other programs: that they can read it, and that every variable in it is one of ours. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { parse, parseAllDocuments } from 'yaml'
import { loadConfig } from '../../src/config.ts'
import { ERRORS } from '../../src/models/types.ts'
import { SETTINGS } from '../../src/settings.ts'
import { isThere } from '../support/certificates.ts'

const ROOT = join(import.meta.dirname, '../..')
const read = (name: string) => readFileSync(join(ROOT, name), 'utf8')
const KNOWN = Object.values(SETTINGS).map(({ name }) => name)
const SECRET = 'A'.repeat(43)

suite('in deploy/', () => {
  test('every variable that looks like one of ours is one, and in docs/operating.md too', () => {
    const files = globSync('deploy/**/*', { cwd: ROOT, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name))
    const texts = [...files.map((path) => readFileSync(path, 'utf8')), read('docs/operating.md')]
    const names = texts.flatMap((text) => text.match(/\b(AUTH|DATABASE|SHUTDOWN)_[A-Z_]*[A-Z]\b/g) ?? [])
    assert.ok(new Set(names).size > 10)
    for (const name of names) assert.ok(KNOWN.includes(name) || Object.hasOwn(ERRORS, name), name)
  })

  test('compose.yml starts nodes with settings that the module takes, and waits for their end', () => {
    const { auth, database, proxy } = parse(read('deploy/compose.yml')).services
    assert.ok(database && proxy)
    assert.ok(auth.read_only)
    const environment = Object.entries<string>(auth.environment).map(([name, value]) => [
      name,
      value.replaceAll(/\$\{(\w+):\?[^}]*\}/g, (_, variable) => (variable === 'AUTH_KEYS_SECRET' ? SECRET : 'text')),
    ])
    assertTaken(Object.fromEntries(environment), Number.parseInt(auth.stop_grace_period, 10))
  })

  test('kubernetes.yml does so too, and asks each node for its published keys', () => {
    const documents = parseAllDocuments(read('deploy/kubernetes.yml')).map((document) => document.toJS())
    const deployment = documents.find(({ kind }) => kind === 'Deployment')
    const { containers, terminationGracePeriodSeconds, volumes } = deployment.spec.template.spec
    const [container] = containers
    assert.equal(deployment.spec.replicas, 3)
    assert.ok(container.securityContext.readOnlyRootFilesystem)
    for (const probe of ['startupProbe', 'readinessProbe', 'livenessProbe'])
      assert.deepEqual(container[probe].httpGet, { path: '/.well-known/jwks.json', port: container.ports[0].name })
    const [{ mountPath }] = container.volumeMounts
    assert.equal(volumes[0].secret.secretName, 'cerrojo')
    const environment = container.env.map(({ name, value }: { name: string; value: string }) => {
      if (!value.startsWith(mountPath)) return [name, value]
      assert.equal(value, `${mountPath}/${name.replace('_FILE', '')}`)
      return [name.replace('_FILE', ''), name === 'DATABASE_URL_FILE' ? 'postgres://u:p@h/n' : SECRET]
    })
    assertTaken(Object.fromEntries(environment), terminationGracePeriodSeconds)
  })

  test('the image has what its command and its check name', () => {
    const text = read('deploy/Dockerfile')
    const allowed = read('deploy/Dockerfile.dockerignore')
      .split('\n')
      .flatMap((line) => line.match(/^!(.*)/)?.[1] ?? [])
    const copied = [...text.matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(([, names]) => names?.split(' ') ?? [])
    assert.deepEqual([...new Set(copied)].sort(), allowed.sort())
    for (const name of copied) assert.ok(existsSync(join(ROOT, name)), name)
    const [, command = ''] = /^CMD (\[.*\])$/m.exec(text) ?? []
    const [program, ...words] = JSON.parse(command)
    assert.equal(program, 'node')
    assert.ok(existsSync(join(ROOT, words.at(-1))))
  })

  test('the unit is one that systemd takes', {
    skip: isThere('systemd-analyze') ? false : 'there is no systemd',
  }, () => {
    execFileSync('systemd-analyze', ['verify', join(ROOT, 'deploy/cerrojo@.service')], { stdio: 'pipe' })
  })
})

/** @param graceSeconds for which a node is let alone after SIGTERM */
function assertTaken(environment: Record<string, string>, graceSeconds: number): void {
  const { shutdownDelaySeconds } = loadConfig(environment)
  for (const name of Object.keys(environment)) assert.ok(KNOWN.includes(name), name)
  assert.ok(graceSeconds > shutdownDelaySeconds + 10 + 1, 'longer than a stop may take')
}
