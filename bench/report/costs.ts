/** What each operation costs, beside its bare parts and beside the first edition; and what an attack costs. */
import type { Attack, Attacks } from '../measurements/attacks.ts'
import type { Saturated } from '../measurements/saturated.ts'
import { FIRST_EDITION } from '../support/first_edition.ts'
import { CORES } from '../support/processor.ts'
import type { Turn } from '../support/stage.ts'
import { format, median, show } from '../support/statistics.ts'
import type { Goal } from './goal.ts'
import { costs, divide, rates, sumOfCosts } from './sums.ts'

const LONE_REFRESH_PARTS = ['refresh: echo', 'refresh: statement', 'refresh: sign and encrypt']
const REFRESH_PARTS = ['refresh: echo', 'refresh: statement, shared by 32', 'refresh: sign and encrypt']
const ME_PARTS = ['me: echo', 'me: statement, shared by 32']
const VERIFYING = 'me: jose decrypts and verifies'
const BARE = [
  ...LONE_REFRESH_PARTS,
  ...REFRESH_PARTS,
  ...['me: statement', ...ME_PARTS, VERIFYING],
  ...['jwks: echo', 'login: comparisons'],
]
/** The module's operations, each with its name in the first edition's turns. */
const EDITIONS = [
  ['refresh', 'refresh: first edition'],
  ['me, shown again', 'me: first edition, shown again'],
  ['me, new each time', 'me: first edition, new each time'],
  ['jwks', 'jwks: first edition'],
] as const

/** R*: refreshes a second if all processors did nothing but the parts of a refresh, each of them alone. */
export function refreshLimit(saturated: Saturated): number {
  return (CORES * 1e6) / median(sumOfCosts(saturated, LONE_REFRESH_PARTS))
}

export function costGoals(saturated: Saturated, { attacks, payloadsBeforeLimit }: Attacks): Goal[] {
  const cost = (name: string) => costs(saturated[name])
  const middle = (values: number[]) => format(median(values))
  const against = (operation: string, parts: string[]) => divide(sumOfCosts(saturated, parts), cost(operation))
  const overhead = (operation: string, parts: string[]) => {
    const terms = parts.map((name) => `${name.split(': ')[1]} ${middle(cost(name))}`).join(', ')
    const sum = middle(sumOfCosts(saturated, parts))
    return `It costs ${middle(cost(operation))} µs, its parts ${sum} (${terms}); the rest is what lies between them.`
  }
  const ratios = { digits: 2 } as const
  const editions = EDITIONS.filter(([, before]) => saturated[before])
  return [
    {
      ...{
        what: 'Refresh against R\\*\\*, by cost',
        reached: against('refresh', REFRESH_PARTS),
        wanted: 0.75,
        ...ratios,
      },
      why: overhead('refresh', REFRESH_PARTS),
    },
    {
      ...{
        what: 'Me, token shown again, against echo and shared select',
        reached: against('me, shown again', ME_PARTS),
      },
      ...{ wanted: 0.6, ...ratios, why: overhead('me, shown again', ME_PARTS) },
    },
    {
      ...{ what: 'Me, token new each time, against jose alone', reached: against('me, new each time', [VERIFYING]) },
      ...{ wanted: 0.85, ...ratios, why: overhead('me, new each time', [VERIFYING]) },
    },
    {
      ...{ what: 'JWKS against the echo route', reached: against('jwks', ['jwks: echo']), wanted: 0.95, ...ratios },
      why: overhead('jwks', ['jwks: echo']),
    },
    {
      ...{ what: 'Login against cores / one comparison, by logins done', wanted: 0.95, ...ratios },
      reached: divide(rates(saturated.login), rates(saturated['login: comparisons'])),
      why: `A comparison costs ${middle(cost('login: comparisons'))} µs bare, a login ${middle(cost('login'))} in all.`,
    },
    ...editions.map(([now, before]) => ({
      ...{ what: `Cost against the first edition: ${now}`, reached: divide(cost(now), cost(before)) },
      ...{ wanted: 1, isMost: true, ...ratios },
      why: `It costs ${middle(cost(now))} µs, and did ${middle(cost(before))}.`,
    })),
    ...attacks.map((attack) => ({
      ...{ what: `Attack, against what it must cost: ${attack.name}`, reached: ratioOf(attack) },
      ...{ wanted: 1.2, isMost: true, ...ratios },
      why:
        `It costs ${middle(costs(attack.turns))} µs; ` +
        `${attack.unavoidable} ${middle(attack.unavoidableMicroseconds)}.`,
    })),
    {
      ...{ what: 'Refused `__front_enc__` of one address before the limit answers', reached: [payloadsBeforeLimit] },
      ...{ wanted: 100, isMost: true },
    },
  ]
}

