/** Everything that a visitor can do, from the first account to the last logout. */
import assert from 'node:assert/strict'
import type { Locator, Page } from 'playwright-core'
import { call } from '../../test/support/server.ts'
import { fact, fillIn, inChromium, keysOf, loggedIn, loggedOut, press, REFRESH, status } from './support/visitor.ts'

inChromium('a visitor', (visit) => {
  const wrongPassword = /^\/auth\/login: .* status of 401/
  visit('walks through the whole page', { causes: [wrongPassword] }, async (visitor) => {
    const { credentials } = visitor
    const tab = await visitor.open()
    await loggedOut(tab)

    await fillIn(tab, credentials)
    await press(tab, 'Create account')
    await status(tab, 'The account is made, and you are logged in.')
    await loggedIn(tab)
    assert.deepEqual(JSON.parse(await sent(tab, 'readable')), { email: credentials.email, password: '••••••••' })
    await press(tab, 'Log out')
    await loggedOut(tab)
    assert.equal(await tab.getByLabel('Password').inputValue(), '', 'the password does not stay')

    await fillIn(tab, { ...credentials, password: 'not the password 1' })
    await press(tab, 'Log in')
    await status(tab, 'The email or the password is wrong.')
    assert.equal(await tab.getByLabel('Password').inputValue(), '', 'nor does a wrong one')

    await fillIn(tab, credentials)
    await tab.getByRole('switch', { name: 'Encrypt before sending' }).check()
    await press(tab, 'Log in')
    await loggedIn(tab)
    const encrypted = await sent(tab, 'encrypted')
    assert.deepEqual(Object.keys(JSON.parse(encrypted).__front_enc__), ['kid', 'alg', 'enc', 'cek', 'iv', 'ct'])
    const body = visitor.of('/auth/login').at(-1)?.postData() ?? ''
    for (const text of [encrypted, body])
      for (const secret of Object.values(credentials)) assert.ok(!text.includes(secret))

    await press(tab, 'Who am I?')
    await status(tab, `You are ${credentials.email}, says the server.`)
    assert.equal(await fact(tab, 'user', 'email'), credentials.email)
    assert.equal(await fact(tab, 'user', 'verified'), 'not yet')
    await press(tab, 'Verify email')
    await status(tab, 'The operator says that the email is yours.')
    assert.equal(await fact(tab, 'user', 'verified'), 'yes')
    assert.equal(await tab.getByRole('button', { name: 'Verify email' }).isVisible(), false)

    assert.equal(await fact(tab, 'header', 'alg'), 'ECDH-ES+A256KW')
    assert.equal(await fact(tab, 'header', 'cty'), 'JWT')
    assert.equal(await fact(tab, 'claims', 'sub'), await fact(tab, 'user', 'id'))
    assert.equal(await tab.locator('#parts li').count(), 5)
    const first = await fact(tab, 'header', 'jti')
    assert.equal(await fact(tab, 'claims', 'jti'), first)
    await timeLeftBelow(tab, 120)

    await press(tab, 'Refresh now')
    await status(tab, 'There is a new access token')
    assert.notEqual(await fact(tab, 'header', 'jti'), first)
    assert.equal(await fact(tab, 'claims', 'jti'), await fact(tab, 'header', 'jti'))

    await tab.getByLabel('New note').fill('<b>Buy milk</b>')
    await press(tab, 'Add note')
    assert.deepEqual(await notesIn(tab), ['<b>Buy milk</b>'])
    await tab.getByRole('button', { name: 'Delete the note: <b>Buy milk</b>' }).click()
    await status(tab, 'The note is deleted.')
    assert.deepEqual(await notesIn(tab), [])

    await press(tab, 'Log out')
    await loggedOut(tab)
    assert.equal(await tab.locator('#sent').isVisible(), false)
    assert.deepEqual(await visitor.context.cookies(`${tab.url()}auth/`), [])
  })

  visit('loses the answer of a refresh, and the retry succeeds', { causes: [lost] }, async (visitor) => {
    const tab = await visitor.enter()
    const session = await fact(tab, 'claims', 'sid')
    await press(tab, 'Drop the answer of a refresh')
    await status(tab, 'An answer was lost, and the retry succeeded.')
    assert.equal((await storyIn(tab, 3)).length, 3)
    const [key, again] = await keysOf(visitor.of(REFRESH))
    assert.ok(key)
    assert.equal(key, again)
    await isStill(tab, session)
  })

  visit('sets the database back, and the session goes on', {}, async (visitor) => {
    const tab = await visitor.enter()
    const session = await fact(tab, 'claims', 'sid')
    for (let round = 1; round <= 2; round++) {
      await press(tab, 'Set the database back')
      assert.match((await storyIn(tab, 4)).join(' '), /never heard of that token.* rotated all the same/)
    }
    await isStill(tab, session)
  })

  const refused = /^\/auth\/(me|token\/refresh): .* status of 401/
  visit('rotates all keys, and the session goes on', { causes: [refused] }, async (visitor) => {
    const tab = await visitor.enter()
    const session = await fact(tab, 'claims', 'sid')
    for (let round = 1; round <= 2; round++) {
      const kid = await fact(tab, 'header', 'kid')
      await press(tab, 'Rotate all keys now')
      const [before = '', , after = ''] = await storyIn(tab, 4)
      const newKid = await fact(tab, 'header', 'kid')
      assert.notEqual(newKid, kid)
      assert.ok(before.includes(kid.slice(0, 8)), before)
      assert.ok(after.includes(newKid.slice(0, 8)), after)
      assert.equal(await verdictOf(tab, 'notes', 'lets it in'), 'lets it in')
    }
    await isStill(tab, session)
  })

  visit('replays a used refresh token, and the session is revoked', { causes: [refused] }, async (visitor) => {
    const tab = await visitor.enter()
    await press(tab, 'Replay a used refresh token')
    await loggedOut(tab)
    await status(tab, 'AUTH_TOKEN_REVOKED')
    assert.match((await storyIn(tab, 4))[1] ?? '', /A thief .* 401 AUTH_TOKEN_REVOKED/)
    assert.equal(await tab.evaluate(() => document.activeElement?.ariaLabel), 'What happened', 'the eye stays on it')
    assert.equal(await tab.getByText('Log in first').isVisible(), false, 'that would stand above its own explanation')
    assert.match(await verdictOf(tab, 'greeting', 'refused it'), /after [1-9]\d? s: AUTH_TOKEN_REVOKED/)

    await fillIn(tab, visitor.credentials)
    await press(tab, 'Log in')
    await loggedIn(tab)
    await verdictOf(tab, 'greeting', /^lets it in/)
  })

  visit('logs out, and sees which server hears of it', {}, async (visitor) => {
    const tab = await visitor.enter()
    for (const server of ['notes', 'greeting'] as const) await verdictOf(tab, server, /^lets it in/)
    await press(tab, 'Log out')
    await verdictOf(tab, 'greeting', /refused it after [1-9]\d? s: AUTH_TOKEN_REVOKED/)
    await verdictOf(tab, 'notes', 'still lets it in')
  })

  for (const [screen, viewport] of Object.entries({
    desk: { width: 1280, height: 800 },
    phone: { width: 390, height: 844 },
  }))
    visit(
      `has each story in view beside its button (${screen})`,
      { viewport, causes: [lost, refused] },
      async (visitor) => {
        const tab = await visitor.enter()
        const names = [
          'Drop the answer of a refresh',
          'Set the database back',
          'Rotate all keys now',
          'Replay a used refresh token',
        ]
        for (const name of names) {
          await press(tab, name)
          await storyIn(tab, name === names[0] ? 3 : 4)
          await isInView(tab.getByRole('button', { name }))
          for (const step of await tab.locator('.steps li').all()) await isInView(step)
        }
        const thief = tab.locator('#activity tr', { hasText: 'a thief' })
        assert.match((await thief.textContent()) ?? '', /POST \/auth\/token\/refresh a thief401 AUTH_TOKEN_REVOKED/)
        if (screen === 'desk') await isInView(thief)
      },
    )

  const notTaken = /^\/notes.*: .* status of (409|500)/
  visit('is told what the notes server says', { causes: [notTaken] }, async (visitor, { demo }) => {
    const tab = await visitor.enter()
    const { body } = await call(demo.url, 'POST', '/auth/login', { body: visitor.credentials })
    const headers = { authorization: `Bearer ${body.access_token}` }
    for (let count = 1; count <= 50; count++)
      await call(demo.url, 'POST', '/notes', { headers, body: { text: `Note ${count}` } })
    await tab.getByLabel('New note').fill('One too many')
    await press(tab, 'Add note')
    await status(tab, 'There is room for 50 notes: delete one first.')
    assert.equal(await tab.getByLabel('New note').inputValue(), 'One too many', 'what was typed stays')

    await tab.reload()
    await tab.route('**/notes/*-*', (route) => route.fulfill({ status: 500 }))
    await tab.getByRole('button', { name: 'Delete the note: Note 50' }).click()
    await status(tab, 'The notes server answered 500.')
    assert.equal((await notesIn(tab)).length, 50)
  })

  visit('finds the notes of one account in no other', {}, async (visitor, { demo }) => {
    const tab = await visitor.enter()
    await tab.getByLabel('New note').fill('Mine')
    await press(tab, 'Add note')
    await press(tab, 'Log out')
    await loggedOut(tab)
    assert.doesNotMatch(await tab.content(), /Mine/)
    await fillIn(tab, { ...visitor.credentials, email: `other-${visitor.credentials.email}` })
    await press(tab, 'Create account')
    await loggedIn(tab)
    assert.deepEqual(await notesIn(tab), [])
    for (const path of ['/notes', '/notes/claims', '/greeting'])
      assert.equal((await fetch(demo.url + path)).status, 401)
  })
})

