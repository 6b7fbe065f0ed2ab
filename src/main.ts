import { closeSync, openSync, readFileSync } from 'node:fs'
import { createServer, type Server, type ServerOptions } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { isatty } from 'node:tty'
import { setFlagsFromString } from 'node:v8'
import { pino } from 'pino'
import { compose } from './compose.ts'
import { loadConfig } from './config/config.ts'
import { ConfigError, exitConfig } from './config/config-error.ts'
import { takeEnvironment } from './config/environment.ts'
import { banner, forPeople } from './dev-output.ts'
import { features } from './features.ts'
import { withTimeToRead } from './http/connections.ts'
import { operatorListener } from './http/metrics.ts'
import { errorInBrief } from './http/request-log.ts'
import { openOutput } from './output.ts'
import { DatabaseUrlError } from './store/database-url.ts'

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
const drainSeconds = 10
const maxConnections = 10_000

// Slow senders are cut off, and idle connections are kept for longer than proxies keep them (60 s as a rule): whoever
// closes first must not be the one who is not sending.
const patience: ServerOptions = {
  headersTimeout: 10_000,
  requestTimeout: 20_000,
  keepAliveTimeout: 75_000,
  connectionsCheckingInterval: 1_000,
}

// Slow readers are cut off too. Node closes a connection on which nothing moves after once or twice `stallMs`. An answer
// has to be taken within `readingMs`, however slowly: that is 40 kbit/s for the largest one.
const stallMs = 20_000
const readingMs = 300_000

const notes = openOutput(2)
const output = openOutput(1, (reason) =>
  notes.write(`The log cannot be written (${reason}). The server goes on and drops log lines.\n`),
)

// Node resets its terminals when it ends, and aborts if one of them has been closed.
const terminals = [0, 1, 2].filter(isatty)
process.on('exit', () => {
  for (const fd of terminals)
    if (!isatty(fd)) {
      closeSync(fd)
      openSync('/dev/null', 'r+')
    }
})

// What the embedded database writes is for this user only.
process.umask(0o077)

try {
  await start()
} catch (error) {
  const problems = error instanceof ConfigError ? error.problems : [(error as Error).message]
  notes.write(`${problems.join('\n')}\n`)
  const isSetting = error instanceof ConfigError || error instanceof DatabaseUrlError
  exit(isSetting ? exitConfig : 1)
}

// Ends the process when the last lines are written, or after a second if their reader does not read.
function exit(code: number): void {
  setTimeout(() => process.exit(code), 1000)
  output.flush(() => notes.flush(() => process.exit(code)))
}

