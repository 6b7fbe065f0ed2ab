import type { Request } from 'express'
import type { AccessClaims } from '../auth/access-token.ts'
import { AuthError } from '../errors.ts'
import type { SessionState } from '../store/sessions.ts'
import type { User } from '../store/users.ts'
import type { Check, CheckServices } from './route.ts'

declare global {
  namespace Express {
    interface Request {
      access?: AccessClaims
      live?: SessionState
    }
  }
}

/** Checks the access token, without the database (RFC 6750). After a logout the token stays valid until it expires. */
export const accessToken = {
  problems: ['access_token_missing', 'access_token_invalid', 'access_token_expired', 'unavailable'],
  credentials: 'accessToken',
  handler: (services) => async (req, _res, next) => {
    req.access = await services.accessTokens.verify(bearerToken(req))
    next()
  },
} satisfies Check

/** After `accessToken`: checks that its session is live, and reads the session and the account as they are now. */
export const liveSession = {
  problems: ['session_ended', 'unavailable'],
  handler: (services) => async (req, _res, next) => {
    const { sessionId, userId } = accessOf(req)
    const found = await services.sessions.find(sessionId, userId)
    if (!found) throw new AuthError('session_ended')
    req.live = found
    next()
  },
} satisfies Check

/** Returns the claims of the access token, on a route with the check `accessToken`. */
export function accessOf(req: Request): AccessClaims {
  if (!req.access) throw new Error('this route lacks the check accessToken')
  return req.access
}

/** Returns the session and its user, on a route with the check `liveSession`. */
export function liveOf(req: Request): SessionState {
  if (!req.live) throw new Error('this route lacks the check liveSession')
  return req.live
}

/** Returns the user of the session, on a route with the check `liveSession`. */
export const userOf = (req: Request): User => liveOf(req).user

/**
 * Returns the claims of the access token, or undefined if the request has no Authorization header. For routes that judge
 * the token after the body.
 */
export async function accessIfSent(
  req: Request,
  { accessTokens }: CheckServices,
): Promise<AccessClaims | undefined> {
  if (req.headers.authorization === undefined) return undefined
  req.access = await accessTokens.verify(bearerToken(req))
  return req.access
}

function bearerToken(req: Request): string {
  const [header = '', ...more] = req.headersDistinct.authorization ?? []
  if (more.length > 0) throw new AuthError('access_token_invalid')
  const [, token] = /^bearer +([^ ].*)$/i.exec(header) ?? []
  if (!token) throw new AuthError('access_token_missing')
  return token
}
