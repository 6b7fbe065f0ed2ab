import { z } from 'zod'
import { AuthError } from '../errors.ts'
import { accessOf, accessToken, liveSession, userOf } from '../http/bearer.ts'
import { noBody } from '../http/body.ts'
import { sameSite } from '../http/cross-site.ts'
import { callerOf, time } from '../http/grant.ts'
import { route } from '../http/route.ts'
import type { Session, SessionStore } from '../store/sessions.ts'

const sessionAnswer = z.object({
  id: z.string(),
  current: z.boolean().meta({ description: 'Whether this is the session of the request.' }),
  createdAt: time,
  lastUsedAt: time,
  expiresAt: time.meta({ description: 'When the session expires if it is not used before.' }),
  userAgent: z.string().nullable(),
  ip: z.string().nullable(),
})
const sessionList = z.object({ sessions: z.array(sessionAnswer) }).meta({ id: 'SessionList' })

/** Lists the live sessions of the user, without any token. */
export const listSessions = route({
  method: 'get',
  path: '/auth/sessions',
  checks: [accessToken, liveSession],
  name: 'listSessions',
  group: 'Account',
  summary: 'List where the user is logged in',
  answers: { 200: { description: 'The live sessions.', body: sessionList } },

  handler: (services: { sessions: SessionStore }) => async (req, res) => {
    const { userId, sessionId } = accessOf(req)
    const live = await services.sessions.list(userId)
    res.json({ sessions: live.map((session) => publicSession(session, sessionId)) })
  },
})

/** Ends one session of the user. Another user's session is 404, as if it did not exist. */
export const endSession = route({
  method: 'delete',
  path: '/auth/sessions/:id',
  checks: [sameSite, accessToken, noBody, liveSession],
  name: 'endSession',
  group: 'Account',
  summary: 'Log out one device',
  answers: { 204: { description: 'The session has ended.' } },
  problems: ['not_found'],

  handler: (services: { sessions: SessionStore }) => async (req, res) => {
    const id = String(req.params.id)
    const isId = /^[\w-]{22}$/.test(id)
    if (!isId || !(await services.sessions.end(id, userOf(req).id, 'revoked', callerOf(req))))
      throw new AuthError('not_found')
    res.status(204).end()
  },
})

const publicSession = (session: Session, currentId: string): z.output<typeof sessionAnswer> => ({
  id: session.id,
  current: session.id === currentId,
  createdAt: session.createdAt.toISOString(),
  lastUsedAt: session.rotatedAt.toISOString(),
  expiresAt: session.usableUntil.toISOString(),
  userAgent: session.userAgent,
  ip: session.ip,
})
