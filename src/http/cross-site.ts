import type { RequestHandler } from 'express'
import { AuthError } from '../auth/errors.ts'

/**
 * Refuses unsafe requests that a browser makes for a page of another site, or of an origin that is not listed.
 * Requests without both headers do not come from a browser.
 * @param allowedOrigins the server's own and those of CORS_ORIGINS, compared whole
 */
export function refuseCrossSite(allowedOrigins: readonly string[]): RequestHandler {
  return (req, _res, next) => {
    const { origin } = req.headers
    const crossSite = req.headers['sec-fetch-site'] === 'cross-site'
    if (crossSite || (origin !== undefined && !allowedOrigins.includes(origin)))
      throw new AuthError('cross_site_request')
    next()
  }
}
