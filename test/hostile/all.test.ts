/** Every case in this folder, under its file's name, against a module of our own or the one that HOSTILE_URL names. */
import { globSync } from 'node:fs'
import { basename } from 'node:path'
import { suite } from 'node:test'
import { type Case, openTarget, reasonToSkip } from '../support/hostile.ts'

const files = globSync('*.ts', { cwd: import.meta.dirname }).filter((file) => !file.endsWith('.test.ts'))
const target = await openTarget()
const withCookies = target.own ? await openTarget({ AUTH_REFRESH_TRANSPORT: 'cookie' }) : target

const cases = await Promise.all(files.sort().map(async (file) => [file, (await import(`./${file}`)) as Case] as const))
cases.sort(([, one], [, other]) => Number(one.locksOut ?? false) - Number(other.locksOut ?? false))

for (const [file, attack] of cases) {
  const subject = attack.needs?.includes('cookies') ? withCookies : target
  suite(basename(file, '.ts'), { concurrency: true, skip: reasonToSkip(attack, subject) }, () =>
    attack.default(subject),
  )
}
