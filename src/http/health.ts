import type { RequestHandler } from 'express'
import type { KeysStatus } from '../secrets/keys.ts'
import type { DatabaseState } from '../store/database.ts'

/** Readiness: whether this instance can serve. Keys that could not be renewed are told of, and serve on. */
export function readiness(checks: {
  database: () => Promise<DatabaseState>
  keys: () => KeysStatus
  draining: () => boolean
}): RequestHandler {
  // Anybody may ask, and as often as they like: at any time one question to the database is enough.
  let checking: Promise<DatabaseState> | undefined
  const database = () => {
    checking ??= checks.database().finally(() => {
      checking = undefined
    })
    return checking
  }

  return async (_req, res) => {
    const databaseState = await database()
    const keys = checks.keys()
    const ready = databaseState === 'ok' && keys !== 'stale' && !checks.draining()
    if (!ready) res.set('Retry-After', '1')
    res.status(ready ? 200 : 503).json({
      status: ready ? 'ok' : 'unavailable',
      checks: { database: databaseState, keys },
    })
  }
}
