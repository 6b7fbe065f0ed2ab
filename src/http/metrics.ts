import type { RequestListener } from 'node:http'
import type { RequestHandler } from 'express'
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import type { RefreshOutcome } from '../auth/refresh.ts'

/** What is measured, for Prometheus. Labels have few values each, and none that a client makes up. */
export function createMetrics(sources: {
  passwords: () => Record<string, number>
  connections: () => Record<string, number>
}) {
  const registry = new Registry()
  const registers = [registry]
  const requests = new Histogram({
    name: 'http_request_duration_seconds',
    help: 'Requests by method, route and status, and how long they took.',
    labelNames: ['method', 'route', 'status'],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5],
    registers,
  })
  const problems = new Counter({
    name: 'auth_problems_total',
    help: 'Answers that were problems, by code; too_many_attempts: throttled.',
    labelNames: ['code'],
    registers,
  })
  const refreshes = new Counter({
    name: 'auth_refreshes_total',
    help: 'Refreshes by outcome: rotated, graced (the same successor again), session_ended, refresh_token_reused.',
    labelNames: ['outcome'],
    registers,
  })
  gauge('auth_password_hashes', 'Passwords being hashed, and waiting for it.', sources.passwords)
  gauge('db_connections', 'Connections of the pool, and requests waiting for one.', sources.connections)

  function gauge(name: string, help: string, read: () => Record<string, number>) {
    new Gauge({
      name,
      help,
      labelNames: ['state'],
      registers,
      collect() {
        for (const [state, value] of Object.entries(read())) this.set({ state }, value)
      },
    })
  }

  const observe: RequestHandler = (req, res, next) => {
    const stop = requests.startTimer({ method: req.method })
    res.once('finish', () => {
      stop({ route: req.route?.path ?? 'none', status: res.statusCode })
      if (res.locals.code) problems.inc({ code: res.locals.code })
    })
    next()
  }

  return {
    observe,
    refreshed: (outcome: RefreshOutcome['kind']) => refreshes.inc({ outcome }),
    registry,
  }
}

export type Metrics = ReturnType<typeof createMetrics>

/** `GET /metrics` in Prometheus's text format, with those of the process; for a port that clients cannot reach. */
export function metricsListener({ registry }: Metrics): RequestListener {
  collectDefaultMetrics({ register: registry })
  return async (req, res) => {
    if (req.url !== '/metrics' || req.method !== 'GET') return void res.writeHead(404).end()
    res.writeHead(200, { 'Content-Type': registry.contentType }).end(await registry.metrics())
  }
}
