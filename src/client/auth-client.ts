/** The account, as the server tells of it. */
export interface User {
  id: string
  email: string
  role: string
  emailVerified: boolean
  /** ISO 8601, UTC. */
  createdAt: string
}

/**
 * Who is logged in: told when it is known at first, and when it changes; and why: `login`; `restored` by the cookie;
 * `elsewhere`, in another tab; `logout`; or the code of the server's refusal, such as `refresh_token_missing`,
 * `session_ended`, or `refresh_token_reused`: somebody else may have used a copy of the refresh token.
 */
export interface Change {
  user: User | undefined
  reason: string
}

/** The server refused; or, with a `status` of 0, could not be asked. */
export class AuthClientError extends Error {
  /**
   * The server's own; or `unreachable`, `unexpected_answer` (HTML, half a JSON, an error of somebody in between),
   * `overtaken` (by another login or a logout).
   */
  declare readonly code: string
  declare readonly status: number
  /** What to mend in the request: the path of a member, and what is wrong with it. */
  declare readonly errors: readonly { path: string; message: string }[]
  /** The server's wish to be left alone (milliseconds). */
  declare readonly retryAfter: number
  constructor(
    message: string,
    code: string,
    status = 0,
    errors: AuthClientError['errors'] = [],
    retryAfter = 0,
  ) {
    super(message)
    Object.assign(this, { name: 'AuthClientError', code, status, errors, retryAfter })
  }
}

export interface AuthClientOptions {
  /** The server's origin; where it is that of the page, `/`. */
  url: string
  /** More origins whose requests get the access token; the server's always do. */
  origins?: readonly string[]
  /** What requests are made with, in the place of the global `fetch`. */
  fetch?: typeof fetch
}

/** A point in time. A clock may be set, and another may stand still while the machine sleeps: the larger one is right. */
interface Moment {
  wall: number
  running: number
}

interface Grant {
  accessToken: string
  user: User
  asked: Moment
  /** Milliseconds, from `asked`. */
  lifetime: number
}

/** What tabs tell each other. The running clock is of one tab, so its time travels as an age. */
type News = { asking: number } | { at: number; reason: string; grant?: Grant & { age: number } }

// Two tries, and a pause between them, fit into the ten seconds in which the server forgives a lost answer.
const refreshMs = 4_000
const requestMs = 15_000
const lockMs = 5_000
const firstPauseMs = 500
const longestPauseMs = 15_000
const longestRetryAfterMs = 60_000
const wayOfNewsMs = 250
const electionMs = 60

// What a new access token may mend; and what ends a login. A 401 of somebody in between does not.
const refreshable = ['access_token_expired', 'access_token_invalid', 'session_ended']
const endings = ['refresh_token_missing', 'refresh_token_invalid', 'refresh_token_reused', 'session_ended']

/**
 * Keeps a login for a page. The access token stays in this closure, the refresh token in a cookie that no script sees.
 * Call `refresh()` when the page has loaded: it brings back the login that the cookie stands for.
 * @throws TypeError where `url` or one of `origins` is no origin
 */
