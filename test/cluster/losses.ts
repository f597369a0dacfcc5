/** What clients remember, compared with what the database knows and the nodes serve. */
import { runSql } from '../support/server.ts'
import type { Client, Memory } from './clients.ts'

/** Counts of what had been answered with success and is no more, and of what must never be. */
export interface Losses {
  lostUsers: number
  lostSessions: number
  /** Sessions that have a rotation less than was answered. */
  lostRotations: number
  lostLogouts: number
  /** Refusals of a session that the database has, and that nobody has asked to end. */
  wrongRefusals: string[]
  /** Answers with a status that there is no reason for, a 500 first of all. */
  strangeAnswers: string[]
}

export const NOTHING: Losses = {
  lostUsers: 0,
  lostSessions: 0,
  lostRotations: 0,
  lostLogouts: 0,
  wrongRefusals: [],
  strangeAnswers: [],
}

const EXPECTED = new Set([200, 201, 204, 401, 409, 503, undefined])

/** With clients at rest: asks the database first, then each session and user through the front door. */
export async function findLosses(databaseUrl: string, client: Client, memory: Memory): Promise<Losses> {
  const sessions = [...memory.sessions] // the logins below are not of the turn
  const rows = await runSql(
    { DATABASE_URL: databaseUrl },
    'select id, generation, ahead_at is not null as is_ahead from refresh_tokens where id = any($1)',
    [sessions.map(({ id }) => id)],
  )
  const rowOf = new Map(rows.map((row) => [row.id, row]))
  const lost = {
    lostSessions: sessions.filter(({ id }) => !rowOf.has(id)).length,
    lostRotations: sessions.filter(({ id, refreshToken }) => {
      const row = rowOf.get(id)
      return row && (row.is_ahead || (row.generation as number) < generationOf(refreshToken))
    }).length,
  }
  const logins = await Promise.all(memory.registered.map((credentials) => client.logIn(credentials)))
  await Promise.all(
    sessions.map(async (session) => {
      if (session.refusal || session.logout === 'asked') return
      await client.look(session)
      await client.refresh(session)
    }),
  )
  return {
    lostUsers: logins.filter((session) => !session).length,
    ...lost,
    lostLogouts: sessions.filter(({ isUndone }) => isUndone).length,
    wrongRefusals: sessions.flatMap(({ id, refusal }) => (refusal && rowOf.has(id) ? refusal : [])),
    strangeAnswers: memory.answers.flatMap(({ request, status }) =>
      EXPECTED.has(status) ? [] : `${request} ${status}`,
    ),
  }
}

/** The number of rotations that brought it, from its own bytes. */
function generationOf(refreshToken: string): number {
  return Buffer.from(refreshToken, 'base64url').readUInt32BE(16)
}
