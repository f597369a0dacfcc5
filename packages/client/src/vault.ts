/** Where a session is remembered: a small record that outlives the page. It never holds an access token. */
import type { Page } from './page.ts'

/** A place for one text that outlives the app: a keychain, a file. Its functions must not call the client. */
export interface TokenStore {
  /** @returns what was saved last, or null or undefined */
  load(): string | null | undefined | Promise<string | null | undefined>
  /** Keeps the text, a secret of some 200 characters. Must have it safe before the promise resolves. */
  save(text: string): void | Promise<void>
  clear(): void | Promise<void>
}

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

/** Without a store, localStorage holds the record; one with a refresh token in it stays in memory. */
export function openVault(name: string, { storage }: Page, store?: TokenStore) {
  const place = store ?? storageAsStore(name, storage)
  let inMemory: SessionRecord | undefined
  let lastOperation: Promise<unknown> = Promise.resolve()

  /** One after the other, so that a logout's clear is never overtaken by a save that began before it. */
  function inOrder<Result>(operation: () => Promise<Result>): Promise<Result> {
    const result = lastOperation.then(operation)
    lastOperation = result.catch(() => undefined)
    return result
  }

  return {
    load: () => inOrder(async () => inMemory ?? parseRecord(await place.load())),
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
  }
}

/** A full or forbidden localStorage is not worth failing for: then the record lasts as long as the page. */
function storageAsStore(name: string, storage: Page['storage']): TokenStore {
  let text: string | undefined
  let isUsable = storage !== undefined
  return {
    load: () => (isUsable ? storage?.getItem(name) : text),
    save: (next) => {
      text = next
      try {
        storage?.setItem(name, next)
      } catch {
        isUsable = false
      }
    },
    clear: () => {
      text = undefined
      storage?.removeItem(name)
    },
  }
}

function parseRecord(text: string | null | undefined): SessionRecord | undefined {
  try {
    const record = JSON.parse(text ?? '')
    return typeof record.label === 'string' && typeof record.key === 'string' ? record : undefined
  } catch {
    return undefined
  }
}
