import type { Register } from '../auth/register.ts'
import { bodyOf, jsonBody, nothing } from '../http/body.ts'
import { sameSite } from '../http/cross-site.ts'
import { type Cookies, deviceOf, sendGrant, tokenAnswer } from '../http/grant.ts'
import { registrationOpen } from '../http/registration.ts'
import { route } from '../http/route.ts'
import { credentials } from './login.ts'

/**
 * Creates an account and logs in. Ends the session whose cookie is presented. With REGISTRATION=verified it mails a link
 * instead, and the answer is the same for every address.
 */
export const register = route({
  method: 'post',
  path: '/auth/register',
  checks: [sameSite, registrationOpen, jsonBody(credentials)],
  name: 'register',
  group: 'Log in and out',
  summary: 'Create an account, and log in',
  description:
    'Ends the session whose cookie is presented. If the server creates accounts only after their address is confirmed, it mails a link and answers 202, the same for every address.',
  example: { email: 'ada@example.com', password: 'my dog is called rex' },
  answers: {
    201: { description: 'The account and its first session.', headers: ['Set-Cookie'], body: tokenAnswer },
    202: { description: 'A mail is on its way, if the address can have an account.', body: nothing },
  },
  problems: ['email_taken', 'password_rejected', 'too_many_attempts', 'overloaded', 'unavailable'],

  handler: (services: { register: Register; cookies: Cookies }) => async (req, res) => {
    const { email, password } = bodyOf(req, credentials)
    const outcome = await services.register(email, password, deviceOf(req, res, services.cookies))
    if (outcome.kind === 'granted') sendGrant(res, services.cookies, 201, outcome.grant)
    else res.status(202).json({})
  },
})
