import type { Register } from '../auth/register.ts'
import { bodyOf, jsonBody } from '../http/body.ts'
import { sameSite } from '../http/cross-site.ts'
import { type Cookies, deviceOf, sendGrant, tokenAnswer } from '../http/grant.ts'
import { route } from '../http/route.ts'
import { credentials } from './login.ts'

/** Creates an account and logs in. Ends the session whose cookie is presented. */
export const register = route({
  method: 'post',
  path: '/auth/register',
  checks: [sameSite, jsonBody(credentials)],
  name: 'register',
  group: 'Log in and out',
  summary: 'Create an account, and log in',
  description: 'Ends the session whose cookie is presented.',
  example: { email: 'ada@example.com', password: 'my dog is called rex' },
  answers: {
    201: { description: 'The account and its first session.', headers: ['Set-Cookie'], body: tokenAnswer },
  },
  problems: ['email_taken', 'password_rejected', 'too_many_attempts', 'overloaded', 'unavailable'],

  handler: (services: { register: Register; cookies: Cookies }) => async (req, res) => {
    const { email, password } = bodyOf(req, credentials)
    const grant = await services.register(email, password, deviceOf(req, res, services.cookies))
    sendGrant(res, services.cookies, 201, grant)
  },
})
