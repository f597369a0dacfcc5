/** The page by keyboard alone, and what axe-core finds in each of its states. */
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import type axe from 'axe-core'
import type { Page } from 'playwright-core'
import { fillIn, inChromium, loggedIn, loggedOut, press, status } from './support/visitor.ts'

const AXE = await readFile(fileURLToPath(import.meta.resolve('axe-core/axe.min.js')), 'utf8')

const SCREENS = { phone: { width: 390, height: 844 }, desk: { width: 1280, height: 860 } }
/** Pixels; the width that WCAG 2.2, criterion 1.4.10, wants no sideways scrolling at. */
const NARROWEST = 320

inChromium('the page', (visit) => {
  const causes = [
    /^\/auth\/token\/refresh: .*ERR_CONTENT_LENGTH_MISMATCH/,
    /^\/auth\/(login|me|token\/refresh): .* status of 401/,
  ]
  for (const [screen, viewport] of Object.entries(SCREENS))
    for (const colorScheme of ['light', 'dark'] as const)
      visit(`shuts nobody out (${screen}, ${colorScheme})`, { viewport, colorScheme, causes }, async (visitor) => {
        const tab = await visitor.open()
        await isAccessible(tab, 'logged out')
        await fillIn(tab, visitor.credentials)
        await press(tab, 'Log in')
        await status(tab, 'The email or the password is wrong.')
        await isAccessible(tab, 'refused')
        await tab.close()

        const own = await visitor.enter()
        await own.getByLabel('New note').fill('A note as long as a note can be, '.repeat(6))
        await press(own, 'Add note')
        await isAccessible(own, 'logged in')
        await press(own, 'Drop the answer of a refresh')
        await isAccessible(own, 'after a lost answer')
        await visitor.context.setOffline(true)
        await status(own, 'You are offline.')
        await isAccessible(own, 'offline')
        await visitor.context.setOffline(false)
        await status(own, 'You are online again.')
        await press(own, 'Replay a used refresh token')
        await own.locator('.steps li').nth(3).waitFor()
        await own.locator('#greeting-verdict').filter({ hasText: 'refused it' }).waitFor()
        await isAccessible(own, 'revoked')
      })

  visit('is walked by keyboard alone', { causes }, async (visitor) => {
    const tab = await visitor.open()
    const { keyboard } = tab
    await tabTo(tab, 'Skip to the content')
    await keyboard.press('Enter')
    await tabTo(tab, 'Email')
    await keyboard.type(visitor.credentials.email)
    await tabTo(tab, 'Password')
    await keyboard.type(visitor.credentials.password)
    await tabTo(tab, 'Encrypt before sending')
    await keyboard.press('Space')
    assert.ok(await tab.getByRole('switch').isChecked())
    await tabTo(tab, 'Create account')
    await keyboard.press('Space')
    await loggedIn(tab)
    assert.equal(await focused(tab), 'Account', 'the form is gone, its heading has the focus')

    await tabTo(tab, 'Refresh now')
    await keyboard.press('Enter')
    await status(tab, 'There is a new access token')
    await tabTo(tab, 'Who am I?')
    await keyboard.press('Enter')
    await status(tab, visitor.credentials.email)
    await tabTo(tab, 'Verify email')
    await keyboard.press('Enter')
    await status(tab, 'The operator says that the email is yours.')
    assert.equal(await focused(tab), 'Who am I?', 'the button is gone, the one beside it has the focus')
    await tabTo(tab, 'Drop the answer of a refresh')
    await keyboard.press('Enter')
    await status(tab, 'the retry succeeded')
    await tabTo(tab, 'New note')
    await keyboard.type('By keyboard')
    await keyboard.press('Enter')
    await status(tab, 'The note is kept.')
    await tabTo(tab, 'Delete the note: By keyboard')
    await keyboard.press('Enter')
    await status(tab, 'The note is deleted.')
    assert.equal(await focused(tab), 'New note')
    await tabTo(tab, 'Replay a used refresh token', 'Shift+Tab')
    await keyboard.press('Enter')
    await loggedOut(tab)
    assert.equal(await focused(tab), 'What happened')

    await tab.getByLabel('Password').focus()
    await keyboard.type(visitor.credentials.password)
    await keyboard.press('Enter')
    await loggedIn(tab)
    await tabTo(tab, 'Log out')
    await keyboard.press('Enter')
    await loggedOut(tab)
    assert.equal(await focused(tab), 'Account')
  })
})

async function isAccessible(tab: Page, state: string): Promise<void> {
  await tab.evaluate(AXE)
  const { violations, passes } = await tab.evaluate(() => (globalThis as unknown as { axe: typeof axe }).axe.run())
  assert.ok(passes.length > 20, 'axe has looked')
  const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target).join(', ')}`)
  assert.deepEqual(found, [], state)

  const viewport = tab.viewportSize() ?? SCREENS.desk
  for (const width of [viewport.width, NARROWEST]) {
    await tab.setViewportSize({ ...viewport, width })
    const overflow = await tab.evaluate(() => document.documentElement.scrollWidth - innerWidth)
    assert.ok(overflow <= 0, `${state}, ${width} wide: ${overflow} pixels too many`)
  }
  await tab.setViewportSize(viewport)
}

/** Goes on with the key until the element has the focus; on the way there each focus must be seen. */
async function tabTo(tab: Page, name: string, key = 'Tab'): Promise<void> {
  for (let presses = 1; presses <= 20; presses++) {
    await tab.keyboard.press(key)
    const outline = await tab.evaluate(() => document.activeElement && getComputedStyle(document.activeElement).outline)
    assert.match(outline ?? '', /solid 3px/, `the focus on ${await focused(tab)}`)
    if ((await focused(tab)) === name) return
  }
  assert.fail(`the keyboard does not get to ${name}`)
}

/** The name of the element that has the focus, as a screen reader tells it. */
function focused(tab: Page): Promise<string> {
  return tab.evaluate(() => {
    const element = document.activeElement as HTMLElement
    return element.ariaLabel ?? (element as HTMLInputElement).labels?.[0]?.textContent ?? element.textContent ?? ''
  })
}
