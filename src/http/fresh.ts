import { AuthError } from '../errors.ts'
import { liveOf } from './bearer.ts'
import type { Check } from './route.ts'

/**
 * After `liveSession`: checks that the user has proved their identity in the last `FRESH_SECONDS`. Decides by the row of
 * the session and the database's clock, not by the access token, which may be older than the proof (OWASP ASVS 7.5.1).
 */
export const fresh = {
  problems: ['reauthentication_required'],
  handler:
    ({ freshSeconds }) =>
    (req, _res, next) => {
      const { session, now } = liveOf(req)
      const ageMs = now.getTime() - session.authenticatedAt.getTime()
      if (ageMs > freshSeconds * 1000)
        throw new AuthError('reauthentication_required', { members: { methods: ['password'] } })
      next()
    },
} satisfies Check