export function createAuthClient(options: AuthClientOptions) {
  const server = originOf(options.url)
  const trusted = [server, ...(options.origins ?? []).map(originOf)]
  const send = options.fetch ?? ((input, init) => fetch(input, init))
  // Of tabs that are still open with another version of this file, nothing is understood.
  const name = `auth-client 1 ${server}`
  const id = Math.random()
  const listeners = new Set<(change: Change) => void>()
  const watchers = new Set<() => void>()
  let channel = openChannel(name)

  let grant: Grant | undefined
  // When what is known now became true. 0: nothing is known, as nobody has asked yet.
  let asOf = 0
  let leftAt = 0
  // Counts the changes of user: an answer to a request of the one before belongs to nobody here.
  let epoch = 0
  let refreshing: Promise<User | undefined> | undefined
  let turn: Promise<unknown> = Promise.resolve()
  // Why refreshing has to wait for its timer; and for how many times now.
  let trouble: AuthClientError | undefined
  let failures = 0
  let timer: ReturnType<typeof setTimeout> | undefined
  // Of tabs without locks: another one that is about to refresh; and whether this one has said that it is.
  let rival: Moment | undefined
  let announced = false
  const closing = new AbortController()
  if (channel) channel.onmessage = hear

  const stamp = () => Math.max(Date.now(), asOf + 1)
  const say = (news: News) => channel?.postMessage(news)

  function tell(reason: string): void {
    for (const listener of [...listeners])
      try {
        listener({ user: grant?.user, reason })
      } catch (error) {
        reportError(error)
      }
  }

  // Tabs hear of logins, refreshes and logouts late and in any order. In all of them the newest one is what counts:
  // an answer that was asked for before a logout brings nothing back.
  function apply(at: number, next: Grant | undefined, reason: string): boolean {
    if (next ? at <= asOf : at < asOf) return false
    const changed = !asOf || grant?.user.id !== next?.user.id
    asOf = at
    grant = next
    rival = trouble = undefined
    failures = 0
    clearTimeout(timer)
    if (reason === 'logout') leftAt = at
    if (changed) {
      epoch++
      tell(reason)
    }
    return true
  }

  /** Applies what this tab has found out, and tells the others. */
  function settle(at: number, next: Grant | undefined, reason: string): void {
    if (apply(at, next, reason))
      say({ at, reason, ...(next && { grant: { ...next, age: since(next.asked) } }) })
  }

  function hear({ data }: MessageEvent<News>): void {
    if ('asking' in data) {
      if (!announced || data.asking < id) rival = now()
    } else {
      const { at, reason, grant: next } = data
      // After the clock was set back, everything that is known would seem to be newer than any news.
      if (asOf > Date.now() + 1_000) asOf = 1
      if (next) next.asked.running = performance.now() - next.age
      apply(at, next, next ? 'elsewhere' : reason)
    }
    for (const watcher of [...watchers]) watcher()
  }

  async function ask(
    path: string,
    ms: number,
    body?: object,
    fetching = send,
  ): Promise<Record<string, unknown>> {
    let answer: Response
    let text: string
    try {
      answer = await fetching(server + path, {
        method: 'POST',
        credentials: 'include',
        cache: 'no-store',
        redirect: 'error',
        // What the server has done must reach the cookies, though the tab may be closed meanwhile.
        keepalive: true,
        signal: AbortSignal.timeout(ms),
        ...(body && { headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) }),
      })
      text = await answer.text()
    } catch (error) {
      if (error instanceof AuthClientError) throw error
      throw new AuthClientError(`The server cannot be reached (${error}).`, 'unreachable')
    }
    const content = parse(text)
    if (answer.status === 204 || (answer.ok && content)) return content ?? {}
    if (!answer.ok && typeof content?.code === 'string') throw refusal(answer, content)
    throw unexpected(answer.status)
  }

  async function askForGrant(path: string, ms: number, body?: object, fetching = send): Promise<Grant> {
    const asked = now()
    const { accessToken, expiresIn, user } = await ask(path, ms, body, fetching)
    const whole = typeof accessToken === 'string' && typeof (user as User | undefined)?.id === 'string'
    if (!whole || typeof expiresIn !== 'number' || !(expiresIn > 0)) throw unexpected(200)
    return { accessToken, user: user as User, asked, lifetime: expiresIn * 1000 }
  }

  const enter = (path: string, body: object, fetching = send) =>
    inTurn(async () => {
      const asked = stamp()
      const next = await askForGrant(path, requestMs, body, fetching)
      if (leftAt >= asked) {
        // Or the next page would find a login that nobody wants any more.
        const undo = () => ask('/auth/logout', requestMs)
        await undo().catch(undo)
        throw overtaken()
      }
      settle(stamp(), next, 'login')
      return next.user
    })

  async function changePassword(currentPassword: string, newPassword: string): Promise<User> {
    const asker = grant?.user.id
    const asUser: typeof fetch = (input, init) => {
      if (grant?.user.id !== asker) throw overtaken()
      return send(input, {
        ...init,
        headers: { ...init?.headers, Authorization: `Bearer ${grant?.accessToken}` },
      })
    }
    const change = () => enter('/auth/password', { currentPassword, newPassword }, asUser)
    await ready()
    return change().catch(async (error) => {
      if (!refreshable.includes(error.code) || !(await refresh())) throw error
      return change()
    })
  }

  async function logout(): Promise<void> {
    // Before anybody is asked: who logs out must not see the login again.
    settle(stamp(), undefined, 'logout')
    const told = ask('/auth/logout', requestMs)
    // It waits for nobody; but whoever logs in or refreshes now waits until the cookie is cleared.
    turn = Promise.allSettled([turn, locked(() => told)])
    await told
  }

  async function logoutAll(): Promise<void> {
    await ask('/auth/logout-all', requestMs, undefined, authFetch)
    settle(stamp(), undefined, 'logout')
  }

  function refresh(): Promise<User | undefined> {
    const known = asOf
    const news = () => asOf !== known
    refreshing ??= inTurn(async (alone) => {
      if (!alone && !news()) await standBack(news)
      return news() ? grant?.user : refreshNow()
    }, news).finally(() => {
      refreshing = undefined
      announced = false
    })
    return refreshing
  }

  async function refreshNow(): Promise<User | undefined> {
    const at = stamp()
    const mine = epoch
    try {
      const next = await askForGrant('/auth/refresh', refreshMs)
      // A logout that is heard of meanwhile may have been asked for before this, and be done after it.
      if (mine === epoch) settle(at, next, grant ? 'elsewhere' : 'restored')
    } catch (error) {
      if (mine === epoch && at > asOf) {
        const { code } = error as AuthClientError
        if (!endings.includes(code)) {
          tryLater(error as AuthClientError)
          throw error
        }
        // A tab that had nothing cannot tell the others whose end this is.
        const end = grant ? settle : apply
        end(at, undefined, code)
      }
    }
    return grant?.user
  }

  // While there is a login to keep, or nobody knows yet whether there is one.
  function tryLater(error: AuthClientError): void {
    if (closing.signal.aborted || (asOf && !grant)) return
    const pause = Math.max(error.retryAfter, Math.min(longestPauseMs, firstPauseMs * 2 ** failures++))
    trouble = error
    clearTimeout(timer)
    timer = setTimeout(() => refresh().catch(() => {}), pause * (1 + Math.random() / 2))
  }

  /**
   * Does one thing at a time: logins and refreshes of this tab, and of all tabs if the browser has locks.
   * @param work is told whether it has the lock. Its result does not wait for the release of the lock
   * @param given when to stop waiting for the lock
   */
  function inTurn<T>(work: (alone: boolean) => Promise<T>, given?: () => boolean): Promise<T> {
    return new Promise((resolve) => {
      const run = async (alone: boolean) => {
        const before = asOf
        const done = work(alone)
        resolve(done)
        await done.catch(() => {})
        // Browsers do not order the release of a lock and a message. Without this pause, another tab may get the lock
        // before the news, and refresh again.
        if (alone && asOf !== before) await until(() => false, wayOfNewsMs)
      }
      turn = turn.then(() => locked(run, given))
    })
  }

  // Do not wait for ever: of two refreshes at once the server gives both the same token.
  async function locked(work: (alone: boolean) => Promise<unknown>, given = () => false): Promise<void> {
    let begun = false
    const begin = (alone: boolean) => {
      begun = true
      return work(alone)
    }
    const waiting = new AbortController()
    void until(given, lockMs).then(() => waiting.abort())
    await globalThis.navigator?.locks?.request(name, waiting, () => begin(true)).catch(() => {})
    if (!begun) await begin(false)
  }

  // Without locks a tab says that it is about to ask, waits for whether others are too, and leaves it to one of them.
  async function standBack(news: () => boolean): Promise<void> {
    const others = () => rival && since(rival) < refreshMs
    if (channel && !others()) {
      announced = true
      say({ asking: id })
      await until(() => news() || others(), electionMs)
    }
    if (others()) await until(news, refreshMs)
  }

  // Waits for news of other tabs, and looks at no clock meanwhile: in tabs that nobody sees, timers may run once a minute.
  function until(done: () => unknown, ms: number): Promise<void> {
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timeout)
        watchers.delete(check)
        resolve()
      }
      const check = () => done() && end()
      const timeout = setTimeout(end, ms)
      watchers.add(check)
      check()
    })
  }

  // A refresh has failed, and the next one waits for its timer.
  const resting = () => trouble && !refreshing
  // How long the token will do (milliseconds): less than nothing, where it has expired.
  const left = () => (grant ? grant.lifetime - since(grant.asked) : -1)
  const due = () => trouble || (grant && left() < Math.min(30_000, grant.lifetime / 5))

  /** Waits until there is a token that is good for a while, where there is a login. */
  async function ready(): Promise<void> {
    if (asOf && !due()) return
    try {
      if (resting()) throw trouble
      await refresh()
    } catch (error) {
      if (left() < 0) throw error
    }
  }

  async function authFetch(input: RequestInfo | URL, init?: RequestInit): Promise<Response> {
    // Read everything once, before any wait: what is checked is what is sent, whatever a script or injected HTML
    // changes later. A Request is known by its shape, because it may be that of another window.
    const isRequest = typeof input === 'object' && 'url' in input
    const request = isRequest ? new Request(input) : undefined
    const { href, origin } = new URL(request?.url ?? String(input), server)
    const options = { ...init, headers: new Headers(init?.headers ?? request?.headers) }
    const { headers, body } = options
    const target = request ?? href
    if (!trusted.includes(origin) || !href.startsWith(origin) || headers.has('Authorization'))
      return send(target, options)
    const signal = options.signal ?? request?.signal
    const asker = grant?.user.id
    for (let again = true; ; again = false) {
      await unlessAborted(ready(), signal)
      // What one user has asked for is not done as another, or as nobody.
      if (asker && grant?.user.id !== asker) throw overtaken()
      const mine = epoch
      const token = grant?.accessToken
      if (token) headers.set('Authorization', `Bearer ${token}`)
      const answer = await send(target, options)
      if (!token) return answer
      if (answer.status === 401) {
        if (!again || !refreshable.includes(await codeOf(answer))) return answer
        if (grant?.accessToken === token && !resting())
          await unlessAborted(
            refresh().catch(() => {}),
            signal,
          )
        // A stream is gone once it is sent; and whether the body of a Request was one, nobody can tell.
        const gone = request?.bodyUsed || body instanceof ReadableStream
        if (gone || mine !== epoch || grant?.accessToken === token) return answer
      } else if (mine !== epoch) throw overtaken()
      else return answer
    }
  }

  // Back online, in view again, or out of the back/forward cache, where a page hears nothing of other tabs.
  function wake(event: Event): void {
    const { persisted } = event as PageTransitionEvent
    if (persisted || (due() && globalThis.document?.visibilityState !== 'hidden')) refresh().catch(() => {})
  }
  for (const type of ['online', 'pageshow', 'visibilitychange'])
    globalThis.addEventListener?.(type, wake, { capture: true, signal: closing.signal })

  return {
    /** Makes an account and logs in. @throws AuthClientError `email_taken`, `password_rejected`, `invalid_request`, … */
    register: (email: string, password: string): Promise<User> =>
      enter('/auth/register', { email, password }),
    /** @throws AuthClientError `invalid_credentials`, `too_many_attempts`, … */
    login: (email: string, password: string): Promise<User> => enter('/auth/login', { email, password }),
    /**
     * Changes the password. All sessions of the user end, and a new one begins here.
     * @throws AuthClientError `wrong_password`, `password_rejected`, `too_many_attempts`, …
     */
    changePassword,
    /** Here, and in the other tabs. @throws AuthClientError where the server could not be told: its session goes on */
    logout,
    /** On every device. @throws AuthClientError where the server could not do it: then nobody has been logged out */
    logoutAll,
    /**
     * Gets a new access token by the cookie.
     * @returns the user; undefined where nobody is logged in
     * @throws AuthClientError where the server cannot tell: the login stays what it was, and it is tried again
     */
    refresh,
    /**
     * `fetch`, with an access token that is good for a while. Relative URLs are the server's. After a 401 that a new token mends, it sends the request
     * once more, but for a body that was a stream or in a Request.
     * @throws AuthClientError where the token has expired and the server gives no new one; or `overtaken`, where by now
     * another user is logged in, or none; otherwise as `fetch` does
     */
    fetch: authFetch as typeof fetch,
    /** Who is logged in, as far as this tab knows. */
    user: (): User | undefined => grant?.user,
    /** @returns a function that ends it */
    onChange(listener: (change: Change) => void): () => void {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    /** Lets go of timers, listeners and the channel to other tabs. The login stays, for them and for the next page. */
    close(): void {
      closing.abort()
      clearTimeout(timer)
      channel?.close()
      channel = undefined
      listeners.clear()
    },
  }
}

