/**
 * What an operator does, and what befalls a database, at the push of a button: for the demo only. Its SQL is for what
 * cerrojo/admin has no function for: whose a session is, which a page knows of itself, and to set a session back, which
 * nobody does on purpose.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { verifyEmail } from '../admin/users.ts'
import { endOtherKeys } from '../cli/keys.ts'
import { algorithmFor, isAccepted, type KeyRoom, makeKeys, readKeys } from '../src/keys/rotation.ts'
import { PUBLISHED_USES } from '../src/models/key.ts'
import { type Deeds, keep } from './proxy.ts'

/** @param jwksUrl where the module publishes its keys */
export function createOperator(room: KeyRoom, jwksUrl: string): Deeds {
  const { config, database } = room
  /** By session: its row as JSON, in which PostgreSQL finds each value again as it was. */
  const copies = new Map<string, string>()

  async function verifyEmailOf(sessionId: string): Promise<boolean> {
    const session = await database.row<{ user_id: string }>`
      select user_id from refresh_tokens where id = ${sessionId}::uuid`
    return session !== undefined && (await verifyEmail(database, { id: session.user_id })) !== undefined
  }

  async function copySession(sessionId: string): Promise<boolean> {
    const session = await database.row<{ copy: string }>`
      select to_jsonb(refresh_tokens)::text as copy from refresh_tokens where id = ${sessionId}::uuid`
    if (session) keep(copies, sessionId, session.copy)
    return session !== undefined
  }

  /** As a restored backup does, or a failover to a replica that was behind. */
  async function setSessionBack(sessionId: string): Promise<boolean> {
    const copy = copies.get(sessionId)
    if (copy === undefined) return false
    copies.delete(sessionId)
    await database.transaction(async ({ rows }) => {
      await rows`delete from refresh_tokens where id = ${sessionId}::uuid`
      await rows`insert into refresh_tokens select * from jsonb_populate_record(null::refresh_tokens, ${copy}::jsonb)`
    })
    return true
  }

  /** As `cerrojo keys rotate --now` does for a leaked key; then waits until the module has noticed. */
  async function rotateKeys(): Promise<boolean> {
    const { keys, now } = await readKeys(room)
    const oldKids = keys.filter((key) => isAccepted(key, now)).map(({ kid }) => kid)
    const planned = PUBLISHED_USES.map((use) => ({ use, alg: algorithmFor(config, use), first_use: Math.floor(now) }))
    for (const { use, kid } of await makeKeys(room, keys, planned)) await endOtherKeys(database, use, kid)
    while ((await publishedKids()).some((kid) => oldKids.includes(kid))) await pause(100)
    return true
  }

  async function publishedKids(): Promise<string[]> {
    const { keys } = (await (await fetch(jwksUrl)).json()) as { keys: { kid: string }[] }
    return keys.map(({ kid }) => kid)
  }

  return new Map([
    ['verify-email', verifyEmailOf],
    ['copy-session', copySession],
    ['set-session-back', setSessionBack],
    ['rotate-keys', rotateKeys],
  ])
}
