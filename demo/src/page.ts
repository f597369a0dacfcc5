/** The page: what each button does with the client, and what the client's answers change on the page. */
import { AuthClientError, createAuthClient } from '../../packages/client/src/index.ts'
import { find } from './dom.ts'
import { anatomyOf } from './token.ts'
import * as views from './views.ts'
import { createTellingFetch, type Exchange } from './wire.ts'

const REFRESH = '/auth/token/refresh'
/** Sooner than that the client gets a new one by itself; asking it for a token then would hurry it. */
const LEEWAY_SECONDS = 8
/** Once the shown token has ended, the client is asked so seldom: each time it may try the server several times. */
const PAUSE_SECONDS = 30

/** Told of the refreshes that somebody wants to watch. */
let watchRefresh: ((exchange: Exchange) => void) | undefined
let shownToken: string | null = null
/** How many sessions have ended while this page looked on. */
let endings = 0
let lifetime = { expiresAtSeconds: 0, seconds: 1 }

const tellingFetch = createTellingFetch((exchange) => {
  views.showExchange(exchange)
  if (/^\/auth\/(login|register)$/.test(exchange.path)) views.showSent(exchange)
  if (exchange.path === REFRESH) watchRefresh?.(exchange)
})
const auth = createAuthClient({ baseUrl: '', fetch: tellingFetch })

// ---------------------------------------------------------------- logging in and out

auth.onAuthChange(({ kind, reason }) => {
  if (kind === 'refreshed') return
  const isLoggedIn = kind === 'loggedIn'
  showState(isLoggedIn)
  views.showSignedIn(isLoggedIn)
  if (isLoggedIn) {
    views.clearSteps()
    views.showStatus('You are logged in.')
    void during(undefined, enter)
  } else {
    shownToken = null
    endings++
    views.hideSent()
    const isRevoked = reason === 'AUTH_TOKEN_REVOKED'
    if (isRevoked) views.showStatus('The session was revoked: AUTH_TOKEN_REVOKED. Log in again.', 'bad')
    else if (reason) views.showStatus(`The session is over: ${reason}. Log in again.`, 'warn')
    else views.showStatus('You are logged out, in every tab.')
  }
})

async function enter(): Promise<void> {
  views.showUser(await auth.me())
  await showToken()
  await loadNotes()
}

find('credentials', HTMLFormElement).addEventListener('submit', (event) => {
  event.preventDefault()
  const button = event.submitter as HTMLButtonElement
  const email = find('email', HTMLInputElement).value
  const password = find('password', HTMLInputElement)
  const credentials = { email, password: password.value, encrypt: find('encrypt', HTMLInputElement).checked }
  void during(button, async () => {
    if (button.value === 'register') {
      await auth.register(credentials)
      views.showStatus('The account is made. Now log in.')
    } else {
      await auth.login(credentials)
      password.value = ''
    }
  })
})

onClick('logout', () =>
  auth.logout().catch(() => {
    views.showStatus('You are logged out here, but the server could not be told: there the session lives on.', 'bad')
  }),
)
onClick('me', async () => {
  const user = await auth.me()
  views.showUser(user)
  views.showStatus(`You are ${user.email}, says the server.`)
})
onClick('refresh', async () => {
  await auth.refresh()
  await showToken()
  views.showStatus('There is a new access token, and a new refresh token in the cookie.')
})

// ---------------------------------------------------------------- the access token

async function showToken(): Promise<void> {
  const token = await auth.getAccessToken()
  if (token === null || token === shownToken) return
  shownToken = token
  const anatomy = anatomyOf(token)
  const { iat, exp } = anatomy.header
  lifetime = { expiresAtSeconds: exp, seconds: exp - iat }
  showState(true)
  views.showAnatomy(anatomy)
  showTimeLeft()
  const response = await auth.fetch('/notes/claims')
  if (response.ok) views.showClaims(await response.json())
}

function showTimeLeft(): number {
  const seconds = lifetime.expiresAtSeconds - Date.now() / 1000
  views.showTimeLeft(seconds, lifetime.seconds)
  return seconds
}

let asksAgainAtMs = 0
setInterval(() => {
  if (shownToken === null) return
  const seconds = showTimeLeft()
  const asksAgain = seconds <= 0 && performance.now() >= asksAgainAtMs
  if (asksAgain) asksAgainAtMs = performance.now() + PAUSE_SECONDS * 1000
  if (asksAgain || seconds > LEEWAY_SECONDS) showToken().catch(() => undefined)
}, 1000)

// ---------------------------------------------------------------- notes

async function loadNotes(): Promise<void> {
  const response = await askNotes('/notes')
  views.showNotes(await response.json(), removeNote)
}

function removeNote({ id }: views.Note): void {
  void during(undefined, async () => {
    await askNotes(`/notes/${id}`, { method: 'DELETE' })
    await loadNotes()
    find('note', HTMLInputElement).focus()
    views.showStatus('The note is deleted.')
  })
}