export type AuthClient = ReturnType<typeof createAuthClient>

const now = (): Moment => ({ wall: Date.now(), running: performance.now() })
const since = ({ wall, running }: Moment) => Math.max(Date.now() - wall, performance.now() - running)

function originOf(url: string): string {
  // Not by the base of the document, which injected HTML may have set.
  const { origin, pathname } = new URL(url, globalThis.location?.href)
  if (pathname !== '/' || !origin.startsWith('http'))
    throw new TypeError(`${url} is no origin: give scheme, host and port, and no path`)
  return origin
}

/** Waits for `work`, or rejects as `fetch` does when the signal is given. */
function unlessAborted(work: Promise<unknown>, signal?: AbortSignal | null): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal?.reason)
    if (signal?.aborted) abort()
    signal?.addEventListener('abort', abort)
    work.then(resolve, reject).finally(() => signal?.removeEventListener('abort', abort))
  })
}

const unexpected = (status: number) =>
  new AuthClientError(
    `The answer, with status ${status}, is not the auth server's.`,
    'unexpected_answer',
    status,
  )
const overtaken = () => new AuthClientError('Overtaken by another login or a logout.', 'overtaken')

function refusal({ status, headers }: Response, { code, detail, errors }: Record<string, unknown>) {
  const retryAfter = Math.min(longestRetryAfterMs, Number(headers.get('Retry-After')) * 1000 || 0)
  const list = Array.isArray(errors) ? errors : []
  return new AuthClientError(String(detail ?? code), String(code), status, list, retryAfter)
}

async function codeOf(answer: Response): Promise<string> {
  if (!answer.headers.get('Content-Type')?.includes('json')) return ''
  return String(parse(await answer.clone().text())?.code)
}

function parse(text: string): Record<string, unknown> | undefined {
  try {
    const content: unknown = JSON.parse(text)
    return content instanceof Object ? { ...content } : undefined
  } catch {
    return undefined
  }
}

function openChannel(name: string): BroadcastChannel | undefined {
  try {
    // On a server that renders pages it would keep the process running.
    return globalThis.document && new BroadcastChannel(name)
  } catch {
    return undefined // Switched off, or of a browser without.
  }
}
