import { setTimeout as delay } from 'node:timers/promises'
import { answerMs } from '../../support/time-limits.js'

/** Waits until `check` returns true. @throws if it does not within `ms` */
export async function eventually(check: () => Promise<boolean> | boolean, ms = answerMs): Promise<void> {
  const end = Date.now() + ms
  while (!(await check())) {
    if (Date.now() > end) throw new Error(`not within ${ms} ms: ${check}`)
    await delay(20)
  }
}
