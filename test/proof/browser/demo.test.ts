// The page at `/`, as built and served by the server itself.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from '@jest/globals'
import type { Page } from 'playwright-core'
import { newEmail, password } from '../../support/app.ts'
import { send, temporaryFolder } from '../../support/server.ts'
import {
  engine,
  eventually,
  inBrowser,
  keepsSecureCookies,
  newUser,
  type Stage,
  useStage,
} from './browser.ts'
import { accessibilityFindings, placesOf } from './inspect.ts'

const cookieName = keepsSecureCookies ? '__Host-refresh_token' : 'refresh_token_'

const cookiesAreSecure = { COOKIE_SECURE: String(keepsSecureCookies) }

async function open({ context, gate }: Stage): Promise<Page> {
  const page = await context.newPage()
  await page.goto(gate.url)
  return page
}
const status = (page: Page) => page.textContent('#status')
const says = (page: Page, place: string, text: string) =>
  eventually(async () => Boolean((await page.textContent(place))?.includes(text)))
const shows = (page: Page, text: string) => says(page, '#status', text)
const passwordField = (page: Page) => page.getByLabel('Password, 15 characters or more', { exact: true })
const press = (page: Page, name: string) => page.getByRole('button', { name, exact: true }).click()

async function enter(page: Page, email: string, button = 'Log in'): Promise<void> {
  await page.getByLabel('E-mail address').fill(email)
  await passwordField(page).fill(password)
  await press(page, button)
  await shows(page, `Logged in as ${email}`)
}

const appears = (page: Page, css: string) => eventually(async () => (await page.locator(css).count()) > 0)

