// The page that links in mails open, as built and served by the server itself.
import { expect, test } from '@jest/globals'
import type { Page } from 'playwright-core'
import { newEmail, password } from '../../support/app.ts'
import { send } from '../../support/server.ts'
import { engine, eventually, inBrowser, newUser, type Stage, useStage } from './browser.ts'
import { accessibilityFindings, placesOf } from './inspect.ts'
import { linkIn } from './mailbox.ts'

const token = ['header', 'claims', 'signature']
  .map((part) => Buffer.from(part).toString('base64url'))
  .join('.')
const newPassword = 'a bus full of violins'

/** What a link shows at first, its button, and the route that the button asks. */
const links = [
  {
    purpose: 'register',
    title: 'Create your account',
    button: 'Create the account',
    route: '/auth/register/confirm',
  },
  {
    purpose: 'verify',
    title: 'Confirm your e-mail address',
    button: 'Confirm the address',
    route: '/auth/email/verify',
  },
  {
    purpose: 'reset',
    title: 'Set a new password',
    button: 'Set the password',
    route: '/auth/password/reset',
  },
  {
    purpose: 'email',
    title: 'Confirm your new e-mail address',
    button: 'Use the new address',
    route: '/auth/email/confirm',
  },
  {
    purpose: 'undo',
    title: 'Get your former address back',
    button: 'Undo the change',
    route: '/auth/email/undo',
  },
  {
    purpose: 'cancel-deletion',
    title: 'Keep your account',
    button: 'Keep the account',
    route: '/users/me/deletion/cancel',
  },
]

async function open({ context, gate }: Stage, fragment = ''): Promise<Page> {
  const page = await context.newPage()
  await page.goto(`${gate.url}/account${fragment}`)
  return page
}

/** Opens the page in a browser where a user has logged in. */
async function openLoggedIn(stage: Stage, fragment = ''): Promise<{ page: Page; email: string }> {
  const email = await newUser(stage)
  const page = await open(stage)
  await page.evaluate(
    async ([email, password]) => {
      const body = JSON.stringify({ email, password })
      const headers = { 'Content-Type': 'application/json' }
      await fetch('/auth/login', { method: 'POST', headers, body })
    },
    [email, password],
  )
  stage.gate.asked.length = 0
  await page.goto('about:blank')
  await page.goto(`${stage.gate.url}/account${fragment}`)
  return { page, email }
}

const title = (page: Page) =>
  page.evaluate(() => [...document.querySelectorAll('h2')].find((one) => one.checkVisibility())?.textContent)
const shows = (page: Page, text: string) => eventually(async () => (await title(page)) === text)
const says = (page: Page, text: string) =>
  eventually(() =>
    page.evaluate(
      (text) =>
        [...document.querySelectorAll('.problem, .notice')].some((one) => one.textContent?.includes(text)),
      text,
    ),
  )
const press = (page: Page, name: string) => page.getByRole('button', { name, exact: true }).click()
const isVisible = (page: Page, css: string) =>
  eventually(() => page.evaluate((css) => Boolean(document.querySelector(css)?.checkVisibility()), css))
const linkOf = (purpose: string) => links.find((one) => one.purpose === purpose) as (typeof links)[number]

/** Fills the fields for passwords that the page shows. Playwright would add to what is there in Firefox. */
const fillPasswords = (page: Page, text: string) =>
  page.evaluate((text) => {
    for (const field of document.querySelectorAll<HTMLInputElement>('[type=password]'))
      if (field.checkVisibility()) field.value = text
  }, text)

/** The requests of the page that may change something. */
const changes = ({ gate }: Stage) =>
  gate.asked
    .filter(({ method }) => method !== 'GET')
    .map(({ method, url, headers, body }) => ({
      route: `${method} ${url}`,
      body: body && JSON.parse(body),
      hasToken: headers.authorization !== undefined,
    }))

