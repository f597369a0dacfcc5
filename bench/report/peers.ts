/** The part of RESULTS.md about other systems: those of this run, and those that were measured by hand. */
import type { RunningPeersTurns } from '../measurements/running_peers.ts'
import { MEASURED_BY_HAND } from '../peers/measured_by_hand.ts'
import { format, show } from '../support/statistics.ts'
import { table } from './table.ts'

export function sectionOfPeers(running: RunningPeersTurns): string {
  const { about, setUps, tables } = MEASURED_BY_HAND
  return `## Beside the peers

The FastAPI peer (\`peers/fastapi\`) has the contract's tables and the same one-row rotation, on as many uvicorn workers as cores; better-auth runs with its
defaults, its rate limits off. All compare passwords with bcrypt at cost 12. Their figures of this run stand [above](#saturated).

### Measured once, by hand

${about}

${table(['system', 'how it was set up'], setUps)}

${tables.map(({ title, head, rows }) => `${title}:\n\n${table(head, rows)}`).join('\n\n')}

Whoever has one of them running measures it [in a run](README.md#peers-that-you-have-running).
${runningTable(running)}`
}

function runningTable(running: RunningPeersTurns): string {
  const rows = Object.entries(running).map(([name, { turns, hasCost }]) => [
    name,
    show(turns.map(({ perSecond }) => perSecond)),
    hasCost ? show(turns.map(({ microseconds }) => microseconds)) : '–',
    format(turns.reduce((sum, { load }) => sum + (load?.errors ?? 0), 0)),
  ])
  if (rows.length === 0) return ''
  return `\n### Running beside this run\n\n${table(['', 'a second', 'cost in µs', 'errors'], rows)}\n`
}
