import { setTimeout as sleep } from 'node:timers/promises'

/** Waits for `ms` milliseconds. Rejects as soon as `signal` is aborted. */
export type Delay = (ms: number, signal?: AbortSignal) => Promise<unknown>

/** Waits in real time. */
export const delay: Delay = (ms, signal) => sleep(ms, undefined, { signal })

/**
 * Runs `work` until it succeeds.
 * @param pauseMs returns the pause after a failure, in milliseconds; `tries` counts from 1. Returns undefined, or throws,
 * to give up
 * @returns the result of `work`
 * @throws the last error of `work`, or what `pauseMs` throws
 */
export async function retry<Result>(
  work: () => Promise<Result>,
  { pauseMs, delay }: { pauseMs: (error: unknown, tries: number) => number | undefined; delay: Delay },
): Promise<Result> {
  for (let tries = 1; ; tries++) {
    try {
      return await work()
    } catch (error) {
      const pause = pauseMs(error, tries)
      if (pause === undefined) throw error
      await delay(pause)
    }
  }
}

/**
 * Runs `work` for `ms` milliseconds at most. Aborts its signal then, and ignores late results.
 * @returns the result of `work`, or of `onLate` if that comes first
 */
export async function limitTime<Result, Late>(
  work: (signal: AbortSignal) => Promise<Result>,
  { ms, onLate, delay }: { ms: number; onLate: () => Late; delay: Delay },
): Promise<Result | Late> {
  const late = new AbortController()
  const done = new AbortController()
  const limit = delay(ms, done.signal).then(() => {
    late.abort()
    return onLate()
  })
  try {
    return await Promise.race([work(late.signal), limit])
  } finally {
    done.abort()
    limit.catch(() => {}) // The end of the work rejects the delay.
  }
}
