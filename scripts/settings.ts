/** Writes what there is to set into .env.example and README.md, from the one table: `npm run settings`. */
import { readFile, writeFile } from 'node:fs/promises'
import { SETTINGS, type Setting } from '../src/settings.ts'

const EXAMPLE = new URL('../.env.example', import.meta.url)
const README = new URL('../README.md', import.meta.url)
const HEAD = `# Every variable with its default. Copy this file to .env and change what you need; an empty value, like a
# missing line, means the default. Those without one stand behind a #.
`
const MARKS = /(<!-- settings -->\n)[\s\S]*(<!-- end of settings -->)/

const settings = Object.values(SETTINGS) as Setting<unknown>[]
const defaultOf = ({ fallback, defaultInWords }: Setting<unknown>) => defaultInWords ?? String(fallback ?? '')

export function writeExample(): string {
  const lines = settings.map((setting) => {
    const isOfMachine = setting.defaultInWords && !/^\d+$/.test(setting.defaultInWords)
    const about = isOfMachine ? `${setting.about}; unset: ${setting.defaultInWords}` : setting.about
    const value = isOfMachine ? '' : defaultOf(setting)
    return `# ${about}\n${value === '' ? '#' : ''}${setting.name}=${value}\n`
  })
  return [HEAD, ...lines].join('\n')
}

export function writeReadme(before: string): string {
  const inCell = (text: string) => text.replaceAll('|', 'or')
  const rows = settings.map(
    (setting) =>
      `| \`${setting.name}\` | ${defaultOf(setting) && `\`${defaultOf(setting)}\``} | ${inCell(setting.about)} |\n`,
  )
  const table = ['| variable | default | |\n', '|---|---|---|\n', ...rows].join('')
  return before.replace(MARKS, (_, start, end) => `${start}\n${table}\n${end}`)
}

if (import.meta.main) {
  await writeFile(EXAMPLE, writeExample())
  await writeFile(README, writeReadme(await readFile(README, 'utf8')))
}