find('new-note', HTMLFormElement).addEventListener('submit', (event) => {
  event.preventDefault()
  const input = find('note', HTMLInputElement)
  void during(event.submitter, async () => {
    await askNotes('/notes', { method: 'POST', body: JSON.stringify({ text: input.value }) })
    input.value = ''
    await loadNotes()
    views.showStatus('The note is kept.')
  })
})

/** @throws {Error} with what the notes server says when it refuses */
async function askNotes(path: string, init?: RequestInit): Promise<Response> {
  const response = await auth.fetch(path, init)
  if (response.ok) return response
  const { error } = await response.json().catch(() => ({}))
  throw new Error(error?.message ?? `The notes server answered ${response.status}.`)
}

// ---------------------------------------------------------------- trouble

onClick('lose', async () => {
  views.clearSteps()
  await askDemo('lose-next-answer')
  const seen = { lostKey: null as string | null, isRepeated: false }
  watchRefresh = ({ key, outcome }) => {
    if (outcome === 'lost') {
      views.showStep(
        'The server has rotated the refresh token, but its answer never came. The client still has the old one.',
      )
      seen.lostKey = key
    } else if (outcome === 'answered' && key === seen.lostKey) {
      views.showStep('It asked again with the same Idempotency-Key, and got the same new token.')
      seen.isRepeated = true
    }
  }
  await auth.refresh().finally(() => {
    watchRefresh = undefined
  })
  await showToken()
  if (!seen.isRepeated)
    return views.showStatus('Another tab refreshed first, and this one got its result: try again.', 'warn')
  views.showStep('You are still logged in.')
  views.showStatus('An answer was lost, and the retry succeeded.')
})

onClick('replay', async () => {
  views.clearSteps()
  await auth.refresh()
  views.showStep('This page refreshed, so its previous refresh token is used.')
  const response = await askDemo('replay-used-token')
  const { status, code } = await response.json()
  views.showStep(`A thief shows the used one, and is answered ${status} ${code}.`)
  const refusal = await auth.me().catch((error) => error)
  if (!(refusal instanceof AuthClientError)) return
  views.showStep(
    `Nobody can tell thief from owner, so the session has ended for both: this page gets ${refusal.code} too.`,
  )
  views.showStep('Servers such as notes learn of it when the access token ends, here within two minutes.')
})

/** What only the demo's proxy offers; a real server has nothing like it. */
async function askDemo(name: 'lose-next-answer' | 'replay-used-token'): Promise<Response> {
  const response = await tellingFetch(`/auth/demo-only/${name}`, { method: 'POST' })
  if (!response.ok) throw new Error('The demo has not seen a refresh of this session yet.')
  return response
}

// ---------------------------------------------------------------- the network

addEventListener('offline', () => {
  views.showState('offline')
  views.showStatus('You are offline. The session waits until you are back.', 'warn')
})
addEventListener('online', () => {
  views.showStatus('You are online again.')
  void during(undefined, async () => {
    if (shownToken === null) await start()
    else showState(true)
    await showToken()
  })
})

function showState(isLoggedIn: boolean): void {
  views.showState(navigator.onLine ? (isLoggedIn ? 'in' : 'out') : 'offline')
}

// ---------------------------------------------------------------- how a button works

function onClick(id: string, work: () => Promise<void>): void {
  const button = find(id, HTMLButtonElement)
  button.addEventListener('click', () => void during(button, work))
}

/** One at a time for each button; what goes wrong is told. */
async function during(button: HTMLElement | null | undefined, work: () => Promise<void>): Promise<void> {
  if (button?.ariaBusy === 'true') return
  if (button) button.ariaBusy = 'true'
  const endingsBefore = endings
  try {
    await work()
  } catch (error) {
    // A session that ended meanwhile has been told already.
    if (endings === endingsBefore) views.showStatus(explain(error), 'bad')
  } finally {
    if (button) button.ariaBusy = null
  }
}

function explain(error: unknown): string {
  if (!(error instanceof AuthClientError)) return error instanceof Error ? error.message : String(error)
  switch (error.code) {
    case 'AUTH_INVALID_CREDENTIALS':
      return 'The email or the password is wrong.'
    case 'AUTH_EMAIL_TAKEN':
      return 'There is an account with this email already: log in.'
    case 'AUTH_RATE_LIMIT':
      return `Too many attempts: wait ${error.retryAfterSeconds ?? 'a few'} seconds.`
    case 'CLIENT_NETWORK':
    case 'CLIENT_TIMEOUT':
      return 'No answer came. Nothing is lost: try again.'
    default:
      return `${error.message} (${error.code})`
  }
}

async function start(): Promise<void> {
  const token = await auth.getAccessToken().catch((error) => {
    views.showState(navigator.onLine ? 'unanswered' : 'offline')
    throw error
  })
  showState(token !== null)
  if (token === null) views.showStatus('Create an account, or log in if you have one.')
}

await during(undefined, start)
