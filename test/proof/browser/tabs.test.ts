// The browser client: real cookies, locks and tabs, on a real server.
import { expect, test } from '@jest/globals'
import type { Page } from 'playwright-core'
import { password } from '../../support/app.ts'
import { send } from '../../support/server.ts'
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

const wakeRounds = Number(process.env.WAKE_ROUNDS ?? (engine === 'chromium' ? 50 : 25))

inBrowser('a login and its tabs', () => {
  const stage = useStage()

  async function openTabs(count: number, before?: () => void): Promise<Page[]> {
    const email = await newUser(stage)
    const tabs = await Promise.all(Array.from({ length: count }, () => openTab(stage, before)))
    await logIn(tabs[0] as Page, email)
    // One after the other, because tabs share no news before the first load.
    for (const tab of tabs) if (!(await userOf(tab))) await boot(tab)
    return tabs
  }

  test('a reload and a new tab restore the login', async () => {
    const { tab, email } = await openLoggedIn(stage)

    const reloaded = await openTab(stage)
    const restored = await boot(reloaded)
    await tab.close()
    const later = await openTab(stage)

    expect(restored?.email).toBe(email)
    expect(await reasonsOf(reloaded)).toEqual(['restored'])
    expect((await boot(later))?.email).toBe(email)
    expect(await me(later)).toEqual({ status: 200, email })
  })

  test('if nobody is logged in, the first refresh says so', async () => {
    const tab = await openTab(stage)

    expect(await boot(tab)).toBeUndefined()
    expect(await reasonsOf(tab)).toEqual(['refresh_token_missing'])
    expect(await me(tab)).toMatchObject({ status: 401 })
  })

  /** Lets the tokens of all tabs expire, then lets all tabs call the server within 40 ms. Repeats this. */
  async function wakeUp(tabs: Page[], rounds: number): Promise<number[]> {
    const rotations: number[] = []
    const email = await emailOf(tabs[0] as Page)
    for (let round = 0; round < rounds; round++) {
      stage.gate.refreshes.length = 0
      await passLifetime(...tabs)
      const at = Date.now() + 200
      const answers = await Promise.all(
        tabs.map((tab) =>
          tab.evaluate(async (at) => {
            const pause = at - (Date.now() - globalThis.skew) + Math.random() * 40
            await new Promise((resolve) => setTimeout(resolve, pause))
            const answer = await globalThis.auth.fetch(`${globalThis.api}/users/me`)
            return { status: answer.status, email: (await answer.json()).email }
          }, at),
        ),
      )
      expect(answers).toEqual(tabs.map(() => ({ status: 200, email })))
      expect(stage.gate.refreshes.filter(({ status }) => status !== 200)).toEqual([])
      rotations.push(new Set(stage.gate.refreshes.map(({ generation }) => generation)).size)
    }
    return rotations
  }

  test('ten tabs that wake within 40 ms with expired tokens cause one rotation, and nobody is logged out [B3]', async () => {
    const tabs = await openTabs(10)

    const rotations = await wakeUp(tabs, wakeRounds)

    expect(rotations).toEqual(rotations.map(() => 1))
    expect(await Promise.all(tabs.map(reasonsOf))).toEqual(tabs.map(() => [expect.any(String)]))
  })

  test('ten tabs that wake without Web Locks cause one rotation too', async () => {
    const tabs = await openTabs(10, () => Object.defineProperty(navigator, 'locks', { value: undefined }))

    const rotations = await wakeUp(tabs, wakeRounds)

    expect(rotations).toEqual(rotations.map(() => 1))
    expect(await Promise.all(tabs.map(reasonsOf))).toEqual(tabs.map(() => [expect.any(String)]))
  })

  test('without BroadcastChannel each tab causes one rotation at most, and nobody is logged out', async () => {
    const tabs = await openTabs(10, () =>
      Object.defineProperty(globalThis, 'BroadcastChannel', { value: undefined }),
    )

    const rotations = await wakeUp(tabs, 5)

    expect(Math.max(...rotations)).toBeLessThanOrEqual(10)
    expect(await Promise.all(tabs.map(reasonsOf))).toEqual(tabs.map(() => [expect.any(String)]))
  })

  test('a logout in one tab reaches nine others within a second, and none of them can refresh afterwards', async () => {
    const tabs = await openTabs(10)
    const [first, ...others] = tabs as [Page, ...Page[]]

    // By the clock of the pages, so that the time for asking ten tabs does not count.
    const heard = others.map((tab) =>
      tab.evaluate(
        () =>
          new Promise<number>((hear) =>
            globalThis.auth.onChange(() => hear(performance.timeOrigin + performance.now())),
          ),
      ),
    )
    await Promise.all(others.map(userOf))

    const began = await first.evaluate(async () => {
      const began = performance.timeOrigin + performance.now()
      await globalThis.auth.logout()
      return began
    })
    const heardAt = await Promise.all(heard)

    expect(Math.max(...heardAt) - began).toBeLessThan(1_000)
    expect(await Promise.all(others.map(userOf))).toEqual(others.map(() => undefined))
    expect(await Promise.all(others.map((tab) => reasonsOf(tab).then((reasons) => reasons.at(-1))))).toEqual(
      others.map(() => 'logout'),
    )
    expect(await Promise.all(others.map(boot))).toEqual(others.map(() => undefined))
  })

  test('a refresh that is running at a logout, in this tab or in another, does not restore the login [B6]', async () => {
    const [first, second] = (await openTabs(2)) as [Page, Page]
    for (const tab of [first, second]) {
      const email = await newUser(stage)
      await logIn(first, email)
      await eventually(async () => (await emailOf(second)) === email)
      stage.gate.play('/auth/refresh', 400, 1)
      const before = stage.gate.count('/auth/refresh')
      const refreshing = tab.evaluate(() => globalThis.auth.refresh())
      await eventually(() => stage.gate.count('/auth/refresh') > before)
      await first.evaluate(() => globalThis.auth.logout())

      expect(await refreshing).toBeUndefined()
      expect(await Promise.all([userOf(first), userOf(second)])).toEqual([undefined, undefined])
      expect(await boot(await openTab(stage))).toBeUndefined()
    }
  })

  test('a refresh of a tab that has not heard of a logout yet does not restore the login', async () => {
    const [first, second] = (await openTabs(2)) as [Page, Page]
    // The same as news that takes 500 ms: what this tab begins now seems to be later than the logout.
    await second.evaluate(() => {
      globalThis.skew += 500
    })
    stage.gate.play('/auth/refresh', 1_000, 1)
    const before = stage.gate.count('/auth/refresh')
    const refreshing = boot(second)
    await eventually(() => stage.gate.count('/auth/refresh') > before)

    await first.evaluate(() => globalThis.auth.logout())

    expect(await refreshing).toBeUndefined()
    expect(await Promise.all([userOf(first), userOf(second)])).toEqual([undefined, undefined])
    expect(await Promise.all([first, second].map(reasonsOf))).toEqual(
      [first, second].map(() => [expect.any(String), 'logout']),
    )
  })

  test('a login that a logout overtakes fails, and its session ends on the server too', async () => {
    const email = await newUser(stage)
    const tab = await openTab(stage)
    stage.gate.play('/auth/login', 300, 1)

    const failed = await tab.evaluate(async (email) => {
      const login = globalThis.failure(globalThis.auth.login(email, 'my dog is called rex'))
      await new Promise((resolve) => setTimeout(resolve, 100))
      await globalThis.auth.logout()
      return login
    }, email)

    expect(failed).toMatchObject({ name: 'AuthClientError', code: 'overtaken' })
    expect(await userOf(tab)).toBeUndefined()
    expect(await boot(await openTab(stage))).toBeUndefined()
  })

  test('when another user logs in in one tab, all tabs change, and none mixes the two users', async () => {
    const tabs = await openTabs(5)
    const [first, ...others] = tabs as [Page, ...Page[]]
    const before = String(await emailOf(first))
    const after = await newUser(stage)
    stage.gate.play('/users/me', 200)
    await Promise.all(
      others.map((tab) =>
        tab.evaluate(() => {
          const seen: [string | undefined, string | undefined][] = []
          Object.assign(globalThis, { seen, running: true })
          const poll = async () => {
            // Chromium's cache lets requests of all tabs for one URL wait for each other.
            const url = `${globalThis.api}/users/me?${Math.random()}`
            const answer = await globalThis.auth.fetch(url).catch((error) => error)
            // What a page would show: who is logged in now, and what the server says about them.
            if (answer.code !== 'overtaken')
              seen.push([globalThis.auth.user()?.email, (await answer.json()).email])
            if (Reflect.get(globalThis, 'running')) void poll()
          }
          // One at a time, because all tabs together have six connections to a server.
          void poll()
        }),
      ),
    )

    const seenBy = (tab: Page): Promise<[string?, string?][]> =>
      tab.evaluate(() => Reflect.get(globalThis, 'seen'))
    const enough = async (email: string) => {
      const seen = await Promise.all(others.map(seenBy))
      return seen.every((all) => all.filter(([, told]) => told === email).length > 3)
    }
    await eventually(() => enough(before))
    await logIn(first, after)
    await eventually(() => enough(after))

    for (const tab of others) {
      await tab.evaluate(() => Reflect.set(globalThis, 'running', false))
      const seen = await seenBy(tab)
      expect(seen.filter(([shown, told]) => told !== undefined && shown !== told)).toEqual([])
      expect(new Set(seen.map(([shown]) => shown))).toEqual(new Set([before, after]))
      expect((await reasonsOf(tab)).slice(-1)).toEqual(['elsewhere'])
    }
  })

  test('a request of one user is not sent as another user who has logged in in the meantime', async () => {
    const withoutLocks = () => Object.defineProperty(navigator, 'locks', { value: undefined })
    const [tab, other] = (await openTabs(2, withoutLocks)) as [Page, Page]
    const second = await newUser(stage)
    // All tabs of a machine have the same clock.
    await passLifetime(tab, other)
    stage.gate.refreshes.length = 0
    stage.gate.play('/auth/refresh', 3_000, 1)
    const before = stage.gate.count('/auth/sessions')

    const asked = tab.evaluate(() =>
      globalThis.failure(globalThis.auth.fetch(`${globalThis.api}/auth/sessions`)),
    )
    await eventually(() => stage.gate.refreshes.length === 1)
    await logIn(other, second)

    expect(await asked).toMatchObject({ name: 'AuthClientError', code: 'overtaken' })
    expect(stage.gate.count('/auth/sessions')).toBe(before)
    await eventually(async () => (await emailOf(tab)) === second)
  })

  test('a login waits for the refresh of another tab, because a late answer would restore the old cookie', async () => {
    const [tab, other] = (await openTabs(2)) as [Page, Page]
    const second = await newUser(stage)
    stage.gate.refreshes.length = 0
    stage.gate.play('/auth/refresh', 800, 1)

    const refreshed = boot(tab)
    await eventually(() => stage.gate.refreshes.length === 1)
    await logIn(other, second)
    await refreshed

    await eventually(async () => (await emailOf(tab)) === second)
    expect((await boot(await openTab(stage)))?.email).toBe(second)
  })

  test('a login waits for the slow logout of another tab, because a late answer would clear the new cookie', async () => {
    const [tab, other] = (await openTabs(2)) as [Page, Page]
    const second = await newUser(stage)
    stage.gate.play('/auth/logout', 800, 1)

    const loggedOut = tab.evaluate(() => globalThis.auth.logout())
    await eventually(async () => (await userOf(other)) === undefined)
    await logIn(other, second)
    await loggedOut

    expect((await boot(await openTab(stage)))?.email).toBe(second)
    await eventually(async () => (await emailOf(tab)) === second)
  })

  test('a request that waits for a token is not sent if the user logs out', async () => {
    const [tab] = (await openTabs(1)) as [Page]
    const before = stage.gate.count('/auth/sessions')
    stage.gate.refreshes.length = 0
    stage.gate.play('/auth/refresh', 400, 1)
    const asked = tab.evaluate(() => {
      globalThis.skew += 900_000
      return globalThis.failure(globalThis.auth.fetch(`${globalThis.api}/auth/sessions`))
    })
    await eventually(() => stage.gate.refreshes.length === 1)
    await tab.evaluate(() => globalThis.auth.logout())

    expect(await asked).toMatchObject({ code: 'overtaken' })
    expect(stage.gate.count('/auth/sessions')).toBe(before)
  })

  test('tabs follow each other after the clock was set back by an hour', async () => {
    const [tab, other] = (await openTabs(2)) as [Page, Page]
    const [first, second] = [await newUser(stage), await newUser(stage)]
    await tab.evaluate(() => {
      globalThis.skew = 3_600_000
    })
    await logIn(tab, first)
    await tab.evaluate(() => {
      globalThis.skew = 0
    })

    const fresh = await openTab(stage)
    await logIn(fresh, second)
    await eventually(async () => (await emailOf(tab)) === second)
    await fresh.evaluate(() => globalThis.auth.logout())
    await eventually(async () => (await userOf(tab)) === undefined)
    await eventually(async () => (await userOf(other)) === undefined)
  })

  const newPassword = 'a bus full of violins'
  const changePassword = (tab: Page, current = password) =>
    tab.evaluate(
      ([current, next]) => globalThis.auth.changePassword(String(current), String(next)),
      [current, newPassword],
    )

  test('a password change ends all older sessions, and all tabs continue with the new one', async () => {
    const [tab, other] = (await openTabs(2)) as [Page, Page]
    const email = String(await emailOf(tab))
    const copy = (await stage.context.cookies()).find(({ name }) => name.startsWith('refresh_token'))?.value
    const refreshes = stage.gate.refreshes.length

    expect(await changePassword(tab)).toMatchObject({ email })

    expect([await me(tab), await me(other)]).toEqual([
      { status: 200, email },
      { status: 200, email },
    ])
    expect(stage.gate.refreshes.length).toBe(refreshes)
    expect((await boot(await openTab(stage)))?.email).toBe(email)
    expect(await reasonsOf(other)).toEqual([expect.any(String)])
    const stolen = await send('POST', `${stage.server.url}/auth/refresh`, { refreshToken: String(copy) })
    expect(stolen.code).toBe('session_ended')
  })

  test('a request that is refused while the password changes is sent again with the new token', async () => {
    const [tab, other] = (await openTabs(2)) as [Page, Page]
    const email = String(await emailOf(tab))
    stage.gate.play('/auth/password', 800, 1)
    const before = stage.gate.count('/auth/password')

    const changed = changePassword(tab)
    await eventually(() => stage.gate.count('/auth/password') > before)
    // The server has changed the password, and no tab knows yet.
    await eventually(async () => {
      const { code } = await send('POST', `${stage.server.url}/auth/login`, { body: { email, password } })
      return code === 'invalid_credentials'
    })
    expect(await me(other)).toEqual({ status: 200, email })
    await changed

    expect(await me(tab)).toEqual({ status: 200, email })
    expect(await reasonsOf(other)).toEqual([expect.any(String)])
  })

  test('a password change that the server refuses says why, and the login stays', async () => {
    const [tab] = (await openTabs(1)) as [Page]
    const email = String(await emailOf(tab))

    const failed = await tab.evaluate(() =>
      globalThis.failure(globalThis.auth.changePassword('not my password at all', 'a bus full of violins')),
    )

    expect(failed).toMatchObject({ code: 'wrong_password', status: 403 })
    expect(await me(tab)).toEqual({ status: 200, email })
  })

  test('a password change is sent again with a new token if the server asks for one, but not as another user', async () => {
    const [tab] = (await openTabs(1)) as [Page]
    const body = '{"code":"access_token_invalid"}'
    stage.gate.play('/auth/password', { status: 401, type: 'application/problem+json', body }, 1)
    const before = stage.gate.count('/auth/password')

    await changePassword(tab)
    expect(stage.gate.count('/auth/password') - before).toBe(2)

    const second = await newUser(stage)
    const failed = await tab.evaluate(
      async ([email, password, next]) => {
        const login = globalThis.auth.login(String(email), String(password))
        const failed = await globalThis.failure(
          globalThis.auth.changePassword(String(next), String(password)),
        )
        await login
        return failed
      },
      [second, password, newPassword],
    )
    expect(failed).toMatchObject({ code: 'overtaken' })
    expect(stage.gate.count('/auth/password') - before).toBe(2)
  })

  test('logoutAll ends the sessions of other devices too, and logs nobody out if it fails', async () => {
    const [tab] = (await openTabs(1)) as [Page]
    const email = String(await emailOf(tab))
    const other = await send('POST', `${stage.server.url}/auth/login`, {
      body: { email, password: 'my dog is called rex' },
    })
    stage.gate.play('/auth/logout-all', { status: 503, type: 'text/html', body: 'busy' }, 1)

    const failed = await tab.evaluate(() => globalThis.failure(globalThis.auth.logoutAll()))
    expect(failed).toMatchObject({ code: 'unexpected_answer', status: 503 })
    expect(await emailOf(tab)).toBe(email)
    await tab.evaluate(() => globalThis.auth.logoutAll())

    expect(await userOf(tab)).toBeUndefined()
    const refreshed = await send('POST', `${stage.server.url}/auth/refresh`, {
      refreshToken: String(other.refreshToken),
    })
    expect(refreshed.code).toBe('session_ended')
  })
})
