import { setImmediate } from 'node:timers/promises'
import type { Clock } from '../../src/client/clock.ts'

/** A clock that stands still, until a test moves it. */
export interface HandClock extends Clock {
  /** Moves both clocks, and runs the timers that are due. */
  pass(ms: number): Promise<void>
  /** Sets the wall clock only. */
  set(wall: number): void
}

export function createHandClock(wall = 1_800_000_000_000): HandClock {
  const time = { wall, running: 0 }
  let timers: { at: number; work: () => void }[] = []
  const runNext = (end: number) => {
    const [next] = timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)
    if (!next) return false
    timers = timers.filter((timer) => timer !== next)
    move(next.at)
    next.work()
    return true
  }
  const move = (running: number) => {
    time.wall += running - time.running
    time.running = running
  }
  return {
    now: () => ({ ...time }),
    after(ms, work) {
      const timer = { at: time.running + ms, work }
      timers.push(timer)
      return () => {
        timers = timers.filter((one) => one !== timer)
      }
    },
    async pass(ms) {
      const end = time.running + ms
      do await setImmediate()
      while (runNext(end))
      move(end)
    },
    set(wall) {
      time.wall = wall
    },
  }
}
