/** Where a session is remembered: a small record that outlives the page. It never holds an access token. */
import { attempt } from './attempt.ts'
import { AuthClientError } from './errors.ts'
import type { Page } from './page.ts'
import type { TokenStore } from './types.ts'

export interface SessionRecord {
  /** A random label, made at the login; tells this session from a later one. */
  label: string
  /** The Idempotency-Key of the next refresh, and of all its repetitions. */
  key: string
  /** Absent when it travels in the cookie. */
  refresh_token?: string | undefined
  /** Made by a refresh that found the cookie of a session which nobody remembered. */
  isFound?: true
}

export type Vault = ReturnType<typeof openVault>

/** The text that says that nobody is logged in, which is more than to say nothing. */
const NOBODY = 'null'
const PROBE = '0'.repeat(200)

/** Without a store, localStorage holds the record; one with a refresh token in it stays in memory. */
export function openVault(name: string, { storage }: Page, store?: TokenStore) {
  const inPage = placeInPage(name, storage)
  const place = store ?? inPage
  let inMemory: SessionRecord | undefined
  let lastOperation: Promise<unknown> = Promise.resolve()

  /** One after the other, so that a logout's clear is never overtaken by a save that began before it. */
  function inOrder<Result>(operation: () => Promise<Result>): Promise<Result> {
    const result = lastOperation.then(operation).catch((cause) => {
      throw new AuthClientError('CLIENT_STORE', 'the store failed', { cause })
    })
    lastOperation = result.catch(() => undefined)
    return result
  }

  return {
    /** @returns null when it is remembered that nobody is logged in, undefined when nothing is */
    load: () => inOrder(async () => inMemory ?? parseRecord((await place.load()) ?? (store && NOBODY))),
    save: (record: SessionRecord) =>
      inOrder(async () => {
        inMemory = record.refresh_token && !store ? record : undefined
        if (!inMemory) await place.save(JSON.stringify(record))
      }),
    clear: () =>
      inOrder(async () => {
        inMemory = undefined
        await place.clear()
      }),
    /** Whether a session would be remembered after a reload, so that nothing remembered means that there is none. */
    remembers: () => Boolean(store) || inPage.isUsable(),
  }
}

/** What a full or forbidden localStorage does not take lasts as long as the page. */
function placeInPage(name: string, storage: Page['storage']) {
  let text = storage ? undefined : NOBODY
  function save(next: string): void {
    text = next
    if (!storage || storage.set(name, next)) return
    // What stands there is out of date. And where it stood there may be room for what takes its place.
    storage.remove(name)
    storage.set(name, next)
  }
  return {
    load: () => storage?.get(name) ?? text,
    save,
    clear: () => save(NOBODY),
    isUsable(): boolean {
      const isKept = storage?.set(`${name}:probe`, PROBE) ?? true
      storage?.remove(`${name}:probe`)
      return isKept
    },
  }
}

function parseRecord(text: string | undefined): SessionRecord | null | undefined {
  const record = attempt(() => JSON.parse(text ?? ''))
  return record === null || (record?.label && record.key) ? record : undefined
}
