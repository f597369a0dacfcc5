/** What the tabs of an origin tell each other. No refresh token is ever among it. */
import type { AuthErrorCode } from './errors.ts'
import type { Page } from './page.ts'
import type { CurrentSession } from './session.ts'
import type { Tokens } from './types.ts'
import type { SessionRecord, TokenStore, Vault } from './vault.ts'

type Message =
  | { kind: 'login' | 'refresh'; label: string; tokens: Tokens }
  | { kind: 'logout'; label: string | undefined; reason?: AuthErrorCode }

export type Tabs = ReturnType<typeof openTabs>

export function openTabs(channel: Page['channel'], session: CurrentSession, vault: Vault, store?: TokenStore) {
  let isOpen = true

  function post(message: Message): void {
    if (isOpen) channel?.postMessage(message)
  }

  async function receive(message: Message): Promise<void> {
    const { signal } = session
    if (message.kind === 'logout') {
      if (session.current?.label === message.label) session.leave(message.reason)
    } else {
      const isCurrent = session.current?.label === message.label
      const isOurs = message.kind === 'refresh' ? isCurrent : await concernsUs(message.label)
      // A logout here may have come first.
      if (isOurs && !signal.aborted) session.enter(message.label, message.tokens)
    }
    session.tell()
  }

  /** All tabs have the same cookies, but not every client the same store. */
  async function concernsUs(label: string): Promise<boolean> {
    return !store || (await vault.load())?.label === label
  }

  // A store that cannot be read is reported to whoever calls next.
  if (channel) channel.onmessage = ({ data }) => void receive(data).catch(() => undefined)

  return {
    /** A token that stays in this page's memory alone is no business of the other tabs. */
    share(kind: 'login' | 'refresh', { label }: SessionRecord, { refresh_token, ...tokens }: Tokens): void {
      if (store || !refresh_token) post({ kind, label, tokens })
    },
    /** @param reason the server's, if it ended the session */
    shareEnd(label: string | undefined, reason?: AuthErrorCode): void {
      post({ kind: 'logout', label, ...(reason && { reason }) })
    },
    close(): void {
      isOpen = false
      channel?.close()
    },
  }
}
