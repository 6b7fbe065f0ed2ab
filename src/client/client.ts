import type { AuthClient, Change, User } from './api.ts'
import { createAuthFetch, refreshable } from './auth-fetch.ts'
import type { Clock } from './clock.ts'
import { createLogin, type Grant } from './login.ts'
import { createRefresher } from './refresh.ts'
import { createRequests, overtaken } from './requests.ts'
import { createTabLock, type Locks } from './tab-lock.ts'
import { createTabs, type OpenChannel } from './tabs.ts'

/** What the client needs of a page. */
export interface Page {
  clock: Clock
  random: () => number
  send: typeof fetch
  locks: Locks | undefined
  openChannel: OpenChannel
  /**
   * Calls `work` when the page may have missed something.
   * @param work is told whether the page was frozen, so that it heard nothing of other tabs
   * @returns a function that ends it
   */
  onWake: (work: (wasFrozen: boolean) => void) => () => void
  reportError: (error: unknown) => void
}

/**
 * Keeps a login for a page.
 * @param server the server's origin
 * @param trusted the origins whose requests get the access token
 */
export function createClient(server: string, trusted: readonly string[], page: Page): AuthClient {
  // Tabs with another version of the messages do not hear each other.
  const name = `auth-client 1 ${server}`
  const listeners = new Set<(change: Change) => void>()
  // Each part takes what it needs of the page and of the parts before it.
  const login = createLogin({ ...page, onChange, tell: (news) => tabs.tell(news) })
  const tabs = createTabs({ ...page, ...login, name })
  const lock = createTabLock({ ...page, ...login, ...tabs, name })
  const requests = createRequests({ ...page, server })
  const refresher = createRefresher({ ...page, login, tabs, lock, requests })
  const { ready, refresh } = refresher
  const authFetch = createAuthFetch({ ...page, ...refresher, server, trusted, login })
  const stopWaking = page.onWake((wasFrozen) => {
    if (wasFrozen || refresher.isDue()) refresh().catch(() => {})
  })

  function onChange(reason: string): void {
    for (const listener of [...listeners])
      try {
        // Pass the current user, because an earlier listener may have logged out.
        listener({ user: login.user(), reason })
      } catch (error) {
        page.reportError(error)
      }
  }

  const settleNow = (reason: string, grant?: Grant) => login.settle({ at: login.stamp(), reason, grant })

  function enter(path: string, body: object, through = page.send): Promise<User> {
    return lock.inTurn(async () => {
      const asked = login.stamp()
      const grant = await requests.askForGrant(path, { body, through })
      if (login.state().leftAt >= asked) {
        // Without the logout, the next page would find a login that the user has left.
        const undo = () => requests.ask('/auth/logout')
        await undo().catch(undo)
        throw overtaken()
      }
      settleNow('login', grant)
      return grant.user
    })
  }

  /** Sends what the user who is logged in asks for. The answer has the next token. */
  async function enterAgain(path: string, body: object): Promise<User> {
    const asker = login.user()?.id
    const sendAsAsker: typeof fetch = (input, init) => {
      if (login.user()?.id !== asker) throw overtaken()
      const Authorization = `Bearer ${login.grant()?.accessToken}`
      return page.send(input, { ...init, headers: { ...init?.headers, Authorization } })
    }
    const ask = () => enter(path, body, sendAsAsker)
    await ready()
    return ask().catch(async (error) => {
      if (!refreshable.includes(error.code) || !(await refresh())) throw error
      return ask()
    })
  }

  async function logout(): Promise<void> {
    // Before the server is asked, because the user must not see the login again.
    settleNow('logout')
    const told = requests.ask('/auth/logout')
    // The logout waits for nothing. Later logins and refreshes wait, because its answer clears the cookie.
    lock.holdFor(told)
    await told
  }

  async function logoutAll(): Promise<void> {
    await requests.ask('/auth/logout-all', { through: authFetch })
    settleNow('logout')
  }

  return {
    register: (email, password) => enter('/auth/register', { email, password }),
    login: (email, password) => enter('/auth/login', { email, password }),
    changePassword: (currentPassword, newPassword) =>
      enterAgain('/auth/password', { currentPassword, newPassword }),
    reauthenticate: (password) => enterAgain('/auth/reauthenticate', { password }),
    logout,
    logoutAll,
    refresh,
    fetch: authFetch,
    user: login.user,
    onChange(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    close() {
      stopWaking()
      refresher.close()
      tabs.close()
      listeners.clear()
    },
  }
}
