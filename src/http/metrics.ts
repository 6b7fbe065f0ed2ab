import type { IncomingMessage, RequestListener } from 'node:http'
import { isIP } from 'node:net'
import type { RequestHandler } from 'express'
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import type { RefreshOutcome } from '../auth/refresh.ts'
import type { KeysReport } from '../secrets/live-keys.ts'

// Node knows 35 methods. Without this list, a client could create a label for each of them on every route.
const methods = ['GET', 'HEAD', 'POST', 'DELETE', 'OPTIONS']

/** Measures for Prometheus. Each label has few values, and no client can invent one. */
export function createMetrics(sources: {
  passwords: () => Record<string, number>
  connections: () => Record<string, number>
  keys: () => KeysReport
  /** Returns undefined if it is not known. */
  outbox: () => Promise<{ count: number; oldestSeconds: number } | undefined>
  clock: () => number
}) {
  const registry = new Registry()
  const registers = [registry]
  const requests = new Histogram({
    name: 'http_request_duration_seconds',
    help: 'Duration of requests by method, route and status.',
    labelNames: ['method', 'route', 'status'],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5],
    registers,
  })
  const problems = new Counter({
    name: 'auth_problems_total',
    help: 'Problems answered, by code. too_many_attempts: refused by a limit.',
    labelNames: ['code'],
    registers,
  })
  const refreshes = new Counter({
    name: 'auth_refreshes_total',
    help: 'Refreshes by outcome: rotated, graced (the current token again), session_ended, refresh_token_reused.',
    labelNames: ['outcome'],
    registers,
  })
  gauge('auth_password_hashes', 'Passwords that are being hashed, or wait for it.', sources.passwords)
  gauge('db_connections', 'Connections of the pool, and requests that wait for one.', sources.connections)
  const mails = new Counter({
    name: 'mails_total',
    help: 'Mails sent, refused by the SMTP server, and expired; and attempts that are retried.',
    labelNames: ['result'],
    registers,
  })
  for (const result of ['sent', 'retried', 'refused', 'expired']) mails.inc({ result }, 0)
  new Gauge({
    name: 'outbox_waiting',
    help: 'Mails that wait to be sent, on all instances.',
    registers,
    async collect() {
      const waiting = await sources.outbox()
      if (waiting) this.set(waiting.count)
    },
  })
  new Gauge({
    name: 'outbox_oldest_seconds',
    help: 'Age of the oldest mail that waits.',
    registers,
    async collect() {
      const waiting = await sources.outbox()
      if (waiting) this.set(waiting.oldestSeconds)
    },
  })
  const { keys, clock } = sources
  new Gauge({
    name: 'auth_keys',
    help: 'Keys by kind of token and by state.',
    labelNames: ['token', 'state'],
    registers,
    collect() {
      this.reset()
      const { access, refresh } = keys()
      for (const [token, ring] of Object.entries({ access, refresh }))
        for (const { state } of ring) this.inc({ token, state })
    },
  })
  new Gauge({
    name: 'auth_key_age_seconds',
    help: 'Age of each key that signs or verifies, as its source or this server knows it.',
    labelNames: ['token', 'kid'],
    registers,
    collect() {
      this.reset()
      const { access, refresh } = keys()
      for (const [token, ring] of Object.entries({ access, refresh }))
        for (const { kid, state, since } of ring)
          if (state !== 'retired') this.set({ token, kid }, Math.max(0, clock() - since) / 1000)
    },
  })
  new Gauge({
    name: 'auth_keys_load_age_seconds',
    help: 'Time since the last load that could read all secrets.',
    registers,
    collect() {
      this.set(keys().loadAge)
    },
  })
  new Counter({
    name: 'auth_keys_load_failures_total',
    help: 'Loads in which a secret could not be read or was refused.',
    registers,
    collect() {
      this.reset()
      this.inc(keys().failures)
    },
  })

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
    const stop = requests.startTimer({ method: methods.includes(req.method) ? req.method : 'other' })
    res.once('finish', () => {
      stop({ route: req.route?.path ?? 'none', status: res.statusCode })
      if (res.locals.code) problems.inc({ code: res.locals.code })
    })
    next()
  }

  return {
    observe,
    mailed: (result: 'sent' | 'retried' | 'refused' | 'expired') => mails.inc({ result }),
    refreshed: (outcome: RefreshOutcome['kind']) => refreshes.inc({ outcome }),
    registry,
    keys,
  }
}

export type Metrics = ReturnType<typeof createMetrics>

/**
 * Answers on a port that clients cannot reach. `GET /metrics` has the metrics of the server and its process in Prometheus's
 * text format. `GET /keys` has the state of the keys, without secrets.
 * @param process `hosts`: the host names that requests may use. They may always use IP addresses and localhost.
 */
export function operatorListener(
  { registry, keys }: Metrics,
  { droppedLogLines, hosts }: { droppedLogLines: () => number; hosts: readonly string[] },
): RequestListener {
  collectDefaultMetrics({ register: registry })
  new Counter({
    name: 'log_lines_dropped_total',
    help: 'Log lines that could not be written to standard output.',
    registers: [registry],
    collect() {
      this.reset()
      this.inc(droppedLogLines())
    },
  })
  const names = ['localhost', ...hosts]
  return async (req, res) => {
    const answer = (status: number, type: string, body: string) =>
      res.writeHead(status, { 'Content-Type': type }).end(body)
    if (!isAskedByOneOf(names, req))
      return void answer(
        421,
        'text/plain',
        'This host name is not allowed here. Use an IP address, localhost, or a name in METRICS_HOSTS.\n',
      )
    if (req.method === 'GET' && req.url === '/metrics')
      return void answer(200, registry.contentType, await registry.metrics())
    if (req.method === 'GET' && req.url === '/keys')
      return void answer(200, 'application/json', JSON.stringify(keys()))
    res.writeHead(404).end()
  }
}

// By DNS rebinding, a page can point its own host name at this port and read the responses. It cannot do so with an IP
// address or with another name.
function isAskedByOneOf(names: readonly string[], { headersDistinct }: IncomingMessage): boolean {
  const [host = '', ...more] = headersDistinct.host ?? []
  const [, ipv6, name = ''] = /^(?:\[([\da-f:.]+)\]|([^:]+))(?::\d+)?$/i.exec(host) ?? []
  if (more.length > 0) return false
  return isIP(ipv6 ?? name) > 0 || names.includes(name.toLowerCase())
}