inBrowser('the page to try the server', () => {
  const stage = useStage(cookiesAreSecure)

  test('register, claims and countdown, refresh, a protected route, sessions, log out', async () => {
    const email = newEmail()
    const page = await open(stage)
    await shows(page, 'You are not logged in')
    const emptyLog = await page.evaluate(
      () => getComputedStyle(document.querySelector('#log') as Element, '::before').content,
    )

    await enter(page, email, 'Register')
    const claims = await page.textContent('#claims')
    const left = await page.textContent('#countdown')
    await press(page, 'Get a new access token')
    await eventually(async () => (await page.textContent('#claims')) !== claims)
    await press(page, 'Read your account with it')
    await says(page, '#log', 'GET /users/me with the access token → 200')
    const sessions = await page.locator('#list li').allTextContents()
    await press(page, 'Log out')
    await shows(page, 'You have logged out.')

    expect(emptyLog).toBe('"None yet."')
    for (const name of ['iss', 'aud', 'sub', 'sid', 'role', 'jti', 'iat', 'exp'])
      expect(claims).toContain(name)
    expect(left).toMatch(/^(14 min \d+ s|15 min 0 s)$/)
    const browser = { chromium: 'Chrome', firefox: 'Firefox', webkit: 'Safari' }[engine]
    expect(sessions).toEqual([
      expect.stringMatching(new RegExp(`^${browser} [\\d.]+ \\(this one\\), since .*End$`)),
    ])
    expect(await page.textContent('#claims')).toBe('')
    expect(await page.locator('#token').isVisible()).toBe(false)
    await page.reload()
    await shows(page, 'You are not logged in')
  })

  test('a first visit, and one after a logout, asks the server for nothing that it would refuse', async () => {
    const before = stage.gate.count('/auth/refresh')
    const page = await open(stage)
    await shows(page, 'You are not logged in')
    await enter(page, await newUser(stage))
    await press(page, 'Log out')
    // The button stays until the server has cleared the cookie.
    await eventually(async () => !(await page.locator('#logout').isVisible()))
    await page.reload()
    await shows(page, 'You are not logged in')

    expect(stage.gate.count('/auth/refresh')).toBe(before)
  })

  test('a visitor whom another site sends here is still logged in, though browsers hold the cookie back', async () => {
    const email = await newUser(stage)
    const page = await open(stage)
    await enter(page, email)

    await page.goto(stage.pages.replace('localhost', '127.0.0.1'))
    // The page may be left before the answer.
    await page.evaluate((url) => location.assign(url), stage.gate.url).catch(() => {})

    await eventually(async () => Boolean((await status(page).catch(() => ''))?.includes(email)))
  })

  test('a reload restores the login; the token is in no storage, cookie of scripts, global, URL or element [C1]', async () => {
    const email = await newUser(stage)
    const page = await open(stage)
    const { answers } = stage.gate
    answers.length = 0
    await enter(page, email)

    await page.reload()
    await shows(page, 'The cookie has restored your login.')
    const cookie = (await stage.context.cookies()).find(({ name }) => name.startsWith(cookieName))?.value
    const accessTokens = answers.flatMap(({ body }) => /"accessToken":"([^"]+)"/.exec(body)?.[1] ?? [])
    const secrets = [...accessTokens, String(cookie)].map((secret) => secret.slice(-40))
    const found = await page.evaluate(placesOf, secrets)
    await page.evaluate(([secret]) => {
      localStorage.setItem('token', String(secret))
      Object.assign(navigator, { deep: { inside: [secret] } })
    }, secrets)
    const planted = await page.evaluate(placesOf, secrets)

    expect(accessTokens).toHaveLength(2)
    expect(cookie).toMatch(/^ey/)
    expect(found).toEqual([])
    expect(planted).toEqual(['localStorage', 'globals'])
    expect(answers.filter(({ url }) => url.includes('ey'))).toEqual([])
  })

  test('a second tab is logged in too; it follows a logout, and the login of somebody else', async () => {
    const [first, second] = [await newUser(stage), await newUser(stage)]
    const page = await open(stage)
    await enter(page, first)
    const other = await open(stage)
    await shows(other, `Logged in as ${first}`)

    await press(page, 'Log out')
    await shows(other, 'You have logged out.')
    await enter(page, second)
    await shows(other, `Logged in as ${second}. Another tab has logged in.`)
  })

  test('two sessions are listed; one of them is ended here, and then all of them', async () => {
    const email = await newUser(stage) // Which has a session of its own.
    const page = await open(stage)
    await enter(page, email)
    await eventually(async () => (await page.locator('#list li').count()) === 2)

    await page.locator('#list li', { hasNotText: 'this one' }).getByRole('button').click()
    await eventually(async () => (await page.locator('#list li').count()) === 1)
    await press(page, 'Log out on every device')
    await shows(page, 'You have logged out.')
  })

  test('ending the session of this page logs out, and says why', async () => {
    const page = await open(stage)
    await enter(page, await newUser(stage))

    await page.locator('#list li', { hasText: 'this one' }).getByRole('button').click()

    await shows(page, 'Your login has ended.')
    expect(await page.textContent('#error')).toBe('')
  })

  test('a wrong password is said aloud at the form', async () => {
    const page = await open(stage)
    await page.getByLabel('E-mail address').fill(await newUser(stage))
    await passwordField(page).fill('not the password')
    await press(page, 'Log in')

    await says(page, '#credentials .form', 'The e-mail address or the password is wrong.')
    expect(await page.textContent('#log')).toContain('POST /auth/login → 401 invalid_credentials')
  })

  test('what is wrong with a field is said below it, in words for people, and the field has the focus', async () => {
    const taken = await newUser(stage)
    const page = await open(stage)
    const tryIt = async (email: string, password: string, field: string, text: string) => {
      // Playwright cannot select the text of an e-mail field in Firefox, so it would add to what is there.
      await page.evaluate(() => document.forms.item(0)?.reset())
      await page.getByLabel('E-mail address').fill(email)
      await passwordField(page).fill(password)
      await press(page, 'Register')
      await says(page, `#${field}-problem`, text)
      expect(
        await page.evaluate(() => {
          const { name, ariaInvalid } = document.activeElement as HTMLInputElement
          return [name, ariaInvalid, document.querySelectorAll('.problem:not(:empty)').length]
        }),
      ).toEqual([field, 'true', 1])
    }

    await tryIt('nobody', password, 'email', 'The e-mail address must be an e-mail address.')
    await tryIt(newEmail(), 'too short', 'password', 'The password must have 15 characters or more.')
    await tryIt(taken, password, 'email', 'There is already an account with this e-mail address.')
  })

  test('the password is changed: refusals are at their field, and this browser stays logged in', async () => {
    const email = await newUser(stage)
    const page = await open(stage)
    await enter(page, email)
    await eventually(async () => (await page.locator('#list li').count()) === 2)
    await page.evaluate(() => document.querySelector('#password details')?.setAttribute('open', ''))
    const change = async (current: string, next: string) => {
      await page.getByLabel('Current password').fill(current)
      await page.getByLabel('New password').fill(next)
      // WebKit's driver cannot click inside `details`.
      await page.keyboard.press('Enter')
    }

    await change('not the password', 'a bus full of violins')
    await says(page, '#currentPassword-problem', 'The current password is wrong.')
    await change(password, 'short')
    await says(page, '#newPassword-problem', 'The new password must have 15 characters or more.')
    await change(password, 'a bus full of violins')
    await shows(page, `Logged in as ${email}. The password is changed`)
    expect(await page.textContent('#changed')).toBe('The password is changed.')
    await eventually(async () => (await page.locator('#list li').count()) === 1)
    await page.reload()

    await shows(page, `Logged in as ${email}`)
  })

  test('a server that is gone is said aloud too, and nobody is logged out', async () => {
    const email = await newUser(stage)
    const page = await open(stage)
    await enter(page, email)

    stage.gate.shut()
    for (const name of ['Get a new access token', 'Read your account with it']) {
      await press(page, name)
      await says(page, '#error', 'cannot be reached')
    }

    expect(await status(page)).toContain(`Logged in as ${email}`)
  })

  test('a logout that the server does not hear of can be tried again', async () => {
    const page = await open(stage)
    await enter(page, await newUser(stage))

    stage.gate.shut()
    await press(page, 'Log out')
    await shows(page, 'You have logged out.')
    await says(page, '#error', 'cannot be reached')
    stage.gate.open()
    await press(page, 'Log out')
    await eventually(async () => !(await page.locator('#logout').isVisible()))
    await page.reload()

    await shows(page, 'You are not logged in')
  })

  test('all of it by the keyboard', async () => {
    const email = newEmail()
    const page = await open(stage)
    await shows(page, 'You are not logged in')

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
    for (let i = 0; i < 8; i++) {
      await page.keyboard.press('Tab')
      focused.push(
        await page.evaluate(() => {
          const { textContent, name } = document.activeElement as HTMLButtonElement
          return textContent || name
        }),
      )
    }

    expect(focused).toEqual([
      'Get a new access token',
      'Read your account with it',
      'What is in it',
      'End',
      'Update the list',
      'Log out on every device',
      'What is a session?',
      'Change the password',
    ])
  })

  // Only Playwright's own protocol sets the colours of a page.
  test.each(engine === 'chromium' ? (['light', 'dark'] as const) : (['light'] as const))(
    'no serious accessibility finding, no complaint of the browser, and nothing that covers text on a phone: %s',
    async (colorScheme) => {
      const page = await stage.context.newPage()
      const complaints: string[] = []
      if (engine !== 'webkit')
        page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()))
      if (engine === 'chromium') await page.emulateMedia({ colorScheme })
      await page.setViewportSize({ width: 1280, height: 900 })
      await page.goto(stage.gate.url)
      const email = await newUser(stage)
      const findings: string[] = []
      const judge = async () => findings.push(...(await accessibilityFindings(page)))
      /** Rectangles: the first part, and the last ones. */
      const layout = () =>
        page.evaluate(() => {
          const sections = [...document.querySelectorAll('section')].filter((part) => part.checkVisibility())
          const [work, above, requests, help] = [
            sections[0],
            sections.at(-2),
            sections.at(-1),
            document.querySelector('#rest > .help'),
          ].map((part) => part?.getBoundingClientRect())
          const content = document.documentElement.scrollWidth
          return { work, above, requests, help, content, innerWidth }
        })

      await shows(page, 'You are not logged in')
      await judge()
      await enter(page, email)
      await eventually(async () => (await page.locator('#list li').count()) > 0)
      await judge()
      const wide = await layout()
      await page.setViewportSize({ width: 360, height: 640 })
      await judge()
      const narrow = await layout()

      expect(findings).toEqual([])
      expect(wide.requests?.top).toBe(wide.work?.top)
      expect(narrow.content).toBeLessThanOrEqual(narrow.innerWidth)
      expect(narrow.requests?.top).toBeGreaterThanOrEqual(narrow.above?.bottom ?? Number.NaN)
      expect(narrow.help?.top).toBeGreaterThanOrEqual(narrow.requests?.bottom ?? Number.NaN)
      expect(complaints).toEqual([])
    },
  )
})

