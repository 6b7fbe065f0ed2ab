// Which pages may use the server: its own, and those of listed origins of the same site.
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type { Page } from 'playwright-core'
import { password } from '../../support/app.ts'
import {
  boot,
  emailOf,
  engine,
  eventually,
  inBrowser,
  keepsSecureCookies,
  me,
  openLoggedIn,
  openTab,
  reasonsOf,
  useStage,
} from './browser.ts'

// The driver of WebKit cannot map names to this machine, so it has no foreign site.
const foreignSites = engine === 'webkit' ? () => {} : inBrowser
foreignSites('sites', () => {
  const stage = useStage()
  let foreign: Server
  let foreignUrl: string
  beforeAll(async () => {
    foreign = createServer((_req, res) => {
      res.setHeader('Content-Type', 'text/html').end('<!doctype html><title>win a prize</title>')
    }).listen(0, '127.0.0.1')
    await once(foreign, 'listening')
    foreignUrl = `http://prizes.test:${(foreign.address() as AddressInfo).port}`
  })
  afterAll(() => {
    foreign?.close()
    foreign?.closeAllConnections()
  })

  /** Returns the value of the refresh cookie. Every rotation changes it. */
  const refreshCookie = async () =>
    (await stage.context.cookies(stage.gate.url)).find(({ name }) => name.startsWith('refresh_token'))?.value

  /** Opens a page of a foreign site in a browser where a user is logged in. */
  async function visitForeign(): Promise<{ tab: Page; page: Page; email: string }> {
    const { tab, email } = await openLoggedIn(stage)
    const page = await stage.context.newPage()
    await page.goto(foreignUrl)
    return { tab, page, email }
  }

  async function expectUnharmed(tab: Page, email: string, cookie: string | undefined): Promise<void> {
    expect(await refreshCookie()).toBe(cookie)
    expect(await reasonsOf(tab)).toEqual(['login'])
    expect(await me(tab)).toEqual({ status: 200, email })
    expect((await boot(tab))?.email).toBe(email)
  }

  test.each(['/auth/refresh', '/auth/logout', '/auth/login', '/auth/sessions', '/users/me'])(
    'a foreign site can neither do nor read anything with fetch: %s [C3]',
    async (path) => {
      const { tab, page, email } = await visitForeign()
      const cookie = await refreshCookie()
      const before = stage.gate.count(path)

      const results = await page.evaluate(
        async ([url, email, password]) => {
          const method = String(url).includes('/auth/') && !String(url).endsWith('sessions') ? 'POST' : 'GET'
          const body =
            method === 'POST' && String(url).endsWith('login') ? JSON.stringify({ email, password }) : null
          const tries: RequestInit[] = [
            { method, body, credentials: 'include' },
            {
              method,
              body,
              credentials: 'include',
              headers: body ? { 'Content-Type': 'application/json' } : {},
            },
            { method, body, credentials: 'include', mode: 'no-cors' },
          ]
          const results: unknown[] = []
          for (const init of tries)
            results.push(
              await fetch(String(url), init).then(
                async (answer) => [answer.type, answer.status, await answer.text()],
                (error) => error.name,
              ),
            )
          return results
        },
        [`${stage.gate.url}${path}`, email, password],
      )

      expect(results).toEqual(['TypeError', 'TypeError', 'TypeError'])
      // The server has refused the requests, and the page cannot read the answers.
      expect(stage.gate.count(path)).toBeGreaterThan(before)
      await expectUnharmed(tab, email, cookie)
    },
  )

  test.each(['/auth/refresh', '/auth/logout', '/auth/login'])(
    'a foreign site cannot do anything with a form in its own tab: %s [C3]',
    async (path) => {
      const { tab, page, email } = await visitForeign()
      const cookie = await refreshCookie()

      const { answers } = stage.gate
      answers.length = 0
      // The browser leaves the page.
      await page
        .evaluate(
          ([url, email, password]) => {
            const form = document.createElement('form')
            Object.assign(form, { action: url, method: 'POST', enctype: 'text/plain' })
            const input = document.createElement('input')
            input.name = `{"email":"${email}","password":"${password}","x":"`
            input.value = '"}'
            form.append(input)
            document.body.append(form)
            form.submit()
          },
          [`${stage.gate.url}${path}`, email, password],
        )
        .catch(() => {})
      await eventually(() => answers.length > 0)

      expect(answers[0]).toMatchObject({ method: 'POST', url: path, status: 403 })
      expect(JSON.parse(String(answers[0]?.body))).toMatchObject({ code: 'cross_site_request' })
      await expectUnharmed(tab, email, cookie)
    },
  )

  test('a foreign site cannot do anything with an image, a script, a frame or a navigation [C3]', async () => {
    const { tab, page, email } = await visitForeign()
    const cookie = await refreshCookie()
    const url = `${stage.gate.url}/auth/refresh`

    const loaded = await page.evaluate(
      (url) =>
        Promise.all(
          ['img', 'script'].map(
            (tag) =>
              new Promise((resolve) => {
                const made = document.createElement(tag) as HTMLImageElement
                made.onload = () => resolve('loaded')
                made.onerror = () => resolve('refused')
                made.src = url
                document.body.append(made)
              }),
          ),
        ),
      url,
    )
    const framed = await page.evaluate(async (url) => {
      const frame = document.createElement('iframe')
      const done = new Promise((resolve) => {
        frame.onload = resolve
      })
      frame.src = url
      document.body.append(frame)
      await done
      return frame.contentDocument
    }, stage.gate.url)
    // Firefox rejects, because the answer is a refusal.
    await page.goto(url, { referer: foreignUrl }).catch(() => {})

    expect(loaded).toEqual(['refused', 'refused'])
    expect(framed).toBeNull()
    expect(stage.gate.answers.at(-1)).toMatchObject({ method: 'GET', url: '/auth/refresh', status: 405 })
    await expectUnharmed(tab, email, cookie)
  })

  test('the client on a page of a foreign site does not find the login, and says why [C3]', async () => {
    const { tab, email } = await visitForeign()
    const cookie = await refreshCookie()
    const page = await stage.context.newPage()
    await page.goto(stage.pages.replace('localhost', 'app.test'))

    const failed = await page.evaluate(async (url) => {
      const { createAuthClient } = await import('/auth-client.js' as string)
      return createAuthClient({ url })
        .refresh()
        .catch((error: { code: string }) => error.code)
    }, stage.gate.url)

    expect(failed).toBe('unreachable')
    await expectUnharmed(tab, email, cookie)
  })

  test('a page of another origin of the same site works if the origin is listed', async () => {
    const { email } = await openLoggedIn(stage)

    expect(new URL(stage.pages).port).not.toBe(new URL(stage.gate.url).port)
    expect(await me(await openTab(stage))).toEqual({ status: 200, email })
  })
})

