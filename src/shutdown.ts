import type { Server } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from 'pino'

// The process ends then, even if requests are still in flight. It closes their connections earlier, so that the services
// have time to close.
const deadlineMs = 10_000
const closeConnectionsMs = deadlineMs - 3_000

/**
 * Shuts a server down without losing a request: `/readyz` turns 503, load balancers get time to notice, then the server
 * accepts no more connections and answers the requests in flight.
 * @param options.noticeSeconds how long load balancers get; `exit` ends the process when the last log lines are written
 */
export async function shutDown(options: {
  server: Server
  services: { drain(): void; close(): Promise<void> }
  log: Logger
  noticeSeconds: number
  signal: string
  exit: (code: number) => void
}): Promise<void> {
  const { server, services, log, noticeSeconds, signal, exit } = options
  const startedAt = performance.now()
  const seconds = () => Math.round(performance.now() - startedAt) / 1000
  setTimeout(() => {
    log.warn({ code: 0, seconds: seconds() }, 'stopped at the deadline, with requests still in flight')
    process.exit(0)
  }, deadlineMs)
  setTimeout(() => server.closeAllConnections(), closeConnectionsMs).unref()
  log.info({ signal }, `${signal} received`)
  services.drain()
  await delay(noticeSeconds * 1000)
  log.info('Draining. The server accepts no new connections and answers the requests in flight.')
  await drain(server)
  await services.close()
  log.info({ code: 0, seconds: seconds() }, 'stopped')
  exit(0)
}

/** Accepts no more connections, and waits until all requests in flight are answered. */
function drain(server: Server): Promise<void> {
  return new Promise((resolve) => {
    setInterval(() => server.closeIdleConnections(), 100).unref()
    server.close(() => resolve())
  })
}
