/** What a check is: it judges facts that were gathered before, and asks nobody, so that each can be tried on any. */

/** `broken` keeps the module from working, `risky` from being safe; a `hint` is worth knowing. */
export interface Finding {
  level: 'ok' | 'hint' | 'risky' | 'broken'
  about: string
  found: string
  advice: string
}

export interface Check<Facts> {
  level: Finding['level']
  /** @returns what is so, in as many sentences as there are cases of it; nothing when all is well */
  look(facts: Facts): string | string[] | false | undefined
  advice: string
}

const ofLevel = (level: Finding['level']) => {
  return <Facts>(look: Check<Facts>['look'], advice: string): Check<Facts> => ({ level, look, advice })
}
export const broken = ofLevel('broken')
export const risky = ofLevel('risky')
export const hint = ofLevel('hint')

/** @param wellSaid what is told when nothing is broken or risky */
export function judge<Facts>(about: string, checks: Check<Facts>[], facts: Facts, wellSaid: string): Finding[] {
  const findings = checks.flatMap(({ level, look, advice }) =>
    [look(facts) || []].flat().map((found) => ({ level, about, found, advice })),
  )
  const isWell = findings.every(({ level }) => level === 'hint')
  return isWell ? [{ level: 'ok', about, found: wellSaid, advice: '' }, ...findings] : findings
}
