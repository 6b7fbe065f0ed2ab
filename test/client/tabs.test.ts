import { describe, expect, test } from '@jest/globals'
import type { Moment } from '../../src/client/clock.ts'
import type { Login, News } from '../../src/client/login.ts'
import { createTabs, type Message, type OpenChannel } from '../../src/client/tabs.ts'
import { createHandClock, type HandClock } from './hand-clock.ts'

/** A channel between all tabs that open it. */
function createChannels() {
  const receivers = new Set<(message: Message) => void>()
  const open: OpenChannel = (_name, receive) => {
    receivers.add(receive)
    return {
      postMessage(message) {
        for (const other of receivers)
          if (other !== receive) queueMicrotask(() => other(structuredClone(message)))
      },
      close: () => void receivers.delete(receive),
    }
  }
  return open
}

/** Opens a tab that remembers what it hears. The tab with the smallest number wins an election. */
function openTab(openChannel: OpenChannel, number: number, clock: HandClock = createHandClock()) {
  const heard: News[] = []
  let login: Login = { kind: 'unknown', asOf: 0, epoch: 0, leftAt: 0 }
  const tabs = createTabs({
    openChannel,
    name: 'name',
    clock,
    random: () => number,
    state: () => login,
    hear(news) {
      heard.push(news)
      login = { ...login, asOf: news.at }
    },
  })
  const standBack = () => {
    const { asOf } = login
    return tabs.standBack(() => login.asOf !== asOf)
  }
  return { ...tabs, standBack, heard, clock }
}

const user = { id: '1', email: 'ada@example.com', role: 'user', emailVerified: true, createdAt: '' }
const grantAskedAt = (asked: Moment) => ({ accessToken: 'token', user, asked, lifetime: 900_000 })

describe('tabs', () => {
  test('tell each other news, and count the age of a token by their own running clock', async () => {
    const channels = createChannels()
    const teller = openTab(channels, 1)
    const hearer = openTab(channels, 2)
    await hearer.clock.pass(60_000)
    const grant = grantAskedAt(teller.clock.now())
    await teller.clock.pass(5_000)

    teller.tell({ at: 7, reason: 'login', grant })
    teller.tell({ at: 8, reason: 'logout' })
    await hearer.clock.pass(0)

    expect(hearer.heard).toMatchObject([
      { at: 7, reason: 'login', grant: { accessToken: 'token', user, asked: { running: 55_000 } } },
      { at: 8, reason: 'logout', grant: undefined },
    ])
    expect(teller.heard).toEqual([])
  })

  test('say nothing after close', async () => {
    const channels = createChannels()
    const [closed, other] = [openTab(channels, 1), openTab(channels, 2)]
    closed.close()

    closed.tell({ at: 1, reason: 'logout' })
    other.tell({ at: 2, reason: 'logout' })
    await other.clock.pass(0)

    expect([closed.heard, other.heard]).toEqual([[], []])
  })
})

describe('an election of the tab that refreshes', () => {
  /** Returns whether each tab has been elected or has heard news by now. */
  function follow(...tabs: ReturnType<typeof openTab>[]): boolean[] {
    const goesOn = tabs.map(() => false)
    for (const [index, tab] of tabs.entries())
      void tab.standBack().then(() => {
        goesOn[index] = true
      })
    return goesOn
  }

  test('is won by a tab without rivals after 60 ms', async () => {
    const clock = createHandClock()
    const goesOn = follow(openTab(createChannels(), 1, clock))

    await clock.pass(59)
    expect(goesOn).toEqual([false])
    await clock.pass(2)
    expect(goesOn).toEqual([true])
  })

  test('is won by one of ten tabs, and the others wait for its news', async () => {
    const clock = createHandClock()
    const channels = createChannels()
    const tabs = Array.from({ length: 10 }, (_, number) => openTab(channels, number, clock))
    const goesOn = follow(...tabs)

    await clock.pass(1_000)
    expect(goesOn).toEqual([true, ...Array(9).fill(false)])
    tabs[0]?.tell({ at: 9, reason: 'elsewhere', grant: grantAskedAt(clock.now()) })
    await clock.pass(1)
    expect(goesOn).toEqual(Array(10).fill(true))
  })

  test('is not held while another tab refreshes', async () => {
    const clock = createHandClock()
    const channels = createChannels()
    const [late, first] = [openTab(channels, 1, clock), openTab(channels, 2, clock)]
    const firstGoesOn = follow(first)
    await clock.pass(100)
    const lateGoesOn = follow(late)

    await clock.pass(1_000)
    expect([firstGoesOn, lateGoesOn]).toEqual([[true], [false]])
    first.tell({ at: 9, reason: 'elsewhere', grant: grantAskedAt(clock.now()) })
    await clock.pass(1)
    expect(lateGoesOn).toEqual([true])
  })

  test('ends after four seconds if the winner tells nothing', async () => {
    const clock = createHandClock()
    const channels = createChannels()
    const goesOn = follow(openTab(channels, 1, clock), openTab(channels, 2, clock))

    await clock.pass(3_900)
    expect(goesOn).toEqual([true, false])
    await clock.pass(200)
    expect(goesOn).toEqual([true, true])
  })

  test('takes place again four seconds after a winner that told nothing', async () => {
    const clock = createHandClock()
    const channels = createChannels()
    const [first, second] = [openTab(channels, 1, clock), openTab(channels, 2, clock)]
    follow(first)
    await clock.pass(4_100)
    first.close()

    const goesOn = follow(second)
    await clock.pass(61)

    expect(goesOn).toEqual([true])
  })

  test('is lost by an earlier winner if another tab is about to refresh', async () => {
    const clock = createHandClock()
    const channels = createChannels()
    const [first, second] = [openTab(channels, 1, clock), openTab(channels, 2, clock)]
    follow(first)
    await clock.pass(100)
    first.stepForward()
    first.tell({ at: 9, reason: 'elsewhere', grant: grantAskedAt(clock.now()) })
    await clock.pass(1)

    const secondGoesOn = follow(second)
    await clock.pass(100)
    const firstGoesOn = follow(first)
    await clock.pass(100)

    expect([secondGoesOn, firstGoesOn]).toEqual([[true], [false]])
  })

  test('does not take place without a channel', async () => {
    const clock = createHandClock()
    const goesOn = follow(openTab(() => undefined, 1, clock))

    await clock.pass(0)

    expect(goesOn).toEqual([true])
  })
})