const problem = (status: number, code: string, members = {}) => ({
  status,
  type: 'application/problem+json',
  body: JSON.stringify({ status, code, ...members }),
})
const user = { id: '1', email: 'ada@example.com', role: 'user', emailVerified: true, createdAt: '' }
const granted = {
  status: 201,
  type: 'application/json',
  body: JSON.stringify({ accessToken: 'a.b.c', tokenType: 'Bearer', expiresIn: 900, user }),
}
const accepted = { status: 202, type: 'application/json', body: '{}' }
const done = { status: 204, type: 'application/json', body: '' }

inBrowser('the account page', () => {
  const stage = useStage()

  test.each(links)(
    'the link of $purpose: loading it changes nothing, and leaves the token in no URL, storage, global, referrer or element [account Links]',
    async ({ purpose, title, route }) => {
      const { page } = await openLoggedIn(stage, `#${purpose}=${token}`)
      await shows(page, title)
      await eventually(() => stage.gate.count('/account/login') > 0)
      const places = await page.evaluate(placesOf, [token.slice(-40)])
      const href = await page.evaluate(() => location.href)
      await page.reload()
      await shows(page, 'Confirm your e-mail address')

      expect(href).toBe(`${stage.gate.url}/account`)
      expect(places).toEqual([])
      expect(changes(stage)).toEqual([])
      expect(stage.gate.count(route)).toBe(0)
      expect(stage.gate.asked.flatMap(({ headers }) => headers.referer ?? [])).toEqual([])
    },
  )

  test.each<[string, string | undefined, string, object]>([
    ['register', 'Password', 'Your account is ready', { password }],
    ['verify', 'Password of your account', 'Your address is confirmed', { password }],
    ['reset', 'New password', 'Your password is changed', { newPassword }],
    ['email', 'Password of your account', 'Your new address is confirmed', { password }],
    ['undo', undefined, 'Your address is back', {}],
    ['cancel-deletion', undefined, 'Your account stays', {}],
  ])(
    'without a login, the link of %s sends its token by the button, once, and says what follows',
    async (purpose, field, after, given) => {
      const { button, route } = linkOf(purpose)
      stage.gate.play(route, purpose === 'register' ? granted : done)
      const page = await open(stage, `#${purpose}=${token}`)
      if (field) {
        await isVisible(page, '[type=password]')
        await page.getByLabel(field).fill(Object.values(given).join())
      }
      stage.gate.asked.length = 0
      await press(page, button)
      await shows(page, after)

      expect(changes(stage)[0]).toEqual({
        route: `POST ${route}`,
        body: { token, ...given },
        hasToken: false,
      })
      expect(changes(stage).filter((one) => one.route.endsWith(route))).toHaveLength(1)
      expect(await page.evaluate(placesOf, [token.slice(-40)])).toEqual([])
      // The focus is on what the page says now. The link back is for servers with a page at /.
      expect(await page.evaluate(() => document.activeElement?.textContent)).toBe(after)
    },
  )

  test.each(['verify', 'email'])(
    'with a login, the link of %s needs no password and says who asks',
    async (purpose) => {
      const { button, route } = linkOf(purpose)
      const { page } = await openLoggedIn(stage, `#${purpose}=${token}`)
      stage.gate.play(route, done)
      await eventually(() => stage.gate.asked.some(({ url }) => url === '/account/login'))
      await press(page, button)
      await eventually(() => page.evaluate(() => Boolean(document.querySelector('.done')?.checkVisibility())))

      const sent = changes(stage).find((one) => one.route.endsWith(route))
      expect(sent).toEqual({ route: `POST ${route}`, body: { token }, hasToken: true })
    },
  )

  test('with the login of another account, the link asks for the password of its account, and sends no login with it', async () => {
    const { button, route } = linkOf('verify')
    const { page, email } = await openLoggedIn(stage, `#verify=${token}`)
    stage.gate.play(route, problem(410, 'link_invalid'), 1)
    stage.gate.play(route, problem(401, 'invalid_credentials'), 1)
    stage.gate.play(route, done)

    await press(page, button)
    await says(page, `it is for another account than ${email}`)
    await page.getByLabel('Password of your account').fill('not the password')
    await press(page, button)
    await says(page, 'This is not the password of that account.')
    await page.getByLabel('Password of your account').fill(password)
    await press(page, button)
    await shows(page, 'Your address is confirmed')

    const sent = changes(stage).filter((one) => one.route.endsWith(route))
    expect(sent.map(({ hasToken }) => hasToken)).toEqual([true, false, false])
    expect(sent[2]?.body).toEqual({ token, password })
  })

  test('a login that ended in the meantime is replaced by the password', async () => {
    const { button, route } = linkOf('email')
    const { page } = await openLoggedIn(stage, `#email=${token}`)
    await eventually(() => stage.gate.asked.some(({ url }) => url === '/account/login'))
    await page.evaluate(() => fetch('/auth/logout', { method: 'POST' }))
    stage.gate.play(route, problem(401, 'invalid_credentials'), 1)
    stage.gate.play(route, done)

    await press(page, button)
    await says(page, 'You are no longer logged in. Enter the password of your account.')
    await page.getByLabel('Password of your account').fill(password)
    await press(page, button)

    await shows(page, 'Your new address is confirmed')
  })

  test.each(links)(
    'a $purpose link that has ended is said so, with what to do now',
    async ({ purpose, button, route }) => {
      stage.gate.play(route, problem(410, 'link_invalid'))
      const page = await open(stage, `#${purpose}=${token}`)
      if (['verify', 'email'].includes(purpose)) await isVisible(page, '[type=password]')
      await fillPasswords(page, password)
      await press(page, button)
      await shows(page, 'This link no longer works')

      const advice = await page.textContent('.ended')
      expect(advice).toMatch(/A link works once/)
      if (purpose === 'register') return
      await page.locator('.ended a').click()
      await shows(page, 'Forgot your password?')
    },
  )

  test('a refused password is said at its field, and the same link works with a better one', async () => {
    const { button, route } = linkOf('reset')
    const errors = [{ path: 'newPassword', message: 'must have 15 characters or more' }]
    stage.gate.play(route, problem(400, 'password_rejected', { errors }), 1)
    stage.gate.play(route, problem(400, 'password_rejected'), 1)
    stage.gate.play(route, done)
    const page = await open(stage, `#reset=${token}`)

    await press(page, button)
    await says(page, 'Fill this in.')
    await page.getByLabel('New password').fill('short')
    await press(page, button)
    await says(page, 'The new password must have 15 characters or more.')
    const field = await page.evaluate(() => {
      const { id, ariaInvalid } = document.activeElement as HTMLInputElement
      return [id, ariaInvalid]
    })
    await press(page, button)
    await says(page, 'This password is too easy to guess. Choose another one.')
    await fillPasswords(page, newPassword)
    await press(page, button)
    await shows(page, 'Your password is changed')

    expect(field).toEqual(['reset-password', 'true'])
  })

  test.each([
    [429, 'too_many_attempts', 'There were too many attempts. Wait a few minutes and try again.'],
    [503, 'overloaded', 'The server is busy. Try again in a few seconds.'],
    [503, 'unavailable', 'The server is not available at the moment. Try again in a minute.'],
    [500, 'internal_error', 'Something went wrong on the server. Try again later.'],
    [404, 'not_found', 'This site cannot do that by mail.'],
    [403, 'registration_closed', 'This site takes no new accounts.'],
  ])(
    'a refusal with %i %s is said in plain words, and the button works again',
    async (status, code, text) => {
      const { button, route } = linkOf('undo')
      stage.gate.play(route, problem(status, code), 1)
      stage.gate.play(route, done)
      const page = await open(stage, `#undo=${token}`)

      await press(page, button)
      await says(page, text)
      await press(page, button)

      await shows(page, 'Your address is back')
    },
  )

  test('a server that cannot be reached is said so, and two presses send one request', async () => {
    const { button, route } = linkOf('undo')
    const page = await open(stage, `#undo=${token}`)
    await shows(page, 'Get your former address back')

    stage.gate.shut()
    await press(page, button)
    await says(page, 'The server cannot be reached.')
    stage.gate.open()
    stage.gate.asked.length = 0
    stage.gate.play(route, done)
    await page.evaluate(() => {
      for (let presses = 0; presses < 2; presses++) document.querySelector('button')?.click()
    })
    await shows(page, 'Your address is back')

    expect(changes(stage)).toHaveLength(1)
  })

  test('a second link in the same tab replaces the first one', async () => {
    const page = await open(stage, `#undo=${token}`)
    await shows(page, 'Get your former address back')

    await page.goto(`${stage.gate.url}/account#reset=${token}`)
    await shows(page, 'Set a new password')

    expect(await page.evaluate(() => location.href)).toBe(`${stage.gate.url}/account`)
  })

  test.each(['#reset', '#reset=', `#unknown=${token}`, '#undo%3Dabc'])(
    'a link that is not complete, %s, is said so',
    async (fragment) => {
      const page = await open(stage, fragment)

      await says(page, 'This link is not complete.')
      await shows(page, 'Forgot your password?')
      expect(await page.evaluate(() => location.hash)).toBe('')
    },
  )

  test('without a link: asks for the address of a forgotten password, and says the same for every address [account 6]', async () => {
    stage.gate.play('/auth/password/forgot', accepted)
    const page = await open(stage)
    await shows(page, 'Forgot your password?')
    await isVisible(page, '.logged-out')
    await page.getByLabel('E-mail address').fill('ada@example.com')
    stage.gate.asked.length = 0
    await press(page, 'Send me a link')
    await shows(page, 'Look into your mailbox')

    expect(changes(stage)).toEqual([
      { route: 'POST /auth/password/forgot', body: { email: 'ada@example.com' }, hasToken: false },
    ])
    expect(await page.textContent('.done')).toMatch(
      /If there is an account with the address ada@example\.com/,
    )
    expect(await page.evaluate(() => document.querySelectorAll('section').length)).toBe(1)
    const mailbox = () => page.evaluate(() => document.querySelector<HTMLAnchorElement>('.done a')?.href)
    await eventually(async () => (await mailbox()) === `${stage.gate.url}/demo/mailbox`)
  })

  test('without a link, with a login: sends the verification again, and changes the address after the password', async () => {
    const { page, email } = await openLoggedIn(stage)
    stage.gate.play('/auth/email/verification', problem(409, 'already_verified'), 1)
    stage.gate.play('/auth/email/verification', accepted)
    stage.gate.play('/auth/email', problem(401, 'reauthentication_required'), 1)
    stage.gate.play('/auth/email', accepted)
    stage.gate.play('/auth/reauthenticate', problem(403, 'wrong_password'), 1)
    stage.gate.play('/auth/reauthenticate', { ...granted, status: 200 })
    await eventually(() => page.evaluate(() => document.querySelectorAll('section').length === 3))
    const isHelped = await page.evaluate(() => document.querySelector('.logged-out')?.checkVisibility())

    await press(page, 'Send the mail again')
    await says(page, 'Your e-mail address is confirmed already.')
    await press(page, 'Send the mail again')
    await eventually(() =>
      page.evaluate((email) => document.body.textContent?.includes(`It goes to ${email}`), email),
    )
    await page.getByLabel('New e-mail address').fill('new@example.com')
    await press(page, 'Change the address')
    await says(page, 'Enter your password too.')
    await page.locator('#change-password').fill('not the password')
    await press(page, 'Change the address')
    await says(page, 'This is not your password.')
    await page.locator('#change-password').fill(password)
    await press(page, 'Change the address')
    await eventually(() =>
      page.evaluate(() => document.body.textContent?.includes('It goes to new@example.com')),
    )

    expect(isHelped).toBe(false)
    const sent = changes(stage).filter(({ route }) => route === 'POST /auth/email')
    expect(sent).toEqual(
      Array(2).fill({ route: 'POST /auth/email', body: { email: 'new@example.com' }, hasToken: true }),
    )
  })

  test('all of it by the keyboard', async () => {
    stage.gate.play('/auth/password/reset', done)
    const page = await open(stage, `#reset=${token}`)
    await shows(page, 'Set a new password')

    await page.keyboard.press('Tab')
    await page.keyboard.type(newPassword)
    await page.keyboard.press('Tab')
    const checkbox = await page.evaluate(() => document.activeElement?.closest('label')?.textContent?.trim())
    await page.keyboard.press('Tab')
    const button = await page.evaluate(() => document.activeElement?.textContent)
    await page.keyboard.press('Enter')
    await shows(page, 'Your password is changed')

    expect([checkbox, button]).toEqual(['Show the password', 'Set the password'])
  })

  // Only Playwright's own protocol sets the colours of a page.
  test.each(engine === 'chromium' ? (['light', 'dark'] as const) : (['light'] as const))(
    'no serious accessibility finding in any state, nothing wider than a phone, no complaint of the browser: %s',
    async (colorScheme) => {
      const { page } = await openLoggedIn(stage)
      const complaints: string[] = []
      if (engine === 'chromium') {
        await page.emulateMedia({ colorScheme })
        page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()))
      }
      await page.setViewportSize({ width: 360, height: 640 })
      const findings: string[] = []
      const judge = async () => {
        findings.push(...(await accessibilityFindings(page)))
        // WebKit's windows are wider than that.
        if (await page.evaluate(() => document.documentElement.scrollWidth > innerWidth))
          findings.push('wide')
      }

      await eventually(() => page.evaluate(() => document.querySelectorAll('section').length === 3))
      await judge()
      await press(page, 'Send me a link')
      await judge()
      for (const { purpose, title, button, route } of links) {
        stage.gate.play(route, done)
        await page.goto(`${stage.gate.url}/account#${purpose}=${token}`)
        await shows(page, title)
        await judge()
        await fillPasswords(page, newPassword)
        if (purpose === 'register') continue
        await press(page, button)
        await eventually(() =>
          page.evaluate(() => Boolean(document.querySelector('.done')?.checkVisibility())),
        )
        await judge()
      }

      expect(findings).toEqual([])
      expect(complaints).toEqual([])
    },
  )
})