const ratioOf = ({ turns, unavoidableMicroseconds }: Attack) => divide(costs(turns), unavoidableMicroseconds)

export function costSections(saturated: Saturated, { attacks, payloadsBeforeLimit }: Attacks): string {
  const terms = (names: string[]) => names.map((name) => format(median(costs(saturated[name])))).join(' + ')
  const firstEdition =
    'refresh: first edition' in saturated
      ? `The first edition is this module as it was at commit ${FIRST_EDITION}.`
      : 'The first edition was not measured, as the history that it is taken from was not there.'
  const limit = format(refreshLimit(saturated))
  const sharedLimit = format((CORES * 1e6) / median(sumOfCosts(saturated, REFRESH_PARTS)))
  return `## Saturated

As fast as 32 connections get their answers (logins: 8 connections).
${firstEdition}

| operation | requests a second | p50 ms | p99 ms | cost in µs | errors |
|---|---|---|---|---|---|
${Object.entries(saturated)
  .filter(([, [turn]]) => turn?.load)
  .map(([name, turns]) => operationRow(name, turns))
  .join('\n')}

The parts that these operations are made of, each called bare and in the same turns. An echo route is one of a bare
Fastify server that takes the same requests and gives the same answers, header by header; a statement is the module's
own, through \`pg\` with a pool and named statements, asked for one caller at a time, or for 32 who share it, as in the
module callers do that come at once.

| part | a second | cost in µs |
|---|---|---|
${Object.entries(saturated)
  .filter(([name]) => BARE.includes(name))
  .map(([name, turns]) => `| ${name} | ${show(rates(turns))} | ${show(costs(turns))} |`)
  .join('\n')}

With the statement shared by 32, R\\*\\* = ${CORES} cores / (${terms(REFRESH_PARTS)}) µs = ${sharedLimit} refreshes
a second; for one caller at a time, R\\* = ${CORES} cores / (${terms(LONE_REFRESH_PARTS)}) µs = ${limit}.

## Attacks

What anybody can send without a token, and what no server could avoid to spend on it, in the same turns.

| | cost in µs | unavoidable | cost of that in µs |
|---|---|---|---|
${attacks
  .map(({ name, turns, unavoidable, unavoidableMicroseconds }) => {
    return `| ${name} | ${show(costs(turns))} | ${unavoidable} | ${show(unavoidableMicroseconds)} |`
  })
  .join('\n')}

With the limits as they are by default, one address had ${payloadsBeforeLimit} encrypted payloads refused
before it was answered 429.
`
}

function operationRow(name: string, turns: Turn[]): string {
  const errors = turns.reduce((sum, { load }) => sum + (load?.errors ?? 0), 0)
  const p50s = turns.map(({ load }) => load?.latencyMs.p50 ?? Number.NaN)
  const p99s = turns.map(({ load }) => load?.latencyMs.p99 ?? Number.NaN)
  return `| ${name} | ${show(rates(turns))} | ${show(p50s, 1)} | ${show(p99s, 1)} | ${show(costs(turns))} | ${errors} |`
}
