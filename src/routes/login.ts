import { z } from 'zod'
import type { Login } from '../auth/login.ts'
import { bodyOf, email, jsonBody, password } from '../http/body.ts'
import { sameSite } from '../http/cross-site.ts'
import { type Cookies, deviceOf, sendGrant, tokenAnswer } from '../http/grant.ts'
import { route } from '../http/route.ts'

export const credentials = z.strictObject({ email, password }).meta({ id: 'Credentials' })

/** Logs in with an e-mail address and a password. Starts a session, and ends the one whose cookie is presented. */
export const login = route({
  method: 'post',
  path: '/auth/login',
  checks: [sameSite, jsonBody(credentials)],
  name: 'login',
  group: 'Log in and out',
  summary: 'Log in',
  description: 'Ends the session whose cookie is presented.',
  example: { email: 'ada@example.com', password: 'my dog is called rex' },
  answers: { 200: { description: 'A new session.', headers: ['Set-Cookie'], body: tokenAnswer } },
  problems: ['invalid_credentials', 'too_many_attempts', 'overloaded', 'unavailable'],

  handler: (services: { login: Login; cookies: Cookies }) => async (req, res) => {
    const { email, password } = bodyOf(req, credentials)
    const outcome = await services.login(email, password, deviceOf(req, res, services.cookies))
    if (outcome.kind !== 'granted')
      throw new Error('createLogin got a secondFactor, which this route does not answer')
    sendGrant(res, services.cookies, 200, outcome.grant)
  },
})
