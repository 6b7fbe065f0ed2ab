/** The part of the Web Locks API that the client uses. */
export interface Locks {
  request(name: string, options: { signal: AbortSignal }, work: () => Promise<unknown>): Promise<unknown>
}

// How long to wait for a lock. Two refreshes at once do no harm, because the server gives both the same token.
const lockMs = 5_000
// How long news may take to another tab.
const newsMs = 250

const never = () => false

/**
 * Lets the requests that change the cookie go one at a time: in this tab, and in all tabs if the browser has locks.
 * @param until waits until `done` returns true, or until `ms` milliseconds have passed
 * @param asOf returns the time of the last news
 */
export function createTabLock(deps: {
  locks: Locks | undefined
  name: string
  until(done: () => boolean, ms: number): Promise<void>
  asOf(): number
}) {
  const { locks, name, until, asOf } = deps
  let last: Promise<unknown> = Promise.resolve()

  /** Runs `work` with the lock. Without the lock if there is none, it is not free in time, or `pointless` becomes true. */
  async function withLock(
    work: (alone: boolean) => Promise<unknown>,
    pointless: () => boolean = never,
  ): Promise<void> {
    let begun: Promise<unknown> | undefined
    const begin = (alone: boolean) => {
      begun ??= work(alone)
      return begun
    }
    const waiting = new AbortController()
    void until(pointless, lockMs).then(() => waiting.abort())
    await locks?.request(name, waiting, () => begin(true)).catch(() => {})
    await begin(false)
  }

  return {
    /**
     * Runs `work` when it is its turn. The result does not wait for the release of the lock.
     * @param work is told whether it has the lock
     * @param pointless whether to stop waiting for the lock
     */
    inTurn<T>(work: (alone: boolean) => Promise<T>, pointless?: () => boolean): Promise<T> {
      return new Promise((resolve) => {
        const run = async (alone: boolean) => {
          const before = asOf()
          const done = work(alone)
          resolve(done)
          await done.catch(() => {})
          // Browsers do not order the release of a lock and a message. Without this pause, another tab may get the lock
          // before the news, and refresh again.
          if (alone && asOf() !== before) await until(never, newsMs)
        }
        last = last.then(() => withLock(run, pointless))
      })
    },
    /** Lets later turns wait for work that has begun without a turn. */
    holdFor(work: Promise<unknown>): void {
      last = Promise.allSettled([last, withLock(() => work)])
    },
  }
}

export type TabLock = ReturnType<typeof createTabLock>
