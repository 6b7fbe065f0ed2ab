import { z } from 'zod'
import type { Reauthenticate } from '../auth/reauthenticate.ts'
import { accessOf, accessToken } from '../http/bearer.ts'
import { bodyOf, jsonBody, password } from '../http/body.ts'
import { sameSite } from '../http/cross-site.ts'
import { type Cookies, deviceOf, sendGrant, tokenAnswer } from '../http/grant.ts'
import { route } from '../http/route.ts'

const proof = z.strictObject({ password }).meta({ id: 'ProofOfIdentity' })

/** Proves the identity of the user again. The session continues, and sensitive actions accept it for a while. */
export const reauthenticate = route({
  method: 'post',
  path: '/auth/reauthenticate',
  checks: [sameSite, accessToken, jsonBody(proof)],
  name: 'reauthenticate',
  group: 'Account',
  summary: 'Prove your identity again, for a sensitive action',
  description: 'The session continues with new tokens. The refresh cookie of the request does not matter.',
  example: { password: 'my dog is called rex' },
  answers: {
    200: { description: 'The same session, which is fresh now.', headers: ['Set-Cookie'], body: tokenAnswer },
  },
  problems: ['wrong_password', 'session_ended', 'too_many_attempts', 'overloaded', 'unavailable'],

  handler: (services: { reauthenticate: Reauthenticate; cookies: Cookies }) => async (req, res) => {
    const { password } = bodyOf(req, proof)
    const device = deviceOf(req, res, services.cookies)
    sendGrant(res, services.cookies, 200, await services.reauthenticate(accessOf(req), password, device))
  },
})
