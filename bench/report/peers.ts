/** The part of RESULTS.md about other systems: those of this run, and those that were measured by hand. */
import { MEASURED_BY_HAND } from '../peers/measured_by_hand.ts'

export function sectionOfPeers(): string {
  const { about, setUps, tables } = MEASURED_BY_HAND
  return `## Beside the peers

The FastAPI peer (\`peers/fastapi\`) has the contract's tables and the same one-row rotation, on as many uvicorn workers as cores; better-auth runs with its
defaults, its rate limits off. All compare passwords with bcrypt at cost 12. Their figures of this run stand [above](#saturated).

### Measured once, by hand

${about}

${table(['system', 'how it was set up'], setUps)}

${tables.map(({ title, head, rows }) => `${title}:\n\n${table(head, rows)}`).join('\n\n')}

Whoever has one of them running measures it [in a run](README.md#peers-that-you-have-running).
`
}

export function table(head: string[], rows: string[][]): string {
  const line = (cells: string[]) => `| ${cells.join(' | ')} |`
  return [line(head), `|${'---|'.repeat(head.length)}`, ...rows.map(line)].join('\n')
}
