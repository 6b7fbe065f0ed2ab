import type { Logout } from '../auth/logout.ts'
import { noBody } from '../http/body.ts'
import { sameSite } from '../http/cross-site.ts'
import { type Cookies, callerOf } from '../http/grant.ts'
import { route } from '../http/route.ts'

/** Ends the session of the refresh cookie, also with a token that has been rotated. Clears the cookie. */
export const logout = route({
  method: 'post',
  path: '/auth/logout',
  name: 'logout',
  group: 'Log in and out',
  summary: 'Log out here',
  checks: [sameSite, noBody],
  optional: 'refreshToken',
  answers: {
    204: { description: 'The session of the cookie has ended, if there was one.', headers: ['Set-Cookie'] },
  },
  problems: ['unavailable'],

  handler:
    ({ logout, cookies }: { logout: Logout; cookies: Cookies }) =>
    async (req, res) => {
      const presented = cookies.refresh.read(req)
      if (presented.kind === 'one') await logout(presented.token, callerOf(req))
      cookies.refresh.clear(res)
      res.status(204).end()
    },
})
