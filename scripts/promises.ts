/** The promises of the contract, and which tests show each. `npm run prove` runs them; README tells of them. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

export const ROOT = join(import.meta.dirname, '..')
export const CLUSTER = 'test/cluster/turns.ts'
const MODEL = 'test/model/model.test.ts'
const MARKS = /(<!-- promises -->\n)[\s\S]*(<!-- end of promises -->)/

export interface Proof {
  file: string
  /** Of suites or tests, whole; `…` stands for what a table of cases fills in. */
  titles: string[]
  isQuick?: boolean
}

export interface Promised {
  name: string
  sentence: string
  /** How it is tested. */
  how: string
  proofs: Proof[]
}

const shownBy: Record<string, Pick<Promised, 'how' | 'proofs'>> = {
  P1: {
    how:
      'killed under load, again and again, and every answer looked up afterwards; leaders of a cluster ' +
      'killed and cut off',
    proofs: [
      {
        file: 'test/process/crash.test.ts',
        titles: ['killing the module under load loses nothing answered, and the rest completes with its key'],
        isQuick: true,
      },
      {
        file: 'test/process/crash.test.ts',
        titles: ['killed under load loses nothing that was answered, and the module goes on without a restart'],
      },
      { file: CLUSTER, titles: ['a cluster'] },
    ],
  },
  P2: {
    how: 'fifty refreshes at once, batches of two nodes that meet, walks at random, and all interleavings of a model',
    proofs: [
      {
        file: 'test/service/refresh.test.ts',
        titles: [
          'is replaced at every refresh, and the new one refreshes again',
          'of fifty refreshes at once without a key exactly one succeeds, and the session is revoked',
          'fifty refreshes at once with one key all get the same successor, which is live',
          'any sequence of refreshes, repetitions, replays and logouts ends as the contract says',
        ],
        isQuick: true,
      },
      {
        file: 'test/service/set_back.test.ts',
        titles: ['of tokens of one session that are ahead at the same moment none makes two sessions of it'],
        isQuick: true,
      },
      { file: 'test/db/batches.test.ts', titles: ['two nodes on one PostgreSQL whose batches meet'] },
      { file: MODEL, titles: ['the model of the rotation'] },
    ],
  },
  P3: {
    how: 'repeated at once, after days, after crashes, set-backs and failovers, and never by anybody else',
    proofs: [
      { file: 'test/service/refresh.test.ts', titles: ['a refresh whose answer was lost'], isQuick: true },
      {
        file: 'test/service/set_back.test.ts',
        titles: ['a refresh with a key whose answer was lost'],
        isQuick: true,
      },
      {
        file: 'test/process/crash.test.ts',
        titles: [
          'killing the module under load loses nothing answered, and the rest completes with its key',
          'killed under load loses nothing that was answered, and the module goes on without a restart',
        ],
      },
      { file: 'test/api/cookie.test.ts', titles: ['a repetition with its key sets the same cookie again'] },
      { file: CLUSTER, titles: ['loses its leader to a crash', 'goes on while nodes are killed and restarted'] },
    ],
  },
  P4: {
    how:
      'logouts against refreshes at the same moment, five hundred times; used tokens shown again; walks at ' +
      'random; a model',
    proofs: [
      {
        file: 'test/service/refresh.test.ts',
        titles: [
          'shown again after it was used revokes the session for everyone',
          'any sequence of refreshes, repetitions, replays and logouts ends as the contract says',
          'logout',
        ],
        isQuick: true,
      },
      {
        file: 'test/service/set_back.test.ts',
        titles: ['ends no session that was logged out before it, and brings one back that was logged out since'],
        isQuick: true,
      },
      {
        file: 'test/api/cookie.test.ts',
        titles: ['logging out clears the cookie and ends the session, twice if need be'],
      },
      { file: MODEL, titles: ['the model of the rotation'] },
    ],
  },
  P5: {
    how:
      'stopped, stalled, far away, in recovery, on a full disk; asked all the while, and afterwards ' +
      'without a restart',
    proofs: [
      {
        file: 'test/limits/rate_limits.test.ts',
        titles: ['no attempt is made, and none is answered with anything but 503'],
        isQuick: true,
      },
      { file: 'test/keys/rotation.test.ts', titles: ['while the database cannot be asked'], isQuick: true },
      { file: 'test/process/crash.test.ts', titles: ['PostgreSQL'] },
      { file: 'test/db/connections.test.ts', titles: ['PostgreSQL', 'a PostgreSQL of its own'] },
      {
        file: 'test/db/embedded.test.ts',
        titles: [
          'is unavailable while its disk is full and serves when there is room again, loses nothing, and does not grow',
        ],
      },
    ],
  },
  P6: {
    how: 'rotations under a stream of requests, on one node and on several; clocks that are set; new secrets',
    proofs: [
      {
        file: 'test/keys/rotation.test.ts',
        titles: ['keys rotate by themselves', 'when a clock is set'],
        isQuick: true,
      },
      { file: 'test/process/nodes.test.ts', titles: ['nodes'] },
      { file: CLUSTER, titles: ['hands the lead over while keys rotate'] },
    ],
  },
  P7: {
    how: 'every password, token and key that was used is looked for in the database and in the log',
    proofs: [
      {
        file: 'test/process/secrets.test.ts',
        titles: ['no password, token or idempotency key can be read from the database or from the log'],
        isQuick: true,
      },
      {
        file: 'test/keys/sealing.test.ts',
        titles: ['a row of keys that was changed does not open, and the module says so'],
      },
    ],
  },
  P8: {
    how:
      'copies put back between refreshes, owners against thieves, walks at random; a backup restored; a ' +
      'failover that loses two seconds; a model',
    proofs: [
      {
        file: 'test/service/set_back.test.ts',
        titles: [
          'a database that was set back',
          'the owner and a thief, after a database was set back',
          'any sequence of refreshes, repetitions, replays, logouts and set-backs ends as the contract says',
        ],
        isQuick: true,
      },
      {
        file: CLUSTER,
        titles: ['is put back to a backup', 'loses its leader two seconds ahead of the others'],
      },
      { file: MODEL, titles: ['the model of the rotation'] },
    ],
  },
  P9: {
    how:
      'guesses, floods of refusals, half requests and silent connections, while others go on and the ' +
      'module is told to stop',
    proofs: [
      {
        file: 'test/limits/rate_limits.test.ts',
        titles: [
          'failures',
          'an account',
          'whatever comes in whatever order, nobody has more wrong passwords answered than allowed',
        ],
        isQuick: true,
      },
      {
        file: 'test/process/stop.test.ts',
        titles: [
          'is kept waiting by nobody without a whole request, and the folder is free for the next start',
          'is not kept waiting at all by connections that say nothing, or nothing more',
        ],
        isQuick: true,
      },
      { file: 'test/process/stop.test.ts', titles: ['a SIGTERM'] },
      {
        file: 'test/http/server.test.ts',
        titles: ['more silent connections than the system lets it open keep others out for seconds, not for minutes'],
      },
      { file: 'test/hashing/passwords.test.ts', titles: ['at the gate'] },
    ],
  },
}

/** In the words of the contract. */
export const PROMISES: Promised[] = [
  ...readFileSync(join(ROOT, 'contract/req.back.v3.2.mini.yml'), 'utf8').matchAll(/^ {2}(P\d): "(.*)"$/gm),
].map(([, name = '', sentence = '']) => {
  const shown = shownBy[name]
  if (!shown) throw new Error(`${name} of the contract has no test in scripts/promises.ts`)
  return { name, sentence, ...shown }
})

export function filesOf(proofs: Proof[]): string[] {
  return [...new Set(proofs.map(({ file }) => file))]
}

export function writeReadme(before: string): string {
  const rows = PROMISES.map(
    ({ name, sentence, how, proofs }) =>
      `| ${name} | ${sentence} | ${how}: ${filesOf(proofs)
        .map((file) => `\`${file}\``)
        .join(', ')} |\n`,
  )
  const table = ['| | promise | how it is tested |\n', '|---|---|---|\n', ...rows].join('')
  return before.replace(MARKS, (_, start, end) => `${start}\n${table}\n${end}`)
}
