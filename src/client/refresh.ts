import { AuthClientError, type User } from './api.ts'
import { type Clock, since } from './clock.ts'
import type { Login, LoginKeeper } from './login.ts'
import { type Requests, refreshMs } from './requests.ts'
import type { TabLock } from './tab-lock.ts'
import type { Tabs } from './tabs.ts'

const firstPauseMs = 500
const longestPauseMs = 15_000

// The refusals that end a login. The 401 of a proxy does not.
const endings = ['refresh_token_missing', 'refresh_token_invalid', 'refresh_token_reused', 'session_ended']

/** The pause after refreshes that failed. */
interface Pause {
  /** What the tab knew then. The pause ends when there is news. */
  known: Login
  error: AuthClientError
  failures: number
  cancel: () => void
}

/** Gets new access tokens with the cookie, one at a time. Tries again after a pause if the server gives no clear answer. */
export function createRefresher(deps: {
  login: LoginKeeper
  tabs: Pick<Tabs, 'standBack' | 'stepForward'>
  lock: Pick<TabLock, 'inTurn'>
  requests: Pick<Requests, 'askForGrant'>
  clock: Clock
  random: () => number
}) {
  const { login, tabs, lock, requests, clock, random } = deps
  let refreshing: Promise<User | undefined> | undefined
  let lastPause: Pause | undefined
  let closed = false

  function refresh(): Promise<User | undefined> {
    const known = login.asOf()
    const heardNews = () => login.asOf() !== known
    refreshing ??= lock
      .inTurn(async (alone) => {
        if (!alone && !heardNews()) await tabs.standBack(heardNews)
        if (!heardNews()) await refreshNow()
        return login.user()
      }, heardNews)
      .finally(() => {
        refreshing = undefined
        tabs.stepForward()
      })
    return refreshing
  }

  async function refreshNow(): Promise<void> {
    const at = login.stamp()
    const epoch = login.epoch()
    // Another tab may have asked for a logout before this refresh, and the server may do it afterwards.
    const isSameUser = () => login.epoch() === epoch
    try {
      const grant = await requests.askForGrant('/auth/refresh', { ms: refreshMs })
      if (isSameUser()) login.settle({ at, grant, reason: login.user() ? 'elsewhere' : 'restored' })
    } catch (error) {
      if (isSameUser() && at > login.asOf()) endOrTryLater(at, error)
    }
  }

  function endOrTryLater(at: number, error: unknown): void {
    if (!(error instanceof AuthClientError)) throw error
    if (!endings.includes(error.code)) {
      tryLater(error)
      throw error
    }
    // A tab without a login cannot tell the others whose login has ended.
    const end = login.user() ? login.settle : login.apply
    end({ at, reason: error.code })
  }

  /** Tries again if there is a login to keep, or if the state is still unknown. */
  function tryLater(error: AuthClientError): void {
    if (closed || login.state().kind === 'out') return
    lastPause?.cancel()
    const failures = pause()?.failures ?? 0
    const ms = Math.max(error.retryAfter, Math.min(longestPauseMs, firstPauseMs * 2 ** failures))
    const cancel = clock.after(ms * (1 + random() / 2), () => {
      if (pause()) refresh().catch(() => {})
    })
    lastPause = { known: login.state(), error, failures: failures + 1, cancel }
  }

  const pause = () => (lastPause?.known === login.state() ? lastPause : undefined)

  /** Why the last refresh failed, if the next one has not begun. */
  const trouble = () => (refreshing ? undefined : pause()?.error)

  /** Returns the milliseconds for which the token can still be used. Negative without a token. */
  function left(grant = login.grant()): number {
    return grant ? grant.lifetime - since(clock, grant.asked) : -1
  }

  /** Whether a token is needed soon. */
  function isDue(): boolean {
    const grant = login.grant()
    return !!pause() || (!!grant && left(grant) < Math.min(30_000, grant.lifetime / 5))
  }

  return {
    refresh,
    isDue,
    trouble,
    /** Waits until there is a token that does not expire soon, if there is a login. */
    async ready(): Promise<void> {
      if (login.state().kind !== 'unknown' && !isDue()) return
      try {
        const error = trouble()
        if (error) throw error
        await refresh()
      } catch (error) {
        if (left() < 0) throw error
      }
    },
    close(): void {
      closed = true
      lastPause?.cancel()
    },
  }
}

export type Refresher = ReturnType<typeof createRefresher>
