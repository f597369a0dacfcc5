/** What the tabs of an origin tell and ask each other. No refresh token is ever among it. */
import { attempt } from './attempt.ts'
import type { AuthErrorCode } from './errors.ts'
import type { Page } from './page.ts'
import type { CurrentSession } from './session.ts'
import type { TokenStore, Tokens } from './types.ts'
import type { Vault } from './vault.ts'

type Message =
  /** New tokens, or what the next message asked for. */
  | { kind: 'login' | 'refresh'; label: string; tokens: Tokens; ageMs: number }
  /** Who has a token that lives longer than that? Without a label: of whichever session this browser has. */
  | { kind: 'ask'; label: string | undefined; beyondMs: number }
  | { kind: 'logout'; label: string | undefined; reason: AuthErrorCode | undefined }

export type Tabs = ReturnType<typeof openTabs>

/** Other tabs answer within some milliseconds, unless they are frozen. */
const ANSWER_MS = 100
/** A token that lives so much longer is worth taking over. */
const WORTH_MS = 5000

export function openTabs(channel: Page['channel'], session: CurrentSession, vault: Vault, store?: TokenStore) {
  let isOpen = true
  let asking: { signal: AbortSignal; onTokens: () => void } | undefined

  function post(message: Message): void {
    if (isOpen) attempt(() => channel?.postMessage(message))
  }

  /** A token that stays in this page's memory alone is no business of the other tabs. */
  function share(kind: 'login' | 'refresh', label: string, { refresh_token, ...tokens }: Tokens, ageMs = 0): void {
    if (store || !refresh_token) post({ kind, label, tokens, ageMs })
  }

  async function receive(message: Message): Promise<void> {
    const { signal, current } = session
    const { kind, label } = message
    const isCurrent = current?.label === label
    if (kind === 'ask') {
      const isMeant = isCurrent || (!label && !store)
      if (isMeant && current?.tokens && session.remainingMs > message.beyondMs)
        share('refresh', current.label, current.tokens, current.ageMs())
    } else if (kind === 'logout') {
      if (isCurrent) session.leave(message.reason)
    } else {
      const { tokens, ageMs } = message
      const isOurs = isCurrent || (kind === 'login' ? await concernsUs(label) : !current && asking?.signal === signal)
      const isOlder = isCurrent && tokens.expires_in * 1000 - ageMs < session.remainingMs
      // A logout here may have come first.
      if (isOurs && !isOlder && !signal.aborted) session.enter(label, tokens, ageMs)
      asking?.onTokens()
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
    share,
    /** @param reason the server's, if it ended the session */
    shareEnd(label: string | undefined, reason?: AuthErrorCode): void {
      post({ kind: 'logout', label, reason })
    },
    /** Asks for a token that lives longer than ours. Over when one has come, or none will. */
    async ask(): Promise<void> {
      if (!channel) return
      await new Promise<void>((resolve) => {
        setTimeout(resolve, ANSWER_MS)
        asking = { signal: session.signal, onTokens: resolve }
        post({ kind: 'ask', label: session.current?.label, beyondMs: session.remainingMs + WORTH_MS })
      })
      asking = undefined
    },
    close(): void {
      isOpen = false
      channel?.close()
    },
  }
}
