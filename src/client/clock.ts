/** A point in time by two clocks, in milliseconds. */
export interface Moment {
  /** The time of day. Users and time servers may set it. */
  wall: number
  /** The age of the page. It may stop while the machine sleeps. */
  running: number
}

/** The clocks and timers of a page. */
export interface Clock {
  now(): Moment
  /** Calls `work` later. @returns a function that cancels the call */
  after(ms: number, work: () => void): () => void
}

export const pageClock: Clock = {
  now: () => ({ wall: Date.now(), running: performance.now() }),
  after(ms, work) {
    const timer = setTimeout(work, ms)
    return () => clearTimeout(timer)
  },
}

/** Returns the milliseconds since a moment. The larger difference is right, because clocks stop or are set back. */
export function since(clock: Clock, { wall, running }: Moment): number {
  const now = clock.now()
  return Math.max(now.wall - wall, now.running - running)
}