inBrowser('cookies', () => {
  const stage = useStage({ COOKIE_SECURE: String(keepsSecureCookies) })

  test('the browser keeps cookies that no script can read, with __Host- if they are secure, and a reload restores the login [C1]', async () => {
    const { tab, email } = await openLoggedIn(stage)
    const reloaded = await openTab(stage)

    expect((await boot(reloaded))?.email).toBe(email)
    expect(await emailOf(tab)).toBe(email)
    const cookies = await stage.context.cookies(stage.gate.url)
    const port = new URL(stage.server.url).port
    expect(cookies.map(({ name }) => name).sort()).toEqual(
      keepsSecureCookies
        ? ['__Host-device', '__Host-refresh_token']
        : [`device_${port}`, `refresh_token_${port}`],
    )
    for (const cookie of cookies)
      expect(cookie).toMatchObject({
        httpOnly: true,
        secure: keepsSecureCookies,
        sameSite: 'Strict',
        path: '/',
        domain: 'localhost',
      })
    expect(await tab.evaluate(() => document.cookie)).toBe('')
  })
})

if (engine === 'webkit')
  inBrowser('Secure cookies on http://localhost', () => {
    const stage = useStage({ COOKIE_SECURE: 'true' })

    test('are dropped by WebKit, so a login ends with its page', async () => {
      const { tab, email } = await openLoggedIn(stage)

      expect(await me(tab)).toEqual({ status: 200, email })
      expect(await stage.context.cookies(stage.gate.url)).toEqual([])
      expect(await boot(await openTab(stage))).toBeUndefined()
    })
  })
