import { describe, expect, test } from '@jest/globals'
import { createTabLock, type Locks } from '../../src/client/tab-lock.ts'
import { createHandClock } from './hand-clock.ts'

/** Locks that all tabs share. */
function createLocks(): Locks {
  let free: Promise<unknown> = Promise.resolve()
  return {
    async request(_name, { signal }, work) {
      const turn = free
      const aborted = new Promise((_, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason))
      })
      const done = Promise.race([turn, aborted]).then(work)
      free = Promise.allSettled([turn, done])
      return done
    },
  }
}

/** Tabs that log what they do, as `0 begins` and `0 ends`. */
function createTabs(locks: Locks | undefined, count = 1) {
  const clock = createHandClock()
  const log: string[] = []
  let asOf = 0
  const until = (done: () => unknown, ms: number) =>
    new Promise<void>((resolve) => {
      if (done()) resolve()
      else clock.after(ms, resolve)
    })
  const tabs = Array.from({ length: count }, (_, tab) => {
    const lock = createTabLock({ locks, name: 'name', until, asOf: () => asOf })
    /** Works for so many milliseconds. */
    const workFor = (ms: number) => async (alone: boolean) => {
      log.push(`${tab} begins${alone ? '' : ' without the lock'}`)
      await new Promise<void>((resolve) => clock.after(ms, resolve))
      log.push(`${tab} ends`)
      return `${tab} is done`
    }
    return { ...lock, workFor }
  })
  const hearNews = () => {
    asOf++
  }
  const [first, second] = tabs as [(typeof tabs)[0], (typeof tabs)[0]]
  return { clock, log, first, second, hearNews }
}

describe('turns', () => {
  test('of one tab do not overlap, with or without locks', async () => {
    for (const locks of [createLocks(), undefined]) {
      const { clock, log, first } = createTabs(locks)
      void first.inTurn(first.workFor(100))
      void first.inTurn(first.workFor(100))

      await clock.pass(1_000)

      const alone = locks ? '' : ' without the lock'
      expect(log).toEqual([`0 begins${alone}`, '0 ends', `0 begins${alone}`, '0 ends'])
    }
  })

  test('of two tabs do not overlap if the browser has locks', async () => {
    const { clock, log, first, second } = createTabs(createLocks(), 2)
    void first.inTurn(first.workFor(100))
    void second.inTurn(second.workFor(100))

    await clock.pass(1_000)

    expect(log).toEqual(['0 begins', '0 ends', '1 begins', '1 ends'])
  })

  test('hold the lock for 250 ms after news, and the caller does not wait for that', async () => {
    const { clock, log, first, second, hearNews } = createTabs(createLocks(), 2)
    let result = ''
    const withNews = async (alone: boolean) => {
      const done = await first.workFor(100)(alone)
      hearNews()
      return done
    }
    void first.inTurn(withNews).then((done) => {
      result = done
    })
    void second.inTurn(second.workFor(100))

    await clock.pass(101)
    expect(result).toBe('0 is done')
    await clock.pass(248)
    expect(log).toEqual(['0 begins', '0 ends'])
    await clock.pass(2)
    expect(log).toEqual(['0 begins', '0 ends', '1 begins'])
  })

  test('stop waiting for the lock after five seconds', async () => {
    const { clock, log, first, second } = createTabs(createLocks(), 2)
    void first.inTurn(first.workFor(60_000))
    void second.inTurn(second.workFor(100))

    await clock.pass(4_999)
    expect(log).toEqual(['0 begins'])
    await clock.pass(2)
    expect(log).toEqual(['0 begins', '1 begins without the lock'])
  })

  test('stop waiting for the lock when it has become pointless', async () => {
    const { clock, log, first, second } = createTabs(createLocks(), 2)
    void first.inTurn(first.workFor(1_000))
    void second.inTurn(second.workFor(100), () => true)

    await clock.pass(500)

    expect(log).toEqual(['0 begins', '1 begins without the lock', '1 ends'])
  })

  test('do without the lock if the browser refuses it', async () => {
    const refusing: Locks = { request: () => Promise.reject(new DOMException('no', 'SecurityError')) }
    const { clock, log, first } = createTabs(refusing)
    void first.inTurn(first.workFor(100))

    await clock.pass(200)

    expect(log).toEqual(['0 begins without the lock', '0 ends'])
  })

  test('go on after work that fails, and its caller gets the error', async () => {
    const { clock, log, first } = createTabs(createLocks())
    const failed = first.inTurn(() => Promise.reject(new Error('of the work')))
    void first.inTurn(first.workFor(100))

    await expect(failed).rejects.toThrow('of the work')
    await clock.pass(200)
    expect(log).toEqual(['0 begins', '0 ends'])
  })

  test('wait for work that has begun without a turn, in this tab and in others', async () => {
    const { clock, log, first, second } = createTabs(createLocks(), 2)
    first.holdFor(new Promise<void>((_, reject) => clock.after(1_000, () => reject(new Error('failed')))))
    void first.inTurn(first.workFor(100))
    void second.inTurn(second.workFor(100))

    await clock.pass(999)
    expect(log).toEqual([])
    await clock.pass(1_001)
    expect(log.toSorted()).toEqual(['0 begins', '0 ends', '1 begins', '1 ends'])
  })
})
