import type { Logout } from '../auth/logout.ts'
import { noBody } from '../http/body.ts'
import { sameSite } from '../http/cross-site.ts'
import { type Cookies, callerOf } from '../http/grant.ts'
import { route } from '../http/route.ts'

/** Ends the session of the refresh cookie, even with a token that has been rotated. Clears the cookie. */
export const logout = route({
  method: 'post',
  path: '/auth/logout',
  checks: [sameSite, noBody],
  name: 'logout',
  group: 'Log in and out',
  summary: 'Log out here',
  optional: 'refreshToken',
  answers: {
    204: { description: 'The session of the cookie has ended, if there was one.', headers: ['Set-Cookie'] },
  },
  problems: ['unavailable'],

  handler: (services: { logout: Logout; cookies: Cookies }) => async (req, res) => {
    const { refresh } = services.cookies
    const presented = refresh.read(req)
    // The server trusts neither of two cookies. It clears both, and ends no session.
    if (presented.kind === 'one') await services.logout(presented.token, callerOf(req))
    refresh.clear(res)
    res.status(204).end()
  },
})
