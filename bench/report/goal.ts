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
  /** No round may miss it; otherwise their median counts. */
  isForEvery?: boolean
  /** Told when it is missed. */
  why?: string
}

export function isMissed({ reached, wanted, isMost, isForEvery }: Goal): boolean {
  const values = isForEvery || reached.length === 0 ? reached : [median(reached)]
  return !values.every((value) => (isMost ? value <= wanted : value >= wanted))
}

export function goalRow(goal: Goal): string {
  const { what, reached, wanted, isMost, isForEvery, digits = 0, unit = '' } = goal
  const verdict = reached.length === 0 ? 'did not occur' : isMissed(goal) ? '**missed**' : 'reached'
  const bound = `${isMost ? '≤' : '≥'} ${wanted.toLocaleString('en')}${unit}${isForEvery ? ', every round' : ''}`
  return `| ${what} | ${bound} | ${show(reached, digits)}${unit} | ${verdict} |`
}
