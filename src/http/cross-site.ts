import type { Request } from 'express'
import { AuthError } from '../errors.ts'
import type { Check } from './route.ts'

/**
 * Refuses requests that a browser sends for a page of another site, or of an origin that is not allowed. An origin is
 * allowed if it is the server's own or one of CORS_ORIGINS. Requests without both headers do not come from a browser.
 */
export const sameSite = {
  problems: ['cross_site_request'],
  handler: (services) => (req, _res, next) => {
    const { origin } = req.headers
    const crossSite = req.headers['sec-fetch-site'] === 'cross-site'
    if (crossSite || (origin !== undefined && !services.isAllowedOrigin(origin))) {
      services.logRefusedOrigin(req)
      throw new AuthError('cross_site_request')
    }
    next()
  },
} satisfies Check

const logEveryMs = 10_000
const maxLoggedOrigin = 200

/**
 * Logs refused origins, at most one line in ten seconds. An operator must be able to find a mistake in CORS_ORIGINS. But
 * strangers must not be able to fill the log, or to send control characters to a terminal.
 * @param clock returns milliseconds
 */
export function createRefusalLog(clock: () => number) {
  let lastAt = Number.NEGATIVE_INFINITY
  let omitted = 0
  return ({ headers: { origin }, log }: Request) => {
    const now = clock()
    if (now - lastAt < logEveryMs) return void omitted++
    const shown = origin?.slice(0, maxLoggedOrigin).replace(/[^ -~]/g, '?')
    log.warn(
      { event: 'origin_refused', origin: shown, omitted },
      'A request of a page of another origin was refused. If the page is yours, add its origin to CORS_ORIGINS.',
    )
    lastAt = now
    omitted = 0
  }
}