/** The head of the answer came, and half of the body. */
const lost = /^\/auth\/token\/refresh: .*ERR_CONTENT_LENGTH_MISMATCH/

async function sent(tab: Page, kind: 'readable' | 'encrypted'): Promise<string> {
  await tab.locator('#sent-kind').filter({ hasText: kind }).waitFor()
  return (await tab.locator('#sent-body').textContent()) as string
}

async function notesIn(tab: Page): Promise<string[]> {
  await tab.locator('#notes li').first().waitFor()
  return tab.locator('#notes li:not(.empty) span').allTextContents()
}

/** Waits until so many steps are told. */
async function storyIn(tab: Page, steps: number): Promise<string[]> {
  await tab
    .locator('.steps li')
    .nth(steps - 1)
    .waitFor()
  return tab.locator('.steps li').allTextContents()
}

/** Waits for what one of the two servers says of the token. */
async function verdictOf(tab: Page, server: 'notes' | 'greeting', text: string | RegExp): Promise<string> {
  const verdict = tab.locator(`#${server}-verdict`).filter({ hasText: text })
  return (await verdict.textContent()) as string
}

/** Asks the server who is logged in, and by which session. */
async function isStill(tab: Page, session: string): Promise<void> {
  await press(tab, 'Who am I?')
  await status(tab, 'You are ')
  assert.equal(await fact(tab, 'claims', 'sid'), session)
}

/** Whole, and not below the status, which floats above the page. */
async function isInView(element: Locator): Promise<void> {
  const { top, bottom, height, floor } = await element.evaluate((element) => ({
    ...element.getBoundingClientRect().toJSON(),
    floor: innerHeight,
  }))
  const ceiling = await element
    .page()
    .locator('#status')
    .evaluate((element) => element.getBoundingClientRect().bottom)
  assert.ok(top >= ceiling && bottom <= floor, `from ${top} to ${bottom}, in view is ${ceiling} to ${floor}`)
  assert.ok(height > 0)
}

/** Waits until the time left has gone down. */
async function timeLeftBelow(tab: Page, seconds: number): Promise<void> {
  await tab.waitForFunction((seconds) => {
    const [minutes, rest] = (document.querySelector('#time-left')?.textContent ?? '').split(':').map(Number)
    return Number(minutes) * 60 + Number(rest) < seconds
  }, seconds)
}
