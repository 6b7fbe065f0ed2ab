import type { RequestHandler } from 'express'
import type { KeysStatus } from '../secrets/live-keys.ts'
import { singleFlight } from '../single-flight.ts'
import type { ClockStatus } from '../store/clock.ts'
import type { DatabaseState } from '../store/database.ts'

/**
 * Readiness: whether this instance can serve. Keys that could not be renewed are told of, and serve on. A server whose
 * clock is off does not serve: it would refuse tokens that others have issued.
 */
export function readiness(checks: {
  database: () => Promise<DatabaseState>
  clock: () => Promise<ClockStatus>
  keys: () => KeysStatus
  draining: () => boolean
}): RequestHandler {
  // Anybody may ask, and as often as they like: at any time one question to the database is enough.
  const askDatabase = singleFlight(async () => {
    const database = await checks.database()
    // One question to a read-only database is enough: it closes its connection, another would stay with the old server.
    return { database, clock: database === 'ok' ? await checks.clock() : 'ok' }
  })

  return async (_req, res) => {
    const { database, clock } = await askDatabase()
    const keys = checks.keys()
    const ready = database === 'ok' && clock === 'ok' && keys !== 'stale' && !checks.draining()
    if (!ready) res.set('Retry-After', '1')
    res.status(ready ? 200 : 503).json({
      status: ready ? 'ok' : 'unavailable',
      checks: { database, clock, keys },
    })
  }
}
