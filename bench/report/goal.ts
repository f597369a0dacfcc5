/** An aim of the bench, and whether a run has reached it. */
import { median, show } from '../support/statistics.ts'

export interface Goal {
  what: string
  /** One value a round. */
  reached: number[]
  digits?: number
  unit?: string
  wanted: number
  isMost?: boolean
  /** Told when it is missed. */
  why?: string
}

export function isMissed({ reached, wanted, isMost }: Goal): boolean {
  return reached.length > 0 && !(isMost ? median(reached) <= wanted : median(reached) >= wanted)
}

export function goalRow(goal: Goal): string {
  const { what, reached, wanted, isMost, digits = 0, unit = '' } = goal
  const verdict = reached.length === 0 ? 'did not occur' : isMissed(goal) ? '**missed**' : 'reached'
  const bound = `${isMost ? '≤' : '≥'} ${wanted.toLocaleString('en')}${unit}`
  return `| ${what} | ${bound} | ${show(reached, digits)}${unit} | ${verdict} |`
}
