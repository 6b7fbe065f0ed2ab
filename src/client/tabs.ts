import { type Clock, type Moment, since } from './clock.ts'
import type { Grant, Login, News } from './login.ts'
import { refreshMs } from './requests.ts'

/** What tabs send each other. A running clock belongs to one tab, so tabs send the age of a token too. */
export type Message =
  | { asking: number }
  | (Omit<News, 'grant'> & { grant: (Grant & { age: number }) | undefined })

/** Returns undefined in browsers without channels. */
export type OpenChannel = (name: string, receive: (message: Message) => void) => Channel | undefined

/** A connection to the other tabs of this origin. */
export interface Channel {
  postMessage(message: Message): void
  close(): void
}

// How long a tab without locks listens for others before it refreshes.
const electionMs = 60

/**
 * Connects the tabs of an origin.
 * @param state returns what this tab knows
 * @param hear takes the news of other tabs
 */
export function createTabs(deps: {
  openChannel: OpenChannel
  name: string
  clock: Clock
  random(): number
  state(): Login
  hear(news: News): void
}) {
  const { openChannel, name, clock, random, state, hear } = deps
  const watchers = new Set<() => void>()
  const id = random()
  let channel = openChannel(name, receive)
  // Another tab that was about to refresh, and what this tab knew then.
  let rival: { seen: Moment; known: Login } | undefined
  // Whether this tab has said that it is about to refresh.
  let announced = false

  function receive(message: Message): void {
    if ('asking' in message) {
      if (!announced || message.asking < id) rival = { seen: clock.now(), known: state() }
    } else {
      const { grant, ...news } = message
      hear({ ...news, grant: grant && withRunningTime(grant) })
    }
    for (const check of [...watchers]) check()
  }

  function withRunningTime(grant: Grant & { age: number }): Grant {
    return { ...grant, asked: { ...grant.asked, running: clock.now().running - grant.age } }
  }

  /** Waits for messages until `done`, `ms` at most. Timers of hidden tabs may run once a minute, so it does not poll. */
  function until(done: () => unknown, ms: number): Promise<void> {
    return new Promise((resolve) => {
      const end = () => {
        cancel()
        watchers.delete(check)
        resolve()
      }
      const check = () => done() && end()
      const cancel = clock.after(ms, end)
      watchers.add(check)
      check()
    })
  }

  const rivalIsRefreshing = () => rival?.known === state() && since(clock, rival.seen) < refreshMs

  return {
    until,
    tell({ grant, ...news }: News): void {
      channel?.postMessage({ ...news, grant: grant && { ...grant, age: since(clock, grant.asked) } })
    },
    /** Without locks: says that this tab is about to refresh. If another tab is too, waits for the news of one of them. */
    async standBack(heardNews: () => boolean): Promise<void> {
      if (channel && !rivalIsRefreshing()) {
        announced = true
        channel.postMessage({ asking: id })
        await until(() => heardNews() || rivalIsRefreshing(), electionMs)
      }
      if (rivalIsRefreshing()) await until(heardNews, refreshMs)
    },
    /** Ends what `standBack` has begun. */
    stepForward(): void {
      announced = false
    },
    close(): void {
      channel?.close()
      channel = undefined
    },
  }
}

export type Tabs = ReturnType<typeof createTabs>
