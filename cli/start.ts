/** The server itself, as a command of the package. */
import { start } from '../src/main.ts'
import { command } from './command.ts'

export const startCommand = command('start', 'serve, until SIGINT or SIGTERM', { options: {} }, start)
