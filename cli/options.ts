/** The options of the command `cerrojo`, all of them; which command takes which stands with the commands. */
import type { parseArgs } from 'node:util'

export const OPTIONS = {
  use: { type: 'string' },
  alg: { type: 'string' },
  now: { type: 'boolean' },
  yes: { type: 'boolean' },
  url: { type: 'string' },
  out: { type: 'string' },
  watch: { type: 'boolean' },
  days: { type: 'string' },
  json: { type: 'boolean' },
  help: { type: 'boolean' },
} as const

export type Options = ReturnType<typeof parseArgs<{ options: typeof OPTIONS }>>['values']
