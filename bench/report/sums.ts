/** Rates and costs of turns, round by round. */
import type { Saturated } from '../measurements/saturated.ts'
import type { Turn } from '../support/stage.ts'

export const rates = (turns: Turn[] = []) => turns.map(({ perSecond }) => perSecond)
export const costs = (turns: Turn[] = []) => turns.map(({ microseconds }) => microseconds)

/** Of parts that together make an operation. */
export function sumOfCosts(saturated: Saturated, names: string[]): number[] {
  const parts = names.map((name) => costs(saturated[name]))
  return (parts[0] ?? []).map((_, round) => parts.reduce((sum, part) => sum + (part[round] ?? Number.NaN), 0))
}

export const divide = (over: number[], under: number[]) =>
  over.map((value, round) => value / (under[round] ?? Number.NaN))
