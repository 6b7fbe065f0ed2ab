import { accessToken, liveSession, userOf } from '../http/bearer.ts'
import { publicUser, userAnswer } from '../http/grant.ts'
import { route } from '../http/route.ts'

/** Answers with the user of a live session, as the database has it now. */
export const me = route({
  method: 'get',
  path: '/users/me',
  checks: [accessToken, liveSession],
  name: 'me',
  group: 'Account',
  summary: 'Get the user',
  answers: { 200: { description: 'The user.', body: userAnswer } },

  handler: () => (req, res) => {
    res.json(publicUser(userOf(req)))
  },
})