inBrowser('the lesson of the page', () => {
  const stage = useStage({
    NODE_ENV: 'development',
    BCRYPT_COST: '10',
    REFRESH_GRACE_SECONDS: '4',
    ...cookiesAreSecure,
  })

  async function openLoggedIn(): Promise<{ page: Page; email: string }> {
    const page = await open(stage)
    const email = newEmail()
    await enter(page, email, 'Register')
    await says(page, '#cookie-token', 'token 1')
    stage.gate.refreshes.length = 0
    return { page, email }
  }

  /** Waits until the case is over. Returns its drawing: the texts of each step, as they are read aloud. */
  async function drawingOf(page: Page): Promise<string[]> {
    await appears(page, '#sequence .conclusion')
    return page.locator('#sequence li').allTextContents()
  }

  /** What the server knows of the session of this browser. */
  const sessionOf = (page: Page): Promise<{ generation: number } | null> =>
    page.evaluate(async () => (await (await fetch('/demo/lesson/session')).json()).session)

  /** How many sessions a user has, besides the one that asks. */
  async function sessionsLeft(email: string): Promise<number> {
    const { url } = stage.server
    const { accessToken } = await send('POST', `${url}/auth/login`, { body: { email, password } })
    const { body } = await send('GET', `${url}/auth/sessions`, { accessToken })
    return (body.sessions as unknown[]).length - 1
  }

  /** What the page says of the cookie and of the session. */
  const stateOf = async (page: Page) => ({
    cookie: await page.textContent('#cookie-token'),
    session: await page.textContent('#session'),
  })

  async function expectNoToken(page: Page): Promise<void> {
    expect(await page.evaluate(() => document.documentElement.outerHTML)).not.toContain('eyJ')
    expect(stage.server.output.join()).not.toContain('eyJ')
  }

  test('a refresh: the generation moves, and the claims that changed are side by side', async () => {
    const { page } = await openLoggedIn()
    expect(await page.locator('#rotation table').isVisible()).toBe(false)

    await press(page, 'You refresh')
    const [step, conclusion] = await drawingOf(page)

    expect(step).toMatch(/^You to Server: token 1.*1 → 2.*Server to You: token 2.*You send token 1\. /)
    expect(conclusion).toMatch(/^This is rotation.*After 4 s, or after the next swap, token 1 is used up\.$/)
    expect(await stateOf(page)).toEqual({ cookie: 'token 2', session: 'token 2' })
    const rows = await page.locator('#comparison tr').allTextContents()
    expect(rows.slice(0, 2)).toEqual([
      'number (gen)12',
      expect.stringMatching(/^id \(jti\)(.{4}…..)\.1\1\.2$/),
    ])
    expect(await page.textContent('#unchanged')).toMatch(
      /^The rest is the same: .*user \(sub\), session \(sid\)/,
    )
    expect(await sessionOf(page)).toMatchObject({ generation: 2 })
    expect(stage.gate.refreshes).toEqual([{ status: 200, generation: 2 }])
    await expectNoToken(page)
  })

  test('the grace window opens with a refresh, ticks, and closes', async () => {
    const { page } = await openLoggedIn()
    expect(await page.textContent('#grace-left')).toBe('closed')

    await press(page, 'You refresh')

    await says(page, '#grace-left', 'token 1 gets')
    const first = await page.textContent('#grace-left')
    await eventually(async () => (await page.textContent('#grace-left')) !== first)
    expect(first).toMatch(/^token 1 gets token 2 for \d s more$/)
    await says(page, '#grace-left', 'closed')
  })

  test('a lost answer: the second try gets the same token, and the login stays', async () => {
    const { page, email } = await openLoggedIn()

    await press(page, 'The response gets lost')
    const [lost, again, conclusion] = await drawingOf(page)

    expect(lost).toMatch(/token 1.*1 → 2.*Server to You: token 2 lost.*You still have token 1\.$/)
    expect(again).toMatch(/token 1.*2 again.*token 2.*the same token 2 once more\.$/)
    expect(conclusion).toContain('You stay logged in')
    expect(await sessionOf(page)).toMatchObject({ generation: 2 })
    expect(stage.gate.refreshes).toEqual([{ status: 200, generation: 2 }])
    expect(await status(page)).toContain(`Logged in as ${email}`)
    await expectNoToken(page)
  })

  test('two tabs at once: one rotation, and both get the same token', async () => {
    const { page, email } = await openLoggedIn()

    await press(page, 'Two tabs refresh at once')
    const [requests, answers, conclusion] = await drawingOf(page)

    expect(requests).toMatch(/^Tab 1 to Server: token 1Tab 2 to Server: token 1/)
    expect(answers).toMatch(/^1 → 2, onceServer to Tab 1: token 2Server to Tab 2: token 2/)
    expect(conclusion).toContain('You stay logged in')
    expect(await sessionOf(page)).toMatchObject({ generation: 2 })
    expect(stage.gate.refreshes).toEqual(Array(2).fill({ status: 200, generation: 2 }))
    expect(await status(page)).toContain(`Logged in as ${email}`)
    await expectNoToken(page)
  })

  test('a stolen cookie, the thief first: the owner’s refresh is reuse, and the session ends for both', async () => {
    const { page, email } = await openLoggedIn()

    await press(page, 'The thief refreshes first')
    const drawing = await drawingOf(page)

    expect(drawing).toEqual([
      expect.stringMatching(/^You to Thief: token 1 copied/),
      expect.stringMatching(/^Thief to Server: token 1.*1 → 2.*Server to Thief: token 2/),
      expect.stringMatching(/^4 s later/),
      expect.stringMatching(/^You to Server: token 1used up!Server to You: refused.*ends the session\.$/),
      expect.stringMatching(/^Thief to Server: token 2ended.*Server to Thief: refused/),
      expect.stringMatching(/^This is reuse detection: /),
    ])
    await shows(page, 'Someone else may have used your login')
    expect(await stateOf(page)).toEqual({ cookie: 'none', session: 'session ended' })
    expect(stage.gate.refreshes).toEqual([{ status: 401, generation: undefined }])
    expect(await sessionsLeft(email)).toBe(0)
    await expectNoToken(page)
  })

  test('the login after a theft is the last step of the drawing, and begins a new session', async () => {
    const { page, email } = await openLoggedIn()
    await press(page, 'The thief refreshes first')
    await drawingOf(page)

    await enter(page, email)
    const drawing = await drawingOf(page)

    expect(drawing.at(-2)).toMatch(/^You to Server: passwordnew sessionServer to You: token 1/)
    expect(drawing.at(-1)).toMatch(/^This is reuse detection/)
    // The colours of tokens do not repeat: token 1 of the next session is another token.
    const colours = await page.evaluate(() =>
      [...document.querySelectorAll('#sequence .chip[class*=" g"]')].map(
        (chip) => getComputedStyle(chip).backgroundColor,
      ),
    )
    expect(colours.slice(0, -1)).not.toContain(colours.at(-1))
    await says(page, '#session', 'token 1')
    expect(await page.textContent('#cookie-token')).toBe('token 1')
  })

  test('the list of requests says which ones were refused, and who sent each of them', async () => {
    const { page } = await openLoggedIn()

    await press(page, 'The thief refreshes first')
    await drawingOf(page)

    expect((await page.locator('#log li').allTextContents()).slice(0, 3)).toEqual([
      'POST /auth/refresh by the thief → 401 session_ended',
      'POST /auth/refresh by you → 401 refresh_token_reused',
      'POST /auth/refresh by the thief → 200',
    ])
    expect(await page.locator('#log .refused').count()).toBe(2)
  })

  test('a stolen cookie, the owner first: the thief’s refresh is reuse, and the session ends for both', async () => {
    const { page, email } = await openLoggedIn()

    await press(page, 'You refresh first')
    const drawing = await drawingOf(page)

    expect(drawing).toEqual([
      expect.stringMatching(/^You to Thief: token 1 copied/),
      expect.stringMatching(/^You to Server: token 1.*1 → 2.*Server to You: token 2/),
      expect.stringMatching(/^4 s later/),
      expect.stringMatching(/^Thief to Server: token 1used up!Server to Thief: refused/),
      expect.stringMatching(/^You to Server: token 2ended.*Server to You: refused.*warned: the thief\.$/),
      expect.stringMatching(/^This is reuse detection: /),
    ])
    await shows(page, 'Your login has ended')
    expect(await stateOf(page)).toEqual({ cookie: 'none', session: 'session ended' })
    expect(await page.textContent('#unchanged')).toContain('deleted')
    expect(await sessionsLeft(email)).toBe(0)
    await expectNoToken(page)
  })

  test('a thief within the grace window gets the same token unnoticed, until a refresh after the window', async () => {
    const { page, email } = await openLoggedIn()

    await press(page, 'Both refresh within 4 s')
    const drawing = await drawingOf(page)

    expect(drawing).toEqual([
      expect.stringMatching(/^You to Thief: token 1 copied/),
      expect.stringMatching(/^You to Server: token 11 → 2Server to You: token 2/),
      expect.stringMatching(/^Thief to Server: token 12 againServer to Thief: token 2.*unnoticed\.$/),
      expect.stringMatching(/^Thief to Server: token 22 → 3Server to Thief: token 3/),
      expect.stringMatching(/^4 s later/),
      expect.stringMatching(/^You to Server: token 2used up!Server to You: refused/),
      expect.stringMatching(/^Thief to Server: token 3endedServer to Thief: refused/),
      expect.stringMatching(/^Within the grace window, a thief looks like a second tab, until/),
    ])
    expect(await sessionsLeft(email)).toBe(0)
  })

  test('needs a login, and says so until the login', async () => {
    const page = await open(stage)
    const hint = () =>
      page.evaluate(
        () => getComputedStyle(document.querySelector('#sequence') as Element, '::before').content,
      )

    await press(page, 'The thief refreshes first')

    expect(await drawingOf(page)).toEqual([expect.stringContaining('Log in first')])
    expect(await page.locator('.actor').count()).toBe(0)
    await enter(page, newEmail(), 'Register')
    expect(await page.locator('#sequence li').count()).toBe(0)
    expect(await hint()).toMatch(/^"Press “You refresh” first/)
  })

  test('draws every refresh that a button of the page starts', async () => {
    const { page } = await openLoggedIn()

    expect(await page.locator('#token').isVisible()).toBe(true)
    expect(await page.getByRole('button', { name: 'Get a new access token' }).isVisible()).toBe(false)
  })

  test('counts down while a case waits, says when it is over, and marks the button of the case', async () => {
    const { page } = await openLoggedIn()

    await press(page, 'The thief refreshes first')
    await says(page, '#sequence', 'Wait until token 1 is used up.')
    const waiting = page.locator('#sequence .note', { hasText: 'waiting' })
    const first = await waiting.textContent()
    await eventually(async () => (await waiting.textContent()) !== first)
    const drawing = await drawingOf(page)

    expect(first).toMatch(/^waiting … \d s$/)
    expect(drawing[2]).toBe('4 s laterNow token 1 is used up.')
    expect(await page.locator('[aria-current="true"]').allTextContents()).toEqual([
      'The thief refreshes first',
    ])
  })

  test('on a phone: the heads of the columns stay in sight, a link leads to the form, and the login to its step', async () => {
    const { page, email } = await openLoggedIn()
    await page.setViewportSize({ width: 390, height: 700 })
    const inSight = (css: string) =>
      page.evaluate((css) => {
        const place = [...document.querySelectorAll(css)].at(-1)?.getBoundingClientRect()
        return place !== undefined && place.top >= 0 && place.bottom <= innerHeight
      }, css)

    await press(page, 'You refresh first')
    await drawingOf(page)
    const heads = [await inSight('#actors'), await inSight('#sequence li')]
    const formBefore = await inSight('#entrance-title')
    await page.locator('#sequence a', { hasText: 'Only you can log in again.' }).click()
    await eventually(async () => (await inSight('#status')) && (await inSight('#entrance-title')))
    await enter(page, email)

    expect(heads).toEqual([true, true])
    expect(formBefore).toBe(false)
    await says(page, '#sequence', 'You log in with your password')
    await eventually(() => inSight('#sequence li:nth-last-child(2)'))
    expect(await page.locator('#sequence a').count()).toBe(0)
  })

  test('stops when the server does not answer, and says so', async () => {
    const { page, email } = await openLoggedIn()

    stage.gate.shut()
    await press(page, 'You refresh')
    const drawing = await drawingOf(page)

    expect(drawing).toEqual([expect.stringContaining('The demo stopped')])
    await says(page, '#error', 'cannot be reached')
    expect(await status(page)).toContain(`Logged in as ${email}`)
  })

  // Only Playwright's own protocol sets the colours of a page.
  test.each(engine === 'chromium' ? (['light', 'dark'] as const) : (['light'] as const))(
    'no serious accessibility finding while a case runs and after it, on a phone too: %s',
    async (colorScheme) => {
      const { page } = await openLoggedIn()
      if (engine === 'chromium') await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
      const findings: string[] = []
      await page.setViewportSize({ width: 1280, height: 900 })

      await press(page, 'The thief refreshes first')
      await says(page, '#sequence', 'waiting')
      findings.push(...(await accessibilityFindings(page)))
      await drawingOf(page)
      await page.setViewportSize({ width: 360, height: 640 })
      findings.push(...(await accessibilityFindings(page)))

      expect(findings).toEqual([])
      // WebKit's windows are wider than that.
      expect(
        await page.evaluate(() => document.documentElement.scrollWidth - innerWidth),
      ).toBeLessThanOrEqual(0)
    },
  )

  test('fits into one screen: the longest case, from its button to its end', async () => {
    const { page } = await openLoggedIn()
    // WebKit's window includes a bar, and its lines are wider.
    await page.setViewportSize({ width: 1280, height: engine === 'webkit' ? 940 : 862 })

    await press(page, 'Both refresh within 4 s')
    await drawingOf(page)

    const [height, left] = await page.evaluate(() => {
      const lesson = document.querySelector('#lesson') as HTMLElement
      return [lesson.getBoundingClientRect().bottom + scrollY, innerHeight]
    })
    expect(height).toBeLessThanOrEqual(left ?? 0)
  })
})

inBrowser('the lesson without a grace window', () => {
  const stage = useStage({
    NODE_ENV: 'development',
    BCRYPT_COST: '10',
    REFRESH_GRACE_SECONDS: '0',
    ...cookiesAreSecure,
  })

  test.each([
    ['Two tabs refresh at once', /^Without a grace window, this looks like a theft/],
    ['The response gets lost', /^Without a grace window, this looks like a theft/],
    ['Both refresh within 0 s', /^This is reuse detection: /],
  ])('%s: the server ends the session, and the page says so', async (button, conclusion) => {
    const page = await open(stage)
    await enter(page, newEmail(), 'Register')
    await says(page, '#cookie-token', 'token 1')

    await press(page, button)
    await appears(page, '#sequence .conclusion')

    expect(await page.textContent('#sequence .conclusion')).toMatch(conclusion)
    expect(await page.textContent('#session')).toBe('session ended')
    await eventually(async () => !(await page.locator('#logout').isVisible()))
  })
})

if (engine === 'chromium')
  inBrowser('the README', () => {
    const stage = useStage({ NODE_ENV: 'development', BCRYPT_COST: '10' })

    test('has pictures of the lesson, light and dark, as large as the lesson and under 150 KB', async () => {
      const folder = process.env.SCREENSHOTS === 'update' ? 'docs' : temporaryFolder()
      const page = await open(stage)
      await page.setViewportSize({ width: 1305, height: 900 })
      await enter(page, 'ada@example.com', 'Register')

      for (const colorScheme of ['light', 'dark'] as const) {
        const kept = `docs/demo-${colorScheme}.png`
        await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
        await press(page, 'You refresh first')
        await appears(page, '#sequence .conclusion')
        const path = join(folder, `demo-${colorScheme}.png`)
        const fresh = await page.locator('#lesson').screenshot({ path })
        await enter(page, 'ada@example.com')

        const size = (png: Buffer) => [png.readUInt32BE(16), png.readUInt32BE(20)]
        expect(size(readFileSync(kept))).toEqual(size(fresh))
        expect(readFileSync(kept).length).toBeLessThan(150_000)
        expect(readFileSync('README.md', 'utf8')).toContain(kept)
      }
    })
  })

if (engine === 'webkit')
  inBrowser('the page to try the server, with Secure cookies on http', () => {
    const stage = useStage({ COOKIE_SECURE: 'true' })

    test('says why the login does not last', async () => {
      const page = await stage.context.newPage()
      await page.goto(stage.gate.url)
      await page.getByLabel('E-mail address').fill(newEmail())
      await page.getByLabel('Password, 15 characters or more', { exact: true }).fill(password)
      await page.getByRole('button', { name: 'Register', exact: true }).click()

      await eventually(async () => /COOKIE_SECURE=false/.test(String(await page.textContent('#error'))))
    })
  })
