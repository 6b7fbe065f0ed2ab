import type { Request, RequestHandler } from 'express'
import type { AccessClaims, AccessTokens } from '../auth/access-token.ts'
import { AuthError } from '../errors.ts'
import type { SessionStore } from '../store/sessions.ts'
import type { User } from '../store/users.ts'

declare global {
  namespace Express {
    interface Request {
      access?: AccessClaims
      user?: User
    }
  }
}

/** The two strengths of protection for routes that need a logged-in user (RFC 6750). */
export function createBearer(deps: { accessTokens: AccessTokens; sessions: SessionStore }) {
  /** A valid access token: no database. After a logout it is good until it expires. */
  const requireAccessToken: RequestHandler = async (req, _res, next) => {
    req.access = await deps.accessTokens.verify(bearerToken(req))
    next()
  }

  /** After requireAccessToken: its session is live, and so are the account and its rights as of now. */
  const requireLiveSession: RequestHandler = async (req, _res, next) => {
    const { sessionId, userId } = accessOf(req)
    const found = await deps.sessions.find(sessionId, userId)
    if (!found) throw new AuthError('session_ended')
    req.user = found.user
    next()
  }

  return { requireAccessToken, requireLiveSession }
}

/** Who a request acts for, on a route behind requireAccessToken. */
export function accessOf(req: Request): AccessClaims {
  if (!req.access) throw new Error('this route is not behind requireAccessToken')
  return req.access
}

/** The user of a request, on a route behind requireLiveSession. */
export function userOf(req: Request): User {
  if (!req.user) throw new Error('this route is not behind requireLiveSession')
  return req.user
}

function bearerToken(req: Request): string {
  const [header = '', ...more] = req.headersDistinct.authorization ?? []
  if (more.length > 0) throw new AuthError('access_token_invalid')
  const [, token] = /^bearer +([^ ].*)$/i.exec(header) ?? []
  if (!token) throw new AuthError('access_token_missing')
  return token
}
