/** The README's code, so that tests run what readers copy. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

const text = readFileSync(join(import.meta.dirname, '../../README.md'), 'utf8')

/** By the names of the files that it stands for: a line that names one in backquotes comes before its code. */
export const examples = new Map(
  [...text.matchAll(/`([\w./[\]-]+\.(?:tsx?|vue|svelte))`[^\n]*\n\n```\w+\n(.*?)```/gs)].map(([, name, code]) => [
    name as string,
    code as string,
  ]),
)
