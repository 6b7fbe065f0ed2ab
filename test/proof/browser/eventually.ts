import { setTimeout as delay } from 'node:timers/promises'
import { answerMs } from '../../support/time-limits.js'

/** Waits for something to become true. */
export async function eventually(check: () => Promise<boolean> | boolean, ms = answerMs): Promise<void> {
  const end = Date.now() + ms
  while (!(await check())) {
    if (Date.now() > end) throw new Error(`not within ${ms} ms: ${check}`)
    await delay(20)
  }
}