async function start(): Promise<void> {
  let stop = async (_signal: string) => exit(0)
  let reload = async () => {}
  process.on('SIGTERM', (signal) => stop(signal))
  process.on('SIGINT', (signal) => stop(signal))
  // A closed terminal sends SIGHUP too: to a server that was started in it.
  process.on('SIGHUP', (signal) => (terminals.length > 0 ? stop(signal) : reload()))
  // Node would open its inspector, which shows every secret to whoever reaches it.
  process.on('SIGUSR1', () => {})

  const config = await loadConfig(takeEnvironment(), { features })
  const log = pino(
    { level: config.logLevel, serializers: { err: errorInBrief } },
    config.development ? await forPeople(output) : output,
  )
  // Hears of rejected promises too. It ends the process, whatever becomes of the line.
  process.on('uncaughtException', (error) => {
    try {
      log.fatal({ err: error }, 'unexpected error: the process ends')
      if (output.dropped() > 0) notes.write(`${error.stack}\n`)
    } finally {
      exit(1)
    }
  })
  const services = await compose(config, log)
  const { host } = config.http
  if (config.http.metricsPort !== undefined) await serveMetrics(config.http.metricsPort)
  const server = createPatientServer()
  const port = await listen(server, host, config.http.port, 'PORT')
  // In the same turn as the port is bound, so that no request can come before there is somebody to answer it.
  const origin = config.http.publicUrl ?? `http://localhost:${port}`
  server.on('request', withTimeToRead(services.app(origin), readingMs))
  const url = localUrl(host, port)
  // Programs wait for this line: it is JSON in development too, and at every LOG_LEVEL.
  pino({}, output).info(
    {
      url,
      origin,
      version,
      database: config.database.url() === undefined ? 'embedded' : 'PostgreSQL',
      algorithm: config.keys.accessAlgorithm,
    },
    'listening',
  )
  const pages = features.flatMap(({ isOn, page }) => (page && isOn(config) ? [page] : []))
  if (config.development) output.write(banner(url, pages))

  // On a machine with much memory V8 lets garbage pile up to several times of what is in use. Not before now, as the
  // start would take longer by it.
  setFlagsFromString('--optimize-for-size')

  reload = services.reloadKeys
  let stopping: Promise<void> | undefined
  stop = (signal) => {
    stopping ??= drainAndExit(signal)
    return stopping
  }
  async function drainAndExit(signal: string): Promise<void> {
    const startedAt = performance.now()
    const seconds = () => Math.round(performance.now() - startedAt) / 1000
    setTimeout(() => {
      log.warn({ code: 0, seconds: seconds() }, 'stopped at the deadline, with requests still in flight')
      process.exit(0)
    }, drainSeconds * 1000)
    setTimeout(() => server.closeAllConnections(), (drainSeconds - 3) * 1000).unref()
    log.info({ signal }, `${signal} received`)
    services.drain()
    await delay(config.drainNoticeSeconds * 1000)
    log.info('draining: no new connections; requests in flight are answered')
    await drain(server)
    await services.close()
    log.info({ code: 0, seconds: seconds() }, 'stopped')
    exit(0)
  }

  async function serveMetrics(wanted: number): Promise<void> {
    const metricsServer = createPatientServer()
    metricsServer.on(
      'request',
      operatorListener(services.metrics, {
        droppedLogLines: output.dropped,
        hosts: [host, ...config.http.metricsHosts],
      }),
    )
    const bound = await listen(metricsServer, host, wanted, 'METRICS_PORT')
    log.info({ url: `${localUrl(host, bound)}/metrics` }, 'serving metrics')
  }
}

function createPatientServer(): Server {
  const server = createServer(patience)
  server.timeout = stallMs
  server.maxConnections = maxConnections
  // All of them, as many as fit into 16 KiB: of those that Node would drop, one may be what a proxy has added.
  server.maxHeadersCount = 0
  // Node keeps an address once it was read. Later is too late if the client resets the connection with its request.
  server.on('connection', (socket) => void socket.remoteAddress)
  return server
}

function listen(server: Server, host: string, port: number, setting: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(new Error(listenProblem(error.code, host, port, setting))),
    )
    server.listen(port, host, () => resolve((server.address() as AddressInfo).port))
  })
}

function listenProblem(code: string | undefined, host: string, port: number, setting: string): string {
  if (code === 'EADDRINUSE')
    return `${setting} ${port} is taken: stop what listens there, or set ${setting} to another`
  const address = `${host.includes(':') ? `[${host}]` : host}:${port}`
  const permit = code === 'EACCES' ? ', or allow this user to use the port' : ''
  return `Cannot listen on ${address} (${code}). Change HOST or ${setting}${permit}.`
}

/** How to reach the server from this machine. */
function localUrl(host: string, port: number): string {
  const local = ['127.0.0.1', '0.0.0.0', '::', '::1', 'localhost'].includes(host)
  return `http://${local ? 'localhost' : host.includes(':') ? `[${host}]` : host}:${port}`
}

// Takes no new connections, and waits for the requests in flight.
function drain(server: Server): Promise<void> {
  return new Promise((resolve) => {
    setInterval(() => server.closeIdleConnections(), 100).unref()
    server.close(() => resolve())
  })
}
