/**
 * The picture that opens the README. Other fonts and another Chromium draw it a little differently, so it is written
 * only when it is missing or asked for, with `npm run screenshot`; each run checks that it can be drawn, and twice the
 * same.
 */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fillIn, inChromium, loggedIn, press, status, type Visitor, withVisitor } from './support/visitor.ts'

const PICTURE = join(import.meta.dirname, '../screenshot.png')
const LARGEST_BYTES = 240 * 1024
const DESK = { viewport: { width: 1280, height: 860 }, colorScheme: 'light', locale: 'en', timezoneId: 'UTC' } as const

/** What stands in the picture in place of what varies, by the name that the page marks it with. */
const SAMPLES: Record<string, string> = {
  email: 'ada@example.com',
  id: '5e781c5a-aca6-41cf-86e1-dc9b1b65d917',
  sub: '5e781c5a-aca6-41cf-86e1-dc9b1b65d917',
  sid: '3c4090d6-5bd7-4325-b52c-5ce7afe230dc',
  jti: 'f4f25efa-f76c-4cea-be57-50213f55d0f5',
  kid: '5fsUQj13wyFhSK0stG5ZGkbValJ5jvLAEnlWBKDJXh8',
  iat: '1767225600 (00:00:00)',
  exp: '1767225720 (00:02:00)',
  key: 'X2i5jaxQ…',
  'time left': '1:48',
}
/** Pixels below the last card of the picture. */
const MARGIN = 24
const SHARE_LEFT = 0.9

inChromium('the picture of the page', (visit) => {
  const lost = /^\/auth\/token\/refresh: .*ERR_CONTENT_LENGTH_MISMATCH/
  visit('is drawn twice the same', { ...DESK, causes: [lost] }, async (visitor, place) => {
    const picture = await draw(visitor)
    await withVisitor(place, { ...DESK, causes: [lost] }, async (other) => {
      assert.ok(picture.equals(await draw(other)))
    })
    assert.ok(picture.length <= LARGEST_BYTES, `${picture.length} bytes`)
    if (process.env.npm_lifecycle_event === 'screenshot' || !existsSync(PICTURE)) await writeFile(PICTURE, picture)
  })
})

async function draw(visitor: Visitor): Promise<Buffer> {
  const tab = await visitor.open()
  await fillIn(tab, visitor.credentials)
  await tab.getByRole('switch').check()
  await press(tab, 'Create account')
  await loggedIn(tab)
  await press(tab, 'Drop the answer of a refresh')
  await status(tab, 'the retry succeeded')
  await tab.evaluate(
    ({ samples, shareLeft }) => {
      const random = /(?<=")[\w-]{12}(?=…)|(?<=")[\w-]{16}(?=")/g
      const sameLength = (text: string, at: number) => (samples.kid as string).slice(at % 27).slice(0, text.length)
      for (let timer = window.setTimeout(() => {}); timer > 0; timer--) clearTimeout(timer)
      for (const element of document.querySelectorAll<HTMLElement>('[data-varies]')) {
        const name = element.dataset.varies as string
        const sample = name === 'sent' ? element.innerText.replace(random, sameLength) : samples[name]
        if (!sample) throw new Error(`there is no sample of ${name}`)
        element.textContent = sample
      }
      document.querySelector('progress')?.setAttribute('value', String(shareLeft))
      ;(document.activeElement as HTMLElement).blur()
      scrollTo(0, 0)
    },
    { samples: SAMPLES, shareLeft: SHARE_LEFT },
  )
  await tab.mouse.move(0, 0)
  const card = await tab.locator('section', { has: tab.locator('.steps li') }).boundingBox()
  const height = Math.ceil((card?.y ?? 0) + (card?.height ?? 0)) + MARGIN
  return tab.screenshot({ fullPage: true, clip: { x: 0, y: 0, width: DESK.viewport.width, height } })
}
