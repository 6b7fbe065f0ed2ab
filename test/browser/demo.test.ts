// The page at `/`, as built and served by the server itself, in Chromium.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from '@jest/globals'
import type { Page } from 'playwright-core'
import { newEmail, password } from '../support/app.ts'
import { temporaryFolder } from '../support/server.ts'
import { eventually, inBrowser, newUser, useStage } from './browser.ts'

const axe = readFileSync('node_modules/axe-core/axe.min.js', 'utf8')

/** Where in a page one of these secrets is. */
async function placesOf(secrets: string[]): Promise<string[]> {
  const places: Record<string, string> = {
    localStorage: JSON.stringify({ ...localStorage }),
    sessionStorage: JSON.stringify({ ...sessionStorage }),
    indexedDB: JSON.stringify(await indexedDB.databases()),
    caches: JSON.stringify(await caches.keys()),
    cookies: document.cookie,
    history: JSON.stringify(history.state) + location.href + document.referrer,
    name: window.name,
    elements: document.documentElement.outerHTML,
  }
  // Everything that can be reached from the global object.
  const seen = new Set<unknown>()
  const queue: unknown[] = [globalThis]
  for (let next = queue.pop(); next !== undefined; next = queue.pop())
    for (const key of Reflect.ownKeys(next as object)) {
      let value: unknown
      try {
        value = Reflect.get(next as object, key)
      } catch {
        continue
      }
      if (value instanceof Promise) value.catch(() => {})
      if (typeof value === 'string') places.globals = `${places.globals ?? ''} ${value}`
      if (value === null || !['object', 'function'].includes(typeof value) || seen.has(value)) continue
      seen.add(value)
      queue.push(value)
    }
  return Object.entries(places)
    .filter(([, text]) => secrets.some((secret) => text.includes(secret)))
    .map(([place]) => place)
}

