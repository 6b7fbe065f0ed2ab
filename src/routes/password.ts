import { z } from 'zod'
import type { ChangePassword } from '../auth/change-password.ts'
import { accessOf, accessToken } from '../http/bearer.ts'
import { bodyOf, jsonBody, password } from '../http/body.ts'
import { sameSite } from '../http/cross-site.ts'
import { type Cookies, deviceOf, sendGrant, tokenAnswer } from '../http/grant.ts'
import { route } from '../http/route.ts'

const passwordChange = z
  .strictObject({ currentPassword: password, newPassword: password })
  .meta({ id: 'PasswordChange' })

/** Changes the password. Ends all sessions of the user, and starts a new one. */
export const changePassword = route({
  method: 'post',
  path: '/auth/password',
  checks: [sameSite, accessToken, jsonBody(passwordChange)],
  name: 'changePassword',
  group: 'Account',
  summary: 'Change the password',
  description: 'Ends all sessions of the user, including the one of this request. Starts a new one.',
  example: { currentPassword: 'my dog is called rex', newPassword: 'my cat is called tux' },
  answers: {
    200: {
      description: 'The password has changed, and a new session has started.',
      headers: ['Set-Cookie'],
      body: tokenAnswer,
    },
  },
  problems: [
    'wrong_password',
    'password_rejected',
    'session_ended',
    'too_many_attempts',
    'overloaded',
    'unavailable',
  ],

  handler: (services: { changePassword: ChangePassword; cookies: Cookies }) => async (req, res) => {
    const { currentPassword, newPassword } = bodyOf(req, passwordChange)
    const device = deviceOf(req, res, services.cookies)
    const grant = await services.changePassword(accessOf(req), currentPassword, newPassword, device)
    sendGrant(res, services.cookies, 200, grant)
  },
})
