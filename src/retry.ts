/** Waits for so many milliseconds. `setTimeout` of `node:timers/promises` is one. */
export type Delay = (ms: number) => Promise<unknown>

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
