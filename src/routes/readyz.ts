import { z } from 'zod'
import { route } from '../http/route.ts'
import type { KeysStatus } from '../secrets/live-keys.ts'
import { singleFlight } from '../single-flight.ts'
import type { ClockStatus } from '../store/clock.ts'
import type { DatabaseState } from '../store/database.ts'

const readiness = z
  .object({
    status: z.enum(['ok', 'unavailable']),
    checks: z.object({
      database: z.enum(['ok', 'unreachable', 'read_only']),
      clock: z.enum(['ok', 'skewed']),
      keys: z.enum(['ok', 'refused', 'unreachable', 'stale']),
    }),
  })
  .meta({ id: 'Readiness' })

/** What readiness depends on. */
export interface ReadinessChecks {
  database: () => Promise<DatabaseState>
  clock: () => Promise<ClockStatus>
  keys: () => KeysStatus
  draining: () => boolean
}

/**
 * Says whether this server can serve requests. If keys could not be reloaded, it reports that, and can still
 * serve. A server whose clock is wrong cannot serve, because it would refuse the tokens of other servers.
 */
export const readyz = route({
  method: 'get',
  path: '/readyz',
  checks: [],
  name: 'readyz',
  group: 'Server',
  summary: 'Check whether the server can serve requests',
  answers: {
    200: { description: 'The server can serve requests.', body: readiness },
    503: { description: 'The server cannot serve requests.', headers: ['Retry-After'], body: readiness },
  },

  handler: ({ ready: checks }: { ready: ReadinessChecks }) => {
    // Anybody may ask, as often as they like. So there is at most one query to the database at any time.
    const askDatabase = singleFlight(async () => {
      const database = await checks.database()
      // The first query to a read-only database also closes its connection, so that the next one reaches the new
      // primary. A second query now would keep a connection to the old one.
      return { database, clock: database === 'ok' ? await checks.clock() : ('ok' as const) }
    })

    return async (_req, res) => {
      const { database, clock } = await askDatabase()
      const keys = checks.keys()
      const ready = database === 'ok' && clock === 'ok' && keys !== 'stale' && !checks.draining()
      if (!ready) res.set('Retry-After', '1')
      res
        .status(ready ? 200 : 503)
        .json({ status: ready ? 'ok' : 'unavailable', checks: { database, clock, keys } })
    }
  },
})
