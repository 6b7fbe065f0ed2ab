import type { Request, Response } from 'express'
import { z } from 'zod'
import type { Device } from '../auth/device.ts'
import type { DeviceGrant, Grant } from '../auth/grant.ts'
import type { Caller } from '../store/audit.ts'
import type { User } from '../store/users.ts'
import type { PresentedToken, TokenCookie } from './token-cookie.ts'

/** The two cookies of this server. */
export interface Cookies {
  refresh: TokenCookie
  device: TokenCookie
}

export const time = z.string().meta({ format: 'date-time' })

/** A user, as responses show it. */
export const userAnswer = z
  .object({
    id: z.string(),
    email: z.string().meta({ format: 'email' }),
    role: z.string(),
    emailVerified: z.boolean(),
    createdAt: time,
  })
  .meta({ id: 'User' })

/** The response of every route that starts or continues a session. The refresh token is in the cookie. */
export const tokenAnswer = z
  .object({
    accessToken: z.string().meta({ description: 'A JWT (RFC 9068). Keep it in memory only.' }),
    tokenType: z.literal('Bearer'),
    expiresIn: z.int().positive().meta({ description: 'Seconds.' }),
    user: userAnswer,
  })
  .meta({ id: 'TokenAnswer' })

export const publicUser = (user: User): z.output<typeof userAnswer> => ({
  id: user.id,
  email: user.email,
  role: user.role,
  emailVerified: user.emailVerifiedAt !== null,
  createdAt: user.createdAt.toISOString(),
})

/** Sends the tokens of a session: the access token in the body, the refresh token in its cookie. */
export function sendGrant(
  res: Response<z.output<typeof tokenAnswer>>,
  cookies: Cookies,
  status: number,
  grant: Grant | DeviceGrant,
): void {
  const { accessToken, expiresIn, user } = grant
  cookies.refresh.set(res, grant.refreshToken, grant.refreshExpiresIn)
  if ('deviceToken' in grant) cookies.device.set(res, grant.deviceToken, grant.deviceExpiresIn)
  res.status(status).json({ accessToken, tokenType: 'Bearer', expiresIn, user: publicUser(user) })
}

/** Returns who sends a request, for the audit and the list of sessions. */
export const callerOf = (req: Request): Caller => ({
  ip: req.address,
  userAgent: req.headers['user-agent']?.slice(0, 256),
})

/** Returns the device that sends a request, with the cookies that it presents. */
export const deviceOf = (req: Request, res: Response, cookies: Cookies): Device => ({
  ...callerOf(req),
  refreshToken: onlyToken(cookies.refresh.read(req)),
  deviceToken: onlyToken(cookies.device.read(req)),
  gone: goneSignal(res),
})

const onlyToken = (presented: PresentedToken) => (presented.kind === 'one' ? presented.token : undefined)

// Aborts when the client closes the connection before it has the response. Then its password need not be hashed.
function goneSignal(res: Response): AbortSignal {
  const gone = new AbortController()
  const giveUp = () => res.writableFinished || gone.abort()
  if (res.closed) giveUp()
  res.once('close', giveUp)
  return gone.signal
}