inBrowser('the page to try the server', () => {
  const stage = useStage({ COOKIE_SECURE: 'true' })

  async function open(): Promise<Page> {
    const page = await stage.context.newPage()
    await page.goto(stage.server.url)
    return page
  }
  const status = (page: Page) => page.textContent('#status')
  const shows = (page: Page, text: string) =>
    eventually(async () => Boolean((await status(page))?.includes(text)))

  async function enter(page: Page, email: string, button = 'Log in'): Promise<void> {
    await page.getByLabel('E-mail address').fill(email)
    await page.getByLabel('Password').fill(password)
    await page.getByRole('button', { name: button, exact: true }).click()
    await shows(page, `Logged in as ${email}`)
  }

  test('register, claims and countdown, refresh, a protected route, sessions, log out here', async () => {
    const email = newEmail()
    const page = await open()
    await shows(page, 'Nobody is logged in')

    await enter(page, email, 'Register')
    const claims = await page.textContent('#claims')
    const left = await page.textContent('#countdown')
    await page.getByRole('button', { name: 'Refresh' }).click()
    await eventually(async () => (await page.textContent('#claims')) !== claims)
    await page.getByRole('button', { name: 'Call GET /users/me' }).click()
    await eventually(async () =>
      Boolean((await page.textContent('#log'))?.includes('/users/me with the token → 200')),
    )
    const sessions = await page.locator('#list li').allTextContents()
    await page.getByRole('button', { name: 'Here' }).click()
    await shows(page, 'Nobody is logged in. Logged out.')

    for (const name of ['iss', 'aud', 'sub', 'sid', 'role', 'jti', 'iat', 'exp'])
      expect(claims).toContain(name)
    expect(left).toMatch(/^(14 min \d+ s|15 min 0 s)$/)
    expect(sessions).toEqual([expect.stringMatching(/^This one, since .*End$/)])
    expect(await page.textContent('#claims')).toBe('')
    expect(await page.locator('#token').isVisible()).toBe(false)
    await page.reload()
    await shows(page, 'Nobody is logged in')
  })

  test('a reload restores the login; the token is in no storage, cookie of scripts, global, URL or element', async () => {
    const email = await newUser(stage)
    const page = await open()
    const urls: string[] = []
    const tokens: string[] = []
    page.on('request', (request) => urls.push(request.url()))
    page.on('response', async (answer) => {
      const content = await answer.json().catch(() => ({}))
      if (content.accessToken) tokens.push(content.accessToken)
    })
    await enter(page, email)

    await page.reload()
    await shows(page, 'The login has come back by the cookie.')
    await eventually(() => tokens.length === 2)
    const cookie = (await stage.context.cookies()).find(({ name }) => name === '__Host-refresh_token')?.value
    const secrets = [...tokens, String(cookie)].map((secret) => secret.slice(-40))
    const found = await page.evaluate(placesOf, secrets)
    await page.evaluate(([secret]) => {
      localStorage.setItem('token', String(secret))
      Object.assign(navigator, { deep: { inside: [secret] } })
    }, secrets)
    const planted = await page.evaluate(placesOf, secrets)

    expect(tokens).toHaveLength(2)
    expect(cookie).toMatch(/^ey/)
    expect(found).toEqual([])
    expect(planted).toEqual(['localStorage', 'globals'])
    expect(urls.filter((url) => url.includes('ey'))).toEqual([])
  })

  test('a second tab is logged in too; it follows a logout, and the login of somebody else', async () => {
    const [first, second] = [await newUser(stage), await newUser(stage)]
    const page = await open()
    await enter(page, first)
    const other = await open()
    await shows(other, `Logged in as ${first}`)

    await page.getByRole('button', { name: 'Here' }).click()
    await shows(other, 'Nobody is logged in. Logged out.')
    await enter(page, second)
    await shows(other, `Logged in as ${second}. Another tab has logged in.`)
  })

  test('two sessions are listed; one of them is ended here, and then all of them', async () => {
    const email = await newUser(stage) // Which has a session of its own.
    const page = await open()
    await enter(page, email)
    await eventually(async () => (await page.locator('#list li').count()) === 2)

    await page.locator('#list li', { hasNotText: 'This one' }).getByRole('button').click()
    await eventually(async () => (await page.locator('#list li').count()) === 1)
    await page.getByRole('button', { name: 'On every device' }).click()
    await shows(page, 'Nobody is logged in. Logged out.')
  })

  test('ending the session of this page logs out, and says why', async () => {
    const page = await open()
    await enter(page, await newUser(stage))

    await page.locator('#list li', { hasText: 'This one' }).getByRole('button').click()

    await shows(page, 'Nobody is logged in. The session was ended, or has run out.')
    expect(await page.textContent('#error')).toBe('')
  })

  test('a refusal is said aloud: a wrong password', async () => {
    const page = await open()
    await page.getByLabel('E-mail address').fill(await newUser(stage))
    await page.getByLabel('Password').fill('not the password')
    await page.getByRole('button', { name: 'Log in' }).click()

    await eventually(async () => Boolean(await page.getByRole('alert').textContent()))
    expect(await page.getByRole('alert').textContent()).toBe('The e-mail address or the password is wrong.')
    expect(await page.textContent('#log')).toMatch(/POST \/auth\/login → 401 invalid_credentials/)
  })

  test('a server that is gone is said aloud too, and nobody is logged out', async () => {
    const email = await newUser(stage)
    const page = await open()
    await enter(page, email)

    await stage.context.setOffline(true)
    for (const name of ['Refresh', 'Call GET /users/me']) {
      await page.getByRole('button', { name }).click()
      await eventually(async () =>
        /cannot be reached/.test(String(await page.getByRole('alert').textContent())),
      )
    }

    expect(await status(page)).toContain(`Logged in as ${email}`)
  })

  test('a logout that the server does not hear of can be tried again', async () => {
    const page = await open()
    await enter(page, await newUser(stage))
    const logOut = page.getByRole('button', { name: 'Here' })

    await stage.context.setOffline(true)
    await logOut.click()
    await shows(page, 'Nobody is logged in')
    await eventually(async () =>
      /cannot be reached/.test(String(await page.getByRole('alert').textContent())),
    )
    await stage.context.setOffline(false)
    await logOut.click()
    await eventually(async () => !(await logOut.isVisible()))
    await page.reload()

    await shows(page, 'Nobody is logged in')
    expect(await page.textContent('#log')).toContain('401 refresh_token_missing: nobody is logged in')
  })

  test('all of it by the keyboard', async () => {
    const email = newEmail()
    const page = await open()
    await shows(page, 'Nobody is logged in')

    await page.keyboard.press('Tab')
    await page.keyboard.type(email)
    await page.keyboard.press('Tab')
    await page.keyboard.type(password)
    await page.keyboard.press('Tab')
    await page.keyboard.press('Tab')
    await page.keyboard.press('Enter')
    await shows(page, `Logged in as ${email}`)
    await eventually(async () => (await page.locator('#list li').count()) === 1)
    const focused: (string | null)[] = []
    for (let i = 0; i < 6; i++) {
      await page.keyboard.press('Tab')
      focused.push(await page.evaluate(() => document.activeElement?.textContent ?? null))
    }

    expect(focused).toEqual(['Refresh', 'Call GET /users/me', 'End', 'List again', 'Here', 'On every device'])
  })

  test.each(['light', 'dark'] as const)(
    'no serious accessibility finding, no violation of its policy, and no scroll sideways on a phone: %s',
    async (colorScheme) => {
      const page = await open()
      const complaints: string[] = []
      page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()))
      await page.emulateMedia({ colorScheme })
      const email = await newUser(stage)
      const findings: unknown[] = []
      const judge = async () => {
        await page.evaluate(axe)
        const { violations } = await page.evaluate(() => Reflect.get(globalThis, 'axe').run())
        findings.push(
          ...violations.map(({ id, impact }: { id: string; impact: string }) => `${impact}: ${id}`),
        )
      }

      await shows(page, 'Nobody is logged in')
      await judge()
      await enter(page, email)
      await eventually(async () => (await page.locator('#list li').count()) > 0)
      await judge()
      await page.setViewportSize({ width: 360, height: 640 })
      await judge()
      const [content, width] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth])

      expect(findings).toEqual([])
      expect(content).toBeLessThanOrEqual(Number(width))
      // Chromium reports the 401 that says that nobody is logged in.
      expect(complaints.filter((text) => !text.includes('401'))).toEqual([])
    },
  )

  test('its pictures are in the README, light and dark, as large as the page and under 200 KB', async () => {
    const folder = process.env.SCREENSHOTS === 'update' ? 'docs' : temporaryFolder()
    const page = await open()
    await page.setViewportSize({ width: 1000, height: 980 })
    await enter(page, 'ada@example.com', 'Register')
    await eventually(async () => (await page.locator('#list li').count()) === 1)

    for (const colorScheme of ['light', 'dark'] as const) {
      const kept = `docs/demo-${colorScheme}.png`
      await page.emulateMedia({ colorScheme })
      const fresh = await page.screenshot({ path: join(folder, `demo-${colorScheme}.png`) })

      const size = (png: Buffer) => [png.readUInt32BE(16), png.readUInt32BE(20)]
      expect(size(readFileSync(kept))).toEqual(size(fresh))
      expect(readFileSync(kept).length).toBeLessThan(200_000)
      expect(readFileSync('README.md', 'utf8')).toContain(kept)
    }
  })
})
