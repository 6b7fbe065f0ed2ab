import type { Request, RequestHandler } from 'express'
import { AuthError } from '../errors.ts'

/**
 * Refuses unsafe requests that a browser makes for a page of another site, or of an origin that is not allowed.
 * Requests without both headers do not come from a browser.
 * @param isAllowed whether an origin is the server's own or one of CORS_ORIGINS, compared whole
 * @param clock milliseconds, for the rate of log lines
 */
export function refuseCrossSite(isAllowed: (origin: string) => boolean, clock: () => number): RequestHandler {
  const log = createRefusalLog(clock)
  return (req, _res, next) => {
    const { origin } = req.headers
    const crossSite = req.headers['sec-fetch-site'] === 'cross-site'
    if (crossSite || (origin !== undefined && !isAllowed(origin))) {
      log(req)
      throw new AuthError('cross_site_request')
    }
    next()
  }
}

const logEveryMs = 10_000
const maxLoggedOrigin = 200

// A wrong CORS_ORIGINS has to be found. But a stranger must not be able to fill the log or to write into a terminal.
function createRefusalLog(clock: () => number) {
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
