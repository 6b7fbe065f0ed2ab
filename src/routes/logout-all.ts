import { accessToken, liveSession, userOf } from '../http/bearer.ts'
import { noBody } from '../http/body.ts'
import { sameSite } from '../http/cross-site.ts'
import { type Cookies, callerOf } from '../http/grant.ts'
import { route } from '../http/route.ts'
import type { SessionStore } from '../store/sessions.ts'

/** Ends every session of the user. Clears the cookie of this one. */
export const logoutAll = route({
  method: 'post',
  path: '/auth/logout-all',
  checks: [sameSite, accessToken, noBody, liveSession],
  name: 'logoutAll',
  group: 'Log in and out',
  summary: 'Log out everywhere',
  answers: { 204: { description: 'Every session of the user has ended.', headers: ['Set-Cookie'] } },

  handler: (services: { sessions: SessionStore; cookies: Cookies }) => async (req, res) => {
    await services.sessions.endAll(userOf(req).id, 'logout_all', callerOf(req))
    services.cookies.refresh.clear(res)
    res.status(204).end()
  },
})
