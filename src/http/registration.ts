import { AuthError } from '../errors.ts'
import type { Check } from './route.ts'

/** Refuses registrations if REGISTRATION is `closed`, before the body is read. */
export const registrationOpen = {
  problems: ['registration_closed'],
  handler:
    ({ registration }) =>
    (_req, _res, next) => {
      if (registration === 'closed') throw new AuthError('registration_closed')
      next()
    },
} satisfies Check
