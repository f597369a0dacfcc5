/** Shows what happened: one function for each part of the page. */
import { breakable, create, fillFacts, find } from './dom.ts'
import type { Anatomy } from './token.ts'
import type { Exchange } from './wire.ts'

export type Mood = 'good' | 'warn' | 'bad'

export interface Note {
  id: string
  text: string
}

const MAX_ROWS = 9
const LONGEST_SHOWN = 24

export function showStatus(text: string, mood: Mood = 'good'): void {
  const status = find('status', HTMLElement)
  status.dataset.mood = mood
  status.textContent = text
}

export function showState(state: 'in' | 'out' | 'offline' | 'unanswered'): void {
  const pill = find('state', HTMLElement)
  pill.dataset.state = state
  pill.textContent = { in: 'Logged in', out: 'Logged out', offline: 'Offline', unanswered: 'No answer' }[state]
}

/**
 * Shows what is for those who are logged in, or for those who are not; a focus that goes with it moves to its heading,
 * or to the story of the trouble that ended the session.
 */
export function showSignedIn(isSignedIn: boolean): void {
  const vanishing = document.activeElement?.closest(isSignedIn ? '.signed-out' : '.signed-in')
  const told = document.activeElement?.closest('.trouble')?.querySelector<HTMLElement>('.steps')
  for (const button of document.querySelectorAll<HTMLButtonElement>('.trouble button')) button.disabled = !isSignedIn
  for (const element of document.querySelectorAll<HTMLElement>('.signed-in')) element.hidden = !isSignedIn
  for (const element of document.querySelectorAll<HTMLElement>('.signed-out')) element.hidden = isSignedIn
  // What belongs to one user is not there for a moment when the next one logs in.
  if (!isSignedIn) for (const list of document.querySelectorAll('.signed-in :is(dl, ol, ul)')) list.replaceChildren()
  vanishing?.closest('section')?.querySelector('h2')?.focus()
  if (!isSignedIn) told?.focus()
}

export function showUser({ id, email, email_verified }: { id: string; email: string; email_verified: boolean }): void {
  fillFacts(find('user', HTMLElement), { email, id, verified: email_verified ? 'yes' : 'not yet' }, ['email', 'id'])
  find('verify', HTMLButtonElement).hidden = email_verified
}

export function showAnatomy({ header, parts }: Anatomy): void {
  const { alg, enc, cty, kid, iss, aud, iat, exp, jti } = header
  const facts = { alg, enc, cty, kid, iss, aud, iat: timeOf(iat), exp: timeOf(exp), jti }
  fillFacts(find('header', HTMLElement), facts, ['kid', 'iat', 'exp', 'jti'])
  const items = parts.map(({ name, length }) => {
    const item = create('li', {}, name, create('span', {}, `${length} characters`))
    item.style.flexGrow = String(Math.sqrt(length))
    return item
  })
  find('parts', HTMLElement).replaceChildren(...items)
}

export function showClaims({ iat, exp, ...claims }: Record<string, unknown> & { iat: number; exp: number }): void {
  const facts = { ...claims, iat: timeOf(iat), exp: timeOf(exp) }
  fillFacts(find('claims', HTMLElement), facts, ['sub', 'sid', 'jti', 'iat', 'exp'])
}

export function showTimeLeft(seconds: number, ofSeconds: number): void {
  const shown = Math.max(0, Math.ceil(seconds))
  const clock = `${Math.floor(shown / 60)}:${String(shown % 60).padStart(2, '0')}`
  find('time-left', HTMLElement).textContent = shown > 0 ? clock : 'ended'
  const bar = find('time-bar', HTMLProgressElement)
  bar.value = shown / ofSeconds
}

/** The body of a register or login, as it went out. */
export function showSent({ sent }: Exchange): void {
  const isEncrypted = sent.includes('__front_enc__')
  const kind = find('sent-kind', HTMLElement)
  kind.textContent = isEncrypted ? 'encrypted' : 'readable'
  kind.dataset.mood = isEncrypted ? 'good' : 'warn'
  const body = JSON.parse(sent)
  find('sent-body', HTMLElement).textContent = JSON.stringify(
    body,
    (_name, value) => (isEncrypted ? shorten(value) : value),
    2,
  )
  find('sent', HTMLElement).hidden = false
}

export function hideSent(): void {
  find('sent-body', HTMLElement).textContent = ''
  find('sent', HTMLElement).hidden = true
}

export function showNotes(notes: Note[], remove: (note: Note) => void): void {
  const items = notes.map((note) => {
    const button = create('button', { type: 'button', onclick: () => remove(note) }, 'Delete')
    button.setAttribute('aria-label', `Delete the note: ${note.text}`)
    return create('li', {}, create('span', {}, note.text), button)
  })
  const none = create('li', { className: 'empty' }, 'No notes yet.')
  find('notes', HTMLElement).replaceChildren(...(items.length > 0 ? items : [none]))
}

export type Tell = (text: string) => void

export function clearStories(): void {
  for (const steps of document.querySelectorAll('.steps')) steps.replaceChildren()
}

/** @returns adds a step to the story below the button, and keeps both in sight */
export function startStory(button: HTMLElement): Tell {
  clearStories()
  const trouble = button.closest('.trouble')
  return (text) => {
    trouble?.querySelector('.steps')?.append(create('li', {}, text))
    trouble?.scrollIntoView({ block: 'nearest' })
  }
}

/** What one of the two other servers says of the token. */
export function showVerdict(server: string, text: string, mood: Mood): void {
  const verdict = find(`${server}-verdict`, HTMLElement)
  verdict.dataset.mood = mood
  if (verdict.textContent !== text) verdict.textContent = text // else it would be read out again
}

const rows = new WeakMap<Exchange, HTMLTableRowElement>()

/** A request that is shown already gets its answer. */
export function showExchange(exchange: Exchange): void {
  const { method, path, key, answer, outcome, by } = exchange
  const table = find('activity', HTMLElement)
  const row = rows.get(exchange) ?? create('tr')
  const keyCell = create('td', {}, key ? `${key.slice(0, 8)}…` : '')
  if (key) keyCell.dataset.varies = 'key'
  const answerCell = create('td', {}, breakable(outcome === 'lost' ? 'lost' : (answer ?? '…')))
  answerCell.dataset.mood = outcome === 'answered' ? 'good' : outcome === 'waiting' ? '' : 'bad'
  const requestCell = create('td', {}, breakable(`${method} ${path}`))
  if (by) {
    const tag = create('span', { className: 'tag' }, by)
    tag.dataset.mood = 'bad'
    requestCell.append(' ', tag)
  }
  row.replaceChildren(requestCell, keyCell, answerCell)
  if (!rows.has(exchange)) table.prepend(row)
  rows.set(exchange, row)
  while (table.children.length > MAX_ROWS) table.lastElementChild?.remove()
}

function shorten(value: unknown): unknown {
  if (typeof value !== 'string' || value.length <= LONGEST_SHOWN) return value
  return `${value.slice(0, LONGEST_SHOWN / 2)}… (${value.length} characters)`
}

function timeOf(epochSeconds: number): string {
  return `${epochSeconds} (${new Date(epochSeconds * 1000).toLocaleTimeString('en-GB')})`
}
