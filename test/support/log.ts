/** What a program of its own has written to its log. */
import type { Json } from './jose_by_hand.ts'
import type { RunningProcess } from './server.ts'

/** Its whole lines so far. */
export function linesOf(server: RunningProcess): Json[] {
  const whole = server.output().split('\n').slice(0, -1)
  return whole.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line))
}
