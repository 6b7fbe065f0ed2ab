import type { Request } from 'express'
import type { Refresh } from '../auth/refresh.ts'
import { AuthError } from '../errors.ts'
import { noBody } from '../http/body.ts'
import { sameSite } from '../http/cross-site.ts'
import { type Cookies, callerOf, sendGrant, tokenAnswer } from '../http/grant.ts'
import type { Metrics } from '../http/metrics.ts'
import { type Check, route } from '../http/route.ts'
import type { RefreshClaims } from '../store/sessions.ts'

declare global {
  namespace Express {
    interface Request {
      refreshClaims?: RefreshClaims
    }
  }
}

/** Verifies the token in the refresh cookie. Looks at neither the body nor the session. */
const refreshToken = {
  problems: ['refresh_token_missing', 'refresh_token_invalid', 'unavailable'],
  credentials: 'refreshToken',
  handler: (services) => async (req, res, next) => {
    const cookie = services.cookies.refresh
    const presented = cookie.read(req)
    const claims = presented.kind === 'one' && (await services.refreshTokens.verify(presented.token))
    if (!claims) {
      cookie.clear(res)
      if (presented.kind === 'several') throw twoCookies(req)
      throw new AuthError(presented.kind === 'none' ? 'refresh_token_missing' : 'refresh_token_invalid')
    }
    req.refreshClaims = claims
    next()
  },
} satisfies Check

interface Services {
  refresh: Refresh
  cookies: Cookies
  metrics: Pick<Metrics, 'refreshed'>
}

/** Rotates the refresh token of the cookie, and gives a new access token. */
export const refresh = route({
  method: 'post',
  path: '/auth/refresh',
  checks: [sameSite, refreshToken, noBody],
  name: 'refresh',
  group: 'Log in and out',
  summary: 'Get a new access token, and the next refresh token',
  description: 'A 401 clears the refresh cookie. Any other problem leaves the session as it is.',
  answers: { 200: { description: 'The session continues.', headers: ['Set-Cookie'], body: tokenAnswer } },
  problems: ['refresh_token_reused', 'session_ended', 'unavailable'],

  handler: (services: Services) => async (req, res) => {
    if (!req.refreshClaims) throw new Error('this route lacks the check refreshToken')
    const outcome = await services.refresh(req.refreshClaims, callerOf(req))
    services.metrics.refreshed(outcome.kind)
    if (outcome.kind === 'graced') req.log.info({ event: 'refresh_graced' }, 'current token issued again')
    if ('grant' in outcome) return sendGrant(res, services.cookies, 200, outcome.grant)
    if (outcome.kind === 'refresh_token_reused') {
      const { sessionId: sid, userId } = outcome
      req.log.warn({ event: 'refresh_token_reused', sid, userId }, 'refresh token reused: session ended')
    }
    services.cookies.refresh.clear(res)
    throw new AuthError(outcome.kind)
  },
})

// This detail is more than the code tells. Logging in again does not help while the second cookie is there.
function twoCookies(req: Request): AuthError {
  req.log.warn({ event: 'refresh_cookie_twice' }, 'two refresh cookies: one is a leftover of another path')
  return new AuthError('refresh_token_invalid', { detail: twoCookiesDetail })
}
export const twoCookiesDetail =
  'The browser sent two refresh cookies, so the server trusts neither. It has cleared those that it can. Log in. If this happens again, delete the cookies of this site in the browser.'