/** Waits for a mail to the user, and returns what its link has behind the address of the page. */
const mailed = async ({ server }: Stage, email: string, purpose: string) =>
  new URL(await linkIn(server, email, purpose)).hash

const tryLogin = ({ server }: Stage, email: string, password: string) =>
  send('POST', `${server.url}/auth/login`, { body: { email, password } })

/** Opens a link as a mail scanner does: by HEAD, by GET, and in a browser that runs scripts and presses nothing. */
async function scan(stage: Stage, fragment: string, heading: string): Promise<void> {
  for (const method of ['HEAD', 'GET']) await fetch(`${stage.server.url}/account${fragment}`, { method })
  const page = await open(stage, fragment)
  await shows(page, heading)
  await eventually(() => stage.gate.asked.some(({ url }) => url === '/account/login'))
  await page.reload()
  await page.close()
}

inBrowser('links of mails, from the mail to the database', () => {
  const stage = useStage()

  test('a forgotten password: the mail is scanned, the old password works until the button is pressed, once', async () => {
    const email = await newUser(stage)
    const page = await open(stage)
    await page.getByLabel('E-mail address').fill(email)
    await press(page, 'Send me a link')
    await shows(page, 'Look into your mailbox')
    const fragment = await mailed(stage, email, 'reset')

    await scan(stage, fragment, 'Set a new password')
    const before = await tryLogin(stage, email, password)
    const reset = await open(stage, fragment)
    await reset.getByLabel('New password').fill('short')
    await press(reset, 'Set the password')
    await says(reset, 'The new password must have 15 characters or more.')
    await fillPasswords(reset, newPassword)
    await press(reset, 'Set the password')
    await shows(reset, 'Your password is changed')
    const after = [await tryLogin(stage, email, password), await tryLogin(stage, email, newPassword)]
    const again = await open(stage, fragment)
    await fillPasswords(again, 'a train full of trombones')
    await press(again, 'Set the password')
    await shows(again, 'This link no longer works')

    expect(before.status).toBe(200)
    expect(after.map(({ status }) => status)).toEqual([401, 200])
    expect((await tryLogin(stage, email, newPassword)).status).toBe(200)
  })

  test('an address is verified by the password of its account, or by a login', async () => {
    const isVerified = async (email: string) =>
      ((await tryLogin(stage, email, password)).body.user as { emailVerified: boolean }).emailVerified
    const email = await newUser(stage)
    const fragment = await mailed(stage, email, 'verify')
    await scan(stage, fragment, 'Confirm your e-mail address')
    const before = await isVerified(email)

    const page = await open(stage, fragment)
    await isVisible(page, '[type=password]')
    await page.getByLabel('Password of your account').fill('not the password')
    await press(page, 'Confirm the address')
    await says(page, 'This is not the password of that account.')
    await fillPasswords(page, password)
    await press(page, 'Confirm the address')
    await shows(page, 'Your address is confirmed')
    const other = await openLoggedIn(stage)
    await other.page.goto('about:blank')
    await other.page.goto(`${stage.gate.url}/account${await mailed(stage, other.email, 'verify')}`)
    await eventually(() => stage.gate.asked.some(({ url }) => url === '/account/login'))
    await press(other.page, 'Confirm the address')
    await shows(other.page, 'Your address is confirmed')

    expect([before, await isVerified(email), await isVerified(other.email)]).toEqual([false, true, true])
  })

  test('an address is changed by the link to the new one, and its former owner gets it back', async () => {
    const { page, email } = await openLoggedIn(stage)
    const next = newEmail()
    const follow = async (fragment: string, button: string, after: string) => {
      await page.goto('about:blank')
      await page.goto(`${stage.gate.url}/account${fragment}`)
      await eventually(() => stage.gate.asked.at(-1)?.url === '/account/login')
      await press(page, button)
      await shows(page, after)
    }
    await follow(await mailed(stage, email, 'verify'), 'Confirm the address', 'Your address is confirmed')

    await page.goto(`${stage.gate.url}/account`)
    await eventually(() => page.evaluate(() => document.querySelectorAll('section').length === 3))
    await page.getByLabel('New e-mail address').fill(next)
    await press(page, 'Change the address')
    const change = await mailed(stage, next, 'email')
    await scan(stage, change, 'Confirm your new e-mail address')
    const before = await tryLogin(stage, next, password)
    await follow(change, 'Use the new address', 'Your new address is confirmed')
    const changed = [await tryLogin(stage, email, password), await tryLogin(stage, next, password)]
    const undo = await mailed(stage, email, 'undo')
    await scan(stage, undo, 'Get your former address back')
    const scanned = await tryLogin(stage, next, password)
    await follow(undo, 'Undo the change', 'Your address is back')
    const undone = [await tryLogin(stage, email, password), await tryLogin(stage, next, password)]

    const statuses = (answers: { status: number }[]) => answers.map(({ status }) => status)
    expect(statuses([before, ...changed, scanned, ...undone])).toEqual([401, 401, 200, 200, 401, 401])
    const reset = await open(stage, await mailed(stage, email, 'reset'))
    await fillPasswords(reset, newPassword)
    await press(reset, 'Set the password')
    await shows(reset, 'Your password is changed')
    expect((await tryLogin(stage, email, newPassword)).status).toBe(200)
  })
})

inBrowser('links of mails, if an account exists only after its address is confirmed', () => {
  const stage = useStage({ REGISTRATION: 'verified' })

  test('the account exists after the button and the password, and this browser is logged in', async () => {
    const email = newEmail()
    await send('POST', `${stage.server.url}/auth/register`, { body: { email, password } })
    const fragment = await mailed(stage, email, 'register')
    await scan(stage, fragment, 'Create your account')
    const before = await tryLogin(stage, email, password)

    const page = await open(stage, fragment)
    await page.getByLabel('Password').fill(password)
    await press(page, 'Create the account')
    await shows(page, 'Your account is ready')
    await page.goto(`${stage.gate.url}/account`)
    await eventually(() => page.evaluate(() => document.querySelectorAll('section').length === 3))

    expect([before.status, (await tryLogin(stage, email, password)).status]).toEqual([401, 200])
  })
})
