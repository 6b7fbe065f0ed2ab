import { callerOf } from './grant.ts'
import type { Check } from './route.ts'

/** After the body: counts a request that may send mail, whatever becomes of it. */
export const mailLimit = {
  problems: ['too_many_attempts', 'unavailable'],
  handler:
    ({ throttle }) =>
    async (req, _res, next) => {
      await throttle.mailRequest(callerOf(req))
      next()
    },
} satisfies Check
