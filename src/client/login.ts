import type { User } from './api.ts'
import type { Clock, Moment } from './clock.ts'

/** An access token, and whose it is. */
export interface Grant {
  accessToken: string
  user: User
  /** When the tab asked for it. */
  asked: Moment
  /** Milliseconds, counted from `asked`. */
  lifetime: number
}

/** A login or a refresh. Without a grant: the end of a login, or that there is none. */
export interface News {
  /** When a login was answered; for other news, when it was asked for. Milliseconds, by the wall clock of all tabs. */
  at: number
  reason: string
  grant?: Grant | undefined
}

interface Known {
  /** The time of the newest news. 0: the server was not asked yet. */
  asOf: number
  /** Counts the changes of user. The answer to a request of an earlier user must not reach a later one. */
  epoch: number
  /** When the last logout was asked for. */
  leftAt: number
}

/** What a tab knows about who is logged in. Each piece of news makes a new object. */
export type Login = Known & ({ kind: 'unknown' } | { kind: 'out' } | { kind: 'in'; grant: Grant })

// How far `asOf` may be ahead of the clock. `stamp` may count past the clock, so a few milliseconds are normal.
const aheadMs = 1_000

/**
 * Keeps what this tab knows. News of logins, refreshes and logouts comes late and in any order. The newest counts.
 * @param tell tells the other tabs
 * @param onChange is called when the user or its data have changed, or when the user is known for the first time
 */
export function createLogin(deps: { clock: Clock; tell(news: News): void; onChange(reason: string): void }) {
  const { clock, tell, onChange } = deps
  let login: Login = { kind: 'unknown', asOf: 0, epoch: 0, leftAt: 0 }
  const grant = () => (login.kind === 'in' ? login.grant : undefined)
  const user = () => grant()?.user

  /** Applies news if it is newer than what is known. An answer that was asked for before a logout changes nothing. */
  function apply({ at, reason, grant: next }: News): boolean {
    if (next ? at <= login.asOf : at < login.asOf) return false
    const before = user()
    const changed = login.kind === 'unknown' || before?.id !== next?.user.id
    const known = {
      asOf: at,
      epoch: login.epoch + Number(changed),
      leftAt: reason === 'logout' ? at : login.leftAt,
    }
    login = next ? { kind: 'in', grant: next, ...known } : { kind: 'out', ...known }
    if (changed) onChange(reason)
    else if (JSON.stringify(before) !== JSON.stringify(next?.user)) onChange('updated')
    return true
  }

  return {
    state: () => login,
    asOf: () => login.asOf,
    epoch: () => login.epoch,
    grant,
    user,
    /** Returns the timestamp for a new request. The timestamp is later than all news so far. */
    stamp: () => Math.max(clock.now().wall, login.asOf + 1),
    apply,
    /** Applies what this tab has found out, and tells the other tabs. */
    settle(news: News): void {
      if (apply(news)) tell(news)
    },
    /** Applies what another tab tells. */
    hear(news: News): void {
      // The clock was set back. Without this line, all news would seem older than what is known.
      if (login.asOf > clock.now().wall + aheadMs) login = { ...login, asOf: 1 }
      apply({ ...news, reason: news.grant ? 'elsewhere' : news.reason })
    },
  }
}

export type LoginKeeper = ReturnType<typeof createLogin>
