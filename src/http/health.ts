import type { RequestHandler } from 'express'
import type { KeysStatus } from '../secrets/keys.ts'

/** Readiness: whether this instance can serve. Keys that could not be renewed are told of, and serve on. */
export function readiness(checks: {
  database: () => Promise<boolean>
  keys: () => KeysStatus
  draining: () => boolean
}): RequestHandler {
  return async (_req, res) => {
    const reachable = await checks.database()
    const keys = checks.keys()
    const ready = reachable && keys !== 'stale' && !checks.draining()
    if (!ready) res.set('Retry-After', '1')
    res.status(ready ? 200 : 503).json({
      status: ready ? 'ok' : 'unavailable',
      checks: { database: reachable ? 'ok' : 'unreachable', keys },
    })
  }
}
