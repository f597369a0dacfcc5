/** What a document names, followed as a reader would: links, paths and commands. */
import { execFile } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'

/** Made by what they are named with. */
const MADE = /^(\.\/|demo\/)?(data|dist)(\/|$)|^PROOF\.md$/
const FOLDERS_WITH_SCRIPTS = ['', 'demo', 'bench', 'packages/client', 'packages/verifier']

/** The lines of fenced blocks of that language. */
export function blocksOf(document: string, language: string): string[] {
  return [...document.matchAll(/^```(\w*)\n(.*?)^```$/gms)]
    .filter(([, named]) => named === language)
    .map(([, , lines]) => lines as string)
}

export function inlineCodeOf(document: string): string[] {
  const prose = document.replaceAll(/^```.*?^```$/gms, '')
  return [...prose.matchAll(/`([^`\n]+)`/g)].map(([, code]) => code as string)
}

/** Relative links whose file, or whose heading in it, is not there. */
export function brokenLinks(path: string, document: string): string[] {
  const links = [...document.matchAll(/\]\(([^)\s]+)\)/g)].map(([, link]) => link as string)
  return links.filter((link) => {
    if (/^[a-z]+:/.test(link)) return false
    const [file, heading] = link.split('#')
    const target = file ? join(dirname(path), file) : path
    if (!existsSync(target)) return true
    return heading !== undefined && !headingsOf(readFileSync(target, 'utf8')).includes(heading)
  })
}

/** As they are called in links: letters, digits, - and _ alone. */
function headingsOf(document: string): string[] {
  return [...document.matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replaceAll(' ', '-')
      .replaceAll(/[^\p{Letter}\p{Number}_-]/gu, ''),
  )
}

/** Of the folder or of its src/, as README speaks of rooms. */
function brokenPaths(folder: string, document: string): string[] {
  const inCode = inlineCodeOf(document).filter((code) =>
    /^\.?[\w-][\w./-]*\/[\w./-]*$|^[\w.-]+\.(ts|cjs|md)$/.test(code),
  )
  const inTrees = blocksOf(document, 'text').flatMap((block) => block.match(/\b[\w/]+\.ts\b/g) ?? [])
  const { name, exports = {} } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  const imported = Object.keys(exports).map((entry) => join(name, entry))
  return [...inCode, ...inTrees]
    .filter((path) => !MADE.test(path) && !imported.includes(path))
    .filter((path) => !['', 'src', 'scripts'].some((room) => existsSync(join(folder, room, path))))
}

/** Commands of npm that no manifest has, programs that are not there, and commands that `cerrojo` does not know. */
async function brokenCommands(folder: string, document: string): Promise<string[]> {
  const texts = [...inlineCodeOf(document), ...blocksOf(document, 'sh')]
  const commands = texts.flatMap((text) => text.split(/\n|&&|;|#/)).map((command) => command.trim())
  const scripts = FOLDERS_WITH_SCRIPTS.map((name) => join(folder, name, 'package.json'))
    .filter((path) => existsSync(path))
    .flatMap((path) => Object.keys(JSON.parse(readFileSync(path, 'utf8')).scripts))

  const broken = commands.filter((command) => {
    const [, script] = /^npm (?:run )?([\w:]+)/.exec(command) ?? []
    const [, program] = /^(?:node|cd|bash) ([\w./-]+)/.exec(command) ?? []
    const isOfNpm = script !== undefined && ['ci', 'install', 'pack', 'publish'].includes(script)
    return (script && !isOfNpm && !scripts.includes(script)) || (program && !existsSync(join(folder, program)))
  })
  const launcher = join(folder, 'cli/cerrojo.cjs')
  const words = commands.map(
    (command) => /^(?:npx cerrojo|node cli\/cerrojo\.cjs|cerrojo) ([a-z]+(?: [a-z]+)?)/.exec(command)?.[1],
  )
  for (const name of new Set(words.filter((name) => name !== undefined)))
    await promisify(execFile)(process.execPath, [launcher, ...name.split(' '), '--help'], { cwd: folder }).catch(() =>
      broken.push(`cerrojo ${name}`),
    )
  return broken
}

/** @returns what the document at that path, in a folder of Cerrojo, names and is not there */
export async function findBroken(folder: string, name: string): Promise<string[]> {
  const document = readFileSync(join(folder, name), 'utf8')
  return [
    ...brokenLinks(join(folder, name), document),
    ...brokenPaths(folder, document),
    ...(await brokenCommands(folder, document)),
  ]
}

/** A title as it stands in a test's file; `…` stands for what a table of cases fills in. */
export function literalOf(title: string): RegExp {
  return new RegExp(`(['"\`])${title.split('…').map(RegExp.escape).join('\\$\\{.+?\\}')}\\1`)
}
