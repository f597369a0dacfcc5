/** The page: what each button does with the client, and what the client's answers change on the page. */
import { AuthClientError, createAuthClient } from '../../packages/client/src/index.ts'
import { find } from './dom.ts'
import { anatomyOf } from './token.ts'
import * as views from './views.ts'
import { codeIn, createTellingFetch, type Exchange } from './wire.ts'

const REFRESH = '/auth/token/refresh'
/** Sooner than that the client gets a new one by itself; asking it for a token then would hurry it. */
const LEEWAY_SECONDS = 8
/** Once the shown token has ended, the client is asked so seldom: each time it may try the server several times. */
const PAUSE_SECONDS = 30
/** The two servers that take the token, each with a question of it. */
const SERVERS = { notes: '/notes/claims', greeting: '/greeting' } as const

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
    views.clearStories()
    views.showStatus('You are logged in.')
    void during(undefined, enter)
  } else {
    if (shownToken) watchServers(shownToken)
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
    try {
      if (button.value === 'register') await auth.register(credentials)
      await auth.login(credentials)
    } finally {
      password.value = ''
    }
    if (button.value === 'register') views.showStatus('The account is made, and you are logged in.')
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
onClick('verify', async () => {
  await askDemo('verify-email')
  views.showUser(await auth.me())
  find('me', HTMLButtonElement).focus() // the button itself is gone
  views.showStatus('The operator says that the email is yours. Your application would have sent a link first.')
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
  const notes = await auth.fetch(SERVERS.notes)
  if (token !== shownToken) return // its session has ended meanwhile
  await showVerdict('notes', notes)
  if (notes.ok) views.showClaims(await notes.json())
  const greeting = await auth.fetch(SERVERS.greeting)
  if (token === shownToken) await showVerdict('greeting', greeting)
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

onTrouble('lose', async (tell) => {
  await askDemo('lose-next-answer')
  const seen = { lostKey: null as string | null, isRepeated: false }
  watchRefresh = ({ key, outcome }) => {
    if (outcome === 'lost') {
      tell('The server has rotated the refresh token, but its answer never came. The client still has the old one.')
      seen.lostKey = key
    } else if (outcome === 'answered' && key === seen.lostKey) {
      tell('It asked again with the same Idempotency-Key, and got the same new token.')
      seen.isRepeated = true
    }
  }
  await auth.refresh().finally(() => {
    watchRefresh = undefined
  })
  await showToken()
  if (!seen.isRepeated)
    return views.showStatus('Another tab refreshed first, and this one got its result: try again.', 'warn')
  views.showStatus('An answer was lost, and the retry succeeded.')
  tell('You are still logged in.')
})

onTrouble('set-back', async (tell) => {
  await askDemo('copy-session')
  await auth.refresh()
  tell('The session was backed up, then this page refreshed, so its refresh token is newer than the backup.')
  await askDemo('set-session-back')
  tell('The backup is restored: the database has never heard of that token.')
  await auth.refresh()
  await showToken()
  tell('The token proves by its own MAC that the module issued it later, so it was rotated all the same.')
  views.showStatus('The database was set back, and you are still logged in.')
  tell('The module’s log, where the demo was started, says token.refresh.ahead, once a minute at most.')
})

onTrouble('rotate', async (tell) => {
  const before = (await auth.refresh()).access_token
  await showToken()
  await askDemo('rotate-keys')
  tell(`The page got a token made with the key ${keyOf(before)}, then all keys were replaced, and that one ended.`)
  await auth.me()
  tell('Asked with that token, the module answered 401, and the client got another by a refresh.')
  await showToken()
  const after = await auth.getAccessToken()
  if (after) tell(`It is made with the key ${keyOf(after)}, which notes did not know: it has fetched the new keys.`)
  views.showStatus('All keys are new, and you are still logged in.')
  tell('Refresh tokens depend on none of them, so nobody has to log in again.')
})

onTrouble('replay', async (tell) => {
  await auth.refresh()
  tell('This page refreshed, so its previous refresh token is used.')
  const response = await askDemo('replay-used-token')
  const { status, code } = await response.json()
  const answer = `${status} ${code}`
  views.showExchange({ method: 'POST', path: REFRESH, key: null, sent: '', answer, outcome: 'refused', by: 'a thief' })
  tell(`A thief shows the used one, and is answered ${answer}.`)
  const refusal = await auth.me().catch((error) => error)
  if (!(refusal instanceof AuthClientError)) return
  tell(`Nobody can tell thief from owner, so the session has ended for both: this page gets ${refusal.code} too.`)
  tell('Greetings refuses the access token within seconds, notes when it ends, here within two minutes.')
})

function keyOf(token: string): string {
  return `${String(anatomyOf(token).header.kid).slice(0, 8)}…`
}

type DemoOnly =
  | 'verify-email'
  | 'lose-next-answer'
  | 'copy-session'
  | 'set-session-back'
  | 'rotate-keys'
  | 'replay-used-token'

/** What only the demo's proxy offers; a real server has nothing like it. */
async function askDemo(name: DemoOnly): Promise<Response> {
  const response = await tellingFetch(`/auth/demo-only/${name}`, { method: 'POST' })
  if (!response.ok) throw new Error('The demo knows nothing of this session yet: refresh first.')
  return response
}

// ---------------------------------------------------------------- the two servers

/** After the session's end: asks each of them every second with its last token, until the token is refused. */
function watchServers(token: string): void {
  const endedAtMs = performance.now()
  for (const server of ['notes', 'greeting'] as const) void watch(server)

  async function watch(server: keyof typeof SERVERS): Promise<void> {
    const response = await fetch(SERVERS[server], { headers: { authorization: `Bearer ${token}` } }).catch(() => null)
    if (shownToken !== null) return // another session has begun
    if (response) await showVerdict(server, response, (performance.now() - endedAtMs) / 1000)
    if (response?.status !== 401) setTimeout(() => watch(server), 1000)
  }
}

async function showVerdict(server: keyof typeof SERVERS, response: Response, secondsAfterEnd?: number): Promise<void> {
  if (response.ok && secondsAfterEnd === undefined) return views.showVerdict(server, 'lets it in', 'good')
  if (response.ok) return views.showVerdict(server, 'still lets it in', 'warn')
  const since = secondsAfterEnd === undefined ? '' : ` after ${Math.ceil(secondsAfterEnd)} s`
  views.showVerdict(server, `refused it${since}: ${codeIn(await response.text()) ?? response.status}`, 'bad')
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

function onTrouble(id: string, work: (tell: views.Tell) => Promise<void>): void {
  onClick(id, () => work(views.startStory(find(id, HTMLButtonElement))))
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
