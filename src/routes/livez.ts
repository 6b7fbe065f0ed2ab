import { z } from 'zod'
import { route } from '../http/route.ts'

const liveness = z.object({ status: z.literal('ok') }).meta({ id: 'Liveness' })

/** Says that the process is running, whatever the state of its database. */
export const livez = route({
  method: 'get',
  path: '/livez',
  checks: [],
  name: 'livez',
  group: 'Server',
  summary: 'Check whether the server runs',
  answers: { 200: { description: 'The process is running.', body: liveness } },

  handler: () => (_req, res) => {
    res.json({ status: 'ok' })
  },
})
