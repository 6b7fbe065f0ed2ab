// What the browser client does when something fails. A gate in front of a real server makes it fail.
import { setTimeout as delay } from 'node:timers/promises'
import { expect, test } from '@jest/globals'
import type { Page } from 'playwright-core'
import { password } from '../../support/app.ts'
import { generationOf, send } from '../../support/server.ts'
import {
  boot,
  emailOf,
  engine,
  eventually,
  inBrowser,
  logIn,
  me,
  newUser,
  openLoggedIn,
  openTab,
  passLifetime,
  reasonsOf,
  userOf,
  useStage,
} from './browser.ts'
import type { Trick } from './gate.ts'

type Case = [what: string, trick: Trick, code: string]

/** Cases that are the same in every browser, so one browser is enough. */
const inChromium = (...cases: Case[]): Case[] => (engine === 'chromium' ? cases : [])

inBrowser('failures', () => {
  const stage = useStage()

  const refreshFails = (tab: Page) => tab.evaluate(() => globalThis.failure(globalThis.auth.refresh()))

  test('if the answer of a refresh is lost, the next try continues the session [B3]', async () => {
    const { tab, email } = await openLoggedIn(stage)
    stage.gate.refreshes.length = 0
    // Chromium sends a request again by itself if a connection that it had kept open is cut.
    stage.gate.play('/auth/refresh', 'lose', 3)

    const failed = await refreshFails(tab)
    const shown = await emailOf(tab)
    await eventually(() => stage.gate.refreshes.length > 3)
    const again = await boot(tab)

    expect(failed).toMatchObject({ name: 'AuthClientError', code: 'unreachable', status: 0 })
    expect([shown, again?.email]).toEqual([email, email])
    expect(stage.gate.refreshes.map(({ status }) => status)).toEqual(stage.gate.refreshes.map(() => 200))
    expect(await me(tab)).toEqual({ status: 200, email })
    expect(await reasonsOf(tab)).toEqual(['login'])
  })

  test('if a tab is closed during a refresh, the next tab continues the session', async () => {
    const { tab, email } = await openLoggedIn(stage)
    for (const trick of [300, 'lose'] as const) {
      const closing = await openTab(stage)
      await boot(closing)
      stage.gate.play('/auth/refresh', trick, 1)
      const before = stage.gate.count('/auth/refresh')
      void closing.evaluate(() => globalThis.auth.refresh()).catch(() => {})
      await eventually(() => stage.gate.count('/auth/refresh') > before)
      await closing.close()

      // The answer reaches the cookies even after the tab was closed.
      if (trick !== 'lose')
        await eventually(async () => {
          const [cookie] = (await stage.context.cookies()).filter(({ name }) =>
            name.startsWith('refresh_token'),
          )
          return generationOf(cookie?.value) === stage.gate.refreshes.at(-1)?.generation
        }, 2_000)
      expect((await boot(await openTab(stage)))?.email).toBe(email)
    }
    expect(await me(tab)).toEqual({ status: 200, email })
  })

  test('after someone else has used a copy of the cookie, the next refresh says why the login has ended', async () => {
    const { tab } = await openLoggedIn(stage)
    const reloaded = await openTab(stage)
    const [cookie] = (await stage.context.cookies()).filter(({ name }) => name.startsWith('refresh_token'))
    let stolen = String(cookie?.value)
    for (let i = 0; i < 2; i++)
      stolen = String(
        (await send('POST', `${stage.server.url}/auth/refresh`, { refreshToken: stolen })).refreshToken,
      )

    await passLifetime(tab)
    const failed = await tab.evaluate(() =>
      globalThis.failure(globalThis.auth.fetch(`${globalThis.api}/users/me`)),
    )

    expect(failed).toMatchObject({ code: 'overtaken' })
    expect(await userOf(tab)).toBeUndefined()
    expect(await reasonsOf(tab)).toEqual(['login', 'refresh_token_reused'])
    expect(await boot(reloaded)).toBeUndefined()
    const thief = await send('POST', `${stage.server.url}/auth/refresh`, { refreshToken: stolen })
    expect(thief.code).toBe('session_ended')
  })

  test('after another device has ended the session, the next request is refused, and the page hears why', async () => {
    const { tab, email } = await openLoggedIn(stage)
    const other = await send('POST', `${stage.server.url}/auth/login`, { body: { email, password } })
    await send('POST', `${stage.server.url}/auth/logout-all`, { accessToken: other.accessToken })

    expect(await me(tab)).toEqual({ status: 401, email: undefined })
    expect(await reasonsOf(tab)).toEqual(['login', 'session_ended'])
    expect(await userOf(tab)).toBeUndefined()
  })

  test('if the server is down for 30 s, tabs ask seldom, stay logged in, and continue afterwards', async () => {
    const email = await newUser(stage)
    const tabs = await Promise.all(Array.from({ length: 4 }, () => openTab(stage)))
    await logIn(tabs[0] as Page, email)
    await Promise.all(tabs.map((tab) => eventually(async () => (await emailOf(tab)) === email)))
    await Promise.all(
      tabs.map((tab) =>
        tab.evaluate(() => {
          const plain = globalThis.fetch
          Object.assign(globalThis, { refreshes: 0, good: 0, running: true })
          globalThis.fetch = (input, init) => {
            if (String(input).endsWith('/auth/refresh'))
              Reflect.set(globalThis, 'refreshes', Reflect.get(globalThis, 'refreshes') + 1)
            return plain(input, init)
          }
          setInterval(() => {
            globalThis.auth
              .fetch(`${globalThis.api}/users/me`)
              .then(({ ok }) => ok && Reflect.set(globalThis, 'good', Reflect.get(globalThis, 'good') + 1))
              .catch(() => {})
          }, 100)
        }),
      ),
    )
    const numbers = (name: string): Promise<number[]> =>
      Promise.all(tabs.map((tab) => tab.evaluate((name) => Reflect.get(globalThis, name), name)))

    stage.gate.shut()
    await passLifetime(...tabs)
    await delay(30_000)
    const asked = await numbers('refreshes')
    stage.gate.open()
    const before = await numbers('good')
    await eventually(async () => (await numbers('good')).every((good, i) => good > (before[i] ?? 0)))

    expect(Math.max(...asked)).toBeLessThanOrEqual(8)
    expect(Math.min(...asked)).toBeGreaterThanOrEqual(3)
    expect(await Promise.all(tabs.map(emailOf))).toEqual(tabs.map(() => email))
    expect(new Set((await Promise.all(tabs.map(reasonsOf))).flat())).toEqual(new Set(['login', 'elsewhere']))
  })

  test('a page that loads while the server is down restores the login by itself', async () => {
    const { tab, email } = await openLoggedIn(stage)
    await tab.close()
    const loading = await openTab(stage)
    stage.gate.play(
      '/auth/refresh',
      { status: 503, type: 'application/problem+json', body: '{"code":"unavailable"}' },
      2,
    )

    const failed = await refreshFails(loading)
    const meanwhile = await loading.evaluate(() =>
      globalThis.failure(globalThis.auth.fetch(`${globalThis.api}/users/me`)),
    )
    await eventually(async () => (await emailOf(loading)) === email)

    expect(failed).toMatchObject({ code: 'unavailable', status: 503 })
    expect(meanwhile).toMatchObject({ code: 'unavailable', status: 503 })
    expect(await reasonsOf(loading)).toEqual(['restored'])
  })

  test('concurrent requests without a token cause one refresh, and all of them say why it failed', async () => {
    const { tab } = await openLoggedIn(stage)
    await passLifetime(tab)
    stage.gate.play('/auth/refresh', {
      status: 503,
      type: 'application/json',
      body: '{"code":"unavailable"}',
    })
    const before = stage.gate.count('/auth/refresh')

    const codes = await tab.evaluate(async () => {
      const request = () => globalThis.failure(globalThis.auth.fetch(`${globalThis.api}/users/me`))
      const failed = await Promise.all(Array.from({ length: 20 }, request))
      return failed.map((one) => one?.code)
    })

    expect(codes).toEqual(codes.map(() => 'unavailable'))
    expect(stage.gate.count('/auth/refresh') - before).toBe(1)
  })

  test('it waits as long as Retry-After says', async () => {
    const { tab } = await openLoggedIn(stage)
    const body = '{"code":"unavailable"}'
    const headers = { 'Retry-After': '3', 'Access-Control-Expose-Headers': 'Retry-After' }
    stage.gate.play('/auth/refresh', { status: 503, type: 'application/problem+json', body, headers }, 1)

    const before = stage.gate.count('/auth/refresh')
    await refreshFails(tab)
    await delay(2_500)
    const early = stage.gate.count('/auth/refresh') - before
    await eventually(() => stage.gate.count('/auth/refresh') - before === 2)

    expect(early).toBe(1)
  })

  const html = '<!doctype html><h1>Sign in to the Wi-Fi</h1>'
  const user = { id: '1', email: 'a@example.com' }
  test.each<Case>([
    ['HTML', { status: 200, type: 'text/html', body: html }, 'unexpected_answer'],
    [
      'a redirect',
      { status: 307, type: 'text/html', body: '', headers: { Location: '/livez' } },
      'unreachable',
    ],
    ['nothing at all', 'hang' as const, 'unreachable'],
    ...inChromium(
      ['HTML with 401', { status: 401, type: 'text/html', body: html }, 'unexpected_answer'],
      [
        'half a JSON',
        { status: 200, type: 'application/json', body: '{"accessToken":"ey' },
        'unexpected_answer',
      ],
      ['JSON that is null', { status: 200, type: 'application/json', body: 'null' }, 'unexpected_answer'],
      [
        'an error without a code',
        { status: 401, type: 'application/json', body: '{"error":"no"}' },
        'unexpected_answer',
      ],
      [
        'no user',
        { status: 200, type: 'application/json', body: '{"accessToken":"x","expiresIn":9}' },
        'unexpected_answer',
      ],
      [
        'a 401 of a gateway',
        { status: 401, type: 'application/json', body: '{"code":"UNAUTHORIZED"}' },
        'UNAUTHORIZED',
      ],
      [
        'a Retry-After of a month',
        {
          status: 503,
          type: 'application/json',
          body: '{"code":"unavailable"}',
          headers: { 'Retry-After': '2592000', 'Access-Control-Expose-Headers': 'Retry-After' },
        },
        'unavailable',
      ],
      [
        'expiresIn of 0',
        {
          status: 200,
          type: 'application/json',
          body: JSON.stringify({ accessToken: 'x', expiresIn: 0, user }),
        },
        'unexpected_answer',
      ],
      [
        '403 for a foreign origin',
        { status: 403, type: 'application/json', body: '{"code":"cross_site_request"}' },
        'cross_site_request',
      ],
    ),
  ])(
    'a refresh that is answered with %s says why, keeps the login, and is tried again seldom',
    async (_what, trick, code) => {
      const { tab, email } = await openLoggedIn(stage)
      stage.gate.play('/auth/refresh', trick)
      const before = stage.gate.count('/auth/refresh')

      const failed = await refreshFails(tab)
      await delay(1_500)

      expect(failed).toMatchObject({ name: 'AuthClientError', code })
      expect(failed?.message).toMatch(/\w/)
      expect(await emailOf(tab)).toBe(email)
      expect(await reasonsOf(tab)).toEqual(['login'])
      expect(stage.gate.count('/auth/refresh') - before).toBeLessThanOrEqual(3)
      // The old token is still valid.
      expect(await me(tab)).toEqual({ status: 200, email })
      stage.gate.relent()
      // A try that is running may still have to time out.
      await eventually(async () => (await boot(tab).catch(() => undefined))?.email === email)
    },
  )

  test.each<Case>([
    ['HTML', { status: 200, type: 'text/html', body: html }, 'unexpected_answer'],
    ...inChromium(
      [
        'expiresIn of 0',
        {
          status: 200,
          type: 'application/json',
          body: JSON.stringify({ accessToken: 'x', expiresIn: 0, user }),
        },
        'unexpected_answer',
      ],
      [
        '429',
        {
          status: 429,
          type: 'application/problem+json',
          body: '{"code":"too_many_attempts","detail":"Wait."}',
        },
        'too_many_attempts',
      ],
    ),
  ])('a login that is answered with %s fails, and nobody is logged in', async (_what, trick, code) => {
    const email = await newUser(stage)
    const tab = await openTab(stage)
    stage.gate.play('/auth/login', trick, 1)

    const failed = await tab.evaluate(
      ([email, password]) => globalThis.failure(globalThis.auth.login(String(email), String(password))),
      [email, password],
    )

    expect(failed).toMatchObject({ name: 'AuthClientError', code })
    expect(await userOf(tab)).toBeUndefined()
    expect(await logIn(tab, email)).toMatchObject({ email })
  })

  test('a wrong password, an address that is taken and an invalid address are refused with a code, and the login stays', async () => {
    const { tab, email } = await openLoggedIn(stage)
    const tryIt = (how: 'login' | 'register', email: string, password: string) =>
      tab.evaluate(
        ([how, email, password]) =>
          globalThis.auth[how as 'login'](String(email), String(password)).catch(
            ({ code, status, errors }) => ({ code, status, errors }),
          ),
        [how, email, password],
      )

    expect(await tryIt('login', email, 'not my password at all')).toMatchObject({
      code: 'invalid_credentials',
      status: 401,
    })
    expect(await tryIt('register', email, password)).toMatchObject({ code: 'email_taken', status: 409 })
    expect(await tryIt('register', 'x', password)).toMatchObject({
      code: 'invalid_request',
      errors: [{ path: 'email', message: expect.any(String) }],
    })
    // The login before stays.
    expect(await emailOf(tab)).toBe(email)
    expect(await me(tab)).toMatchObject({ status: 200 })
  })

  test('a logout that fails on the server logs out here, and says that it failed', async () => {
    const { tab, email } = await openLoggedIn(stage)
    stage.gate.play(
      '/auth/logout',
      { status: 503, type: 'application/problem+json', body: '{"code":"unavailable"}' },
      1,
    )

    const failed = await tab.evaluate(() => globalThis.failure(globalThis.auth.logout()))

    expect(failed).toMatchObject({ code: 'unavailable' })
    expect(await userOf(tab)).toBeUndefined()
    expect((await boot(tab))?.email).toBe(email)
    await tab.evaluate(() => globalThis.auth.logout())
    expect(await boot(tab)).toBeUndefined()
  })

  test('login, refresh and logout work without storage, BroadcastChannel and locks, as in private modes', async () => {
    const { tab, email } = await openLoggedIn(stage, () => {
      for (const name of ['localStorage', 'sessionStorage', 'indexedDB'])
        Object.defineProperty(globalThis, name, {
          get() {
            throw new DOMException('switched off', 'SecurityError')
          },
        })
      globalThis.BroadcastChannel = class {
        constructor() {
          throw new DOMException('switched off', 'SecurityError')
        }
      } as unknown as typeof BroadcastChannel
      // Firefox runs this on about:blank too, which has no locks.
      if (navigator.locks)
        navigator.locks.request = () => Promise.reject(new DOMException('switched off', 'SecurityError'))
    })

    expect((await boot(tab))?.email).toBe(email)
    expect(await me(tab)).toEqual({ status: 200, email })
    await tab.evaluate(() => globalThis.auth.logout())
    expect(await boot(tab)).toBeUndefined()
  })

  test('a tab that never releases the lock does not stop other tabs', async () => {
    const { tab, email } = await openLoggedIn(stage)
    const other = await openTab(stage)
    await other.evaluate(
      () => void navigator.locks.request(`auth-client 1 ${globalThis.api}`, () => new Promise(() => {})),
    )

    const began = Date.now()
    expect((await boot(tab))?.email).toBe(email)
    expect(Date.now() - began).toBeLessThan(8_000)
  })

  test('after being offline, it refreshes as soon as there is a network, and requests wait for that', async () => {
    const { tab, email } = await openLoggedIn(stage)
    // WebDriver cannot take a browser offline. Instead, the gate refuses connections, and the page gets the event.
    const setOffline = async (offline: boolean) => {
      if (engine !== 'webkit') return stage.context.setOffline(offline)
      stage.gate[offline ? 'shut' : 'open']()
      await tab.evaluate((name) => void dispatchEvent(new Event(name)), offline ? 'offline' : 'online')
    }
    await setOffline(true)
    await passLifetime(tab)

    const failed = await tab.evaluate(() =>
      globalThis.failure(globalThis.auth.fetch(`${globalThis.api}/users/me`)),
    )
    await delay(4_000)
    const before = stage.gate.count('/auth/refresh')
    // So slow that the page sends a request in the meantime. The request waits for this refresh.
    stage.gate.play('/auth/refresh', 500, 1)
    await setOffline(false)
    await eventually(() => stage.gate.count('/auth/refresh') > before, 1_000)

    expect(failed).toMatchObject({ code: 'unreachable' })
    expect(await me(tab)).toEqual({ status: 200, email })
    expect(await reasonsOf(tab)).toEqual(['login'])
  })

  test.each([
    ['both clocks', { wall: true, running: true }],
    ['only the wall clock', { wall: true, running: false }],
    ['only the running clock, because the wall clock was set back', { wall: false, running: true }],
  ])('after a sleep in which %s moved on, it refreshes before it uses the token', async (_what, clocks) => {
    const { tab, email } = await openLoggedIn(stage)
    await tab.evaluate(({ wall, running }) => {
      const { now } = Date
      const current = performance.now.bind(performance)
      Date.now = () => now() + (wall ? 3_600_000 : -3_600_000)
      performance.now = () => current() + (running ? 3_600_000 : 0)
    }, clocks)
    const before = stage.gate.count('/auth/refresh')

    expect(await me(tab)).toEqual({ status: 200, email })
    expect(stage.gate.count('/auth/refresh') - before).toBe(1)
    expect(await me(tab)).toEqual({ status: 200, email })
    expect(stage.gate.count('/auth/refresh') - before).toBe(1)
  })

  test('a page that comes into view refreshes if the token has expired, and not before', async () => {
    const { tab } = await openLoggedIn(stage)
    const before = stage.gate.count('/auth/refresh')
    const comeIntoView = () => tab.evaluate(() => document.dispatchEvent(new Event('visibilitychange')))

    await comeIntoView()
    await delay(300)
    const early = stage.gate.count('/auth/refresh') - before
    await passLifetime(tab)
    await comeIntoView()
    await eventually(() => stage.gate.count('/auth/refresh') - before === 1)

    expect(early).toBe(0)
  })

  test('a page from the back/forward cache finds out that the login has ended in the meantime', async () => {
    const { tab, email } = await openLoggedIn(stage)
    await delay(500) // Browsers do not cache pages that hold a lock.
    await tab.goto(stage.pages.replace('localhost', 'elsewhere.test'))
    const other = await send('POST', `${stage.server.url}/auth/login`, { body: { email, password } })
    await send('POST', `${stage.server.url}/auth/logout-all`, { accessToken: other.accessToken })

    // Playwright waits for a load event, but there is none.
    await tab.goBack({ timeout: 1_000 }).catch(() => {})

    await eventually(async () => (await userOf(tab)) === undefined)
    expect(await reasonsOf(tab)).toEqual(['login', 'session_ended'])
  })

  test('a listener that throws does not stop other listeners, and its error is reported', async () => {
    const tab = await openTab(stage)
    const email = await newUser(stage)
    const told = await tab.evaluate(
      async ([email, password]) => {
        const reasons: string[] = []
        globalThis.auth.onChange(() => {
          throw new Error('of the page')
        })
        globalThis.auth.onChange(({ reason }) => reasons.push(reason))
        await globalThis.auth.login(String(email), String(password))
        return reasons
      },
      [email, password],
    )

    expect(told).toEqual(['login'])
    await eventually(() => stage.errors.length > 0)
    expect(stage.errors.splice(0)).toEqual([expect.stringContaining('of the page')])
  })
})
