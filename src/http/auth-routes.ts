import type { Request, RequestHandler, Response } from 'express'
import type { createChangePassword } from '../auth/change-password.ts'
import type { Device } from '../auth/device.ts'
import type { DeviceGrant, Grant } from '../auth/grant.ts'
import type { createLogin } from '../auth/login.ts'
import type { createLogout } from '../auth/logout.ts'
import type { createRefresh } from '../auth/refresh.ts'
import type { RefreshTokens } from '../auth/refresh-token.ts'
import type { createRegister } from '../auth/register.ts'
import { AuthError } from '../errors.ts'
import type { Caller } from '../store/audit.ts'
import type { RefreshClaims, Session, SessionStore } from '../store/sessions.ts'
import type { User } from '../store/users.ts'
import { accessOf, userOf } from './bearer.ts'
import { bodyOf, credentialsBody, passwordChangeBody } from './body.ts'
import type { Metrics } from './metrics.ts'
import type { PresentedToken, TokenCookie } from './token-cookie.ts'

declare global {
  namespace Express {
    interface Request {
      refreshClaims?: RefreshClaims
    }
  }
}

/** The handlers of `/auth/*` and `/users/*`: from request to use case, and from outcome to answer. */
export function createAuthHandlers(deps: {
  register: ReturnType<typeof createRegister>
  login: ReturnType<typeof createLogin>
  refresh: ReturnType<typeof createRefresh>
  logout: ReturnType<typeof createLogout>
  changePassword: ReturnType<typeof createChangePassword>
  refreshTokens: RefreshTokens
  sessions: SessionStore
  refreshCookie: TokenCookie
  deviceCookie: TokenCookie
  metrics: Metrics
}) {
  const { refreshCookie, deviceCookie, sessions } = deps

  const deviceOf = (req: Request, res: Response): Device => ({
    ...callerOf(req),
    refreshToken: onlyToken(refreshCookie.read(req)),
    deviceToken: onlyToken(deviceCookie.read(req)),
    gone: goneSignal(res),
  })

  const answerGrant = (res: Response, status: number, grant: Grant | DeviceGrant) => {
    refreshCookie.set(res, grant.refreshToken, grant.refreshExpiresIn)
    if ('deviceToken' in grant) deviceCookie.set(res, grant.deviceToken, grant.deviceExpiresIn)
    const { accessToken, expiresIn, user } = grant
    res.status(status).json({ accessToken, tokenType: 'Bearer', expiresIn, user: publicUser(user) })
  }

  const handlers = {
    async register(req, res) {
      const { email, password } = bodyOf(req, credentialsBody)
      answerGrant(res, 201, await deps.register(email, password, deviceOf(req, res)))
    },

    async login(req, res) {
      const { email, password } = bodyOf(req, credentialsBody)
      const outcome = await deps.login(email, password, deviceOf(req, res))
      if (outcome.kind !== 'granted') throw new Error('no feature here answers with a challenge')
      answerGrant(res, 200, outcome.grant)
    },

    /** What the token itself shows: before the body is looked at, and before the state of its session. */
    async requireRefreshToken(req, res, next) {
      const presented = refreshCookie.read(req)
      const claims = presented.kind === 'one' ? await deps.refreshTokens.verify(presented.token) : undefined
      if (!claims) {
        refreshCookie.clear(res)
        if (presented.kind === 'several') throw twoCookies(req)
        throw new AuthError(presented.kind === 'none' ? 'refresh_token_missing' : 'refresh_token_invalid')
      }
      req.refreshClaims = claims
      next()
    },

    async refresh(req, res) {
      if (!req.refreshClaims) throw new Error('this route is not behind requireRefreshToken')
      const outcome = await deps.refresh(req.refreshClaims, callerOf(req))
      deps.metrics.refreshed(outcome.kind)
      if (outcome.kind === 'rotated' || outcome.kind === 'graced') {
        if (outcome.kind === 'graced')
          req.log.info({ event: 'refresh_graced' }, 'same successor issued again')
        return answerGrant(res, 200, outcome.grant)
      }
      if (outcome.kind === 'refresh_token_reused') {
        const { sessionId: sid, userId } = outcome
        req.log.warn({ event: 'refresh_token_reused', sid, userId }, 'refresh token reused: session ended')
      }
      refreshCookie.clear(res)
      throw new AuthError(outcome.kind)
    },

    async logout(req, res) {
      const presented = refreshCookie.read(req)
      if (presented.kind === 'one') await deps.logout(presented.token, callerOf(req))
      refreshCookie.clear(res)
      res.status(204).end()
    },

    async logoutAll(req, res) {
      await sessions.endAll(userOf(req).id, 'logout_all', callerOf(req))
      refreshCookie.clear(res)
      res.status(204).end()
    },

    async listSessions(req, res) {
      const { userId, sessionId } = accessOf(req)
      const live = await sessions.list(userId)
      res.json({ sessions: live.map((session) => publicSession(session, sessionId)) })
    },

    async endSession(req, res) {
      const { id } = req.params
      const ended =
        /^[\w-]{22}$/.test(String(id)) &&
        (await sessions.end(String(id), userOf(req).id, 'revoked', callerOf(req)))
      if (!ended) throw new AuthError('not_found')
      res.status(204).end()
    },

    async changePassword(req, res) {
      const { currentPassword, newPassword } = bodyOf(req, passwordChangeBody)
      const device = deviceOf(req, res)
      answerGrant(res, 200, await deps.changePassword(accessOf(req), currentPassword, newPassword, device))
    },

    me(req, res) {
      res.json(publicUser(userOf(req)))
    },
  } satisfies Record<string, RequestHandler>
  return handlers
}

const callerOf = (req: Request): Caller => ({
  ip: req.address,
  userAgent: req.headers['user-agent']?.slice(0, 256),
})

/** Says what no other answer of a refresh tells: that one login, or a hundred, will not help. */
function twoCookies(req: Request): AuthError {
  req.log.warn({ event: 'refresh_cookie_twice' }, 'two refresh cookies: one is a leftover of another path')
  return new AuthError('refresh_token_invalid', { detail: twoCookiesDetail })
}
export const twoCookiesDetail =
  'There are two refresh cookies, so neither is trusted. Both are cleared where they can be. Log in. If this comes again, delete the cookies of this site in the browser.'

const onlyToken = (presented: PresentedToken) => (presented.kind === 'one' ? presented.token : undefined)

function goneSignal(res: Response): AbortSignal {
  const gone = new AbortController()
  const giveUp = () => res.writableFinished || gone.abort()
  if (res.closed) giveUp()
  res.once('close', giveUp)
  return gone.signal
}

const publicUser = ({ id, email, role, emailVerifiedAt, createdAt }: User) => ({
  id,
  email,
  role,
  emailVerified: emailVerifiedAt !== null,
  createdAt,
})

const publicSession = (session: Session, currentId: string) => ({
  id: session.id,
  current: session.id === currentId,
  createdAt: session.createdAt,
  lastUsedAt: session.rotatedAt,
  expiresAt: session.usableUntil,
  userAgent: session.userAgent,
  ip: session.ip,
})
