// The process: loads the settings, composes the services, listens, serves, drains on SIGTERM or SIGINT, and exits.
import { closeSync, openSync, readFileSync } from 'node:fs'
import type { Server } from 'node:http'
import { isatty } from 'node:tty'
import { setFlagsFromString } from 'node:v8'
import { type Logger, pino } from 'pino'
import { compose } from './compose.ts'
import { type Config, loadConfig } from './config/config.ts'
import { ConfigError, exitConfig } from './config/config-error.ts'
import { takeEnvironment } from './config/environment.ts'
import { banner, forPeople } from './dev-output.ts'
import { features } from './features.ts'
import { withTimeToRead } from './http/connections.ts'
import { operatorListener } from './http/metrics.ts'
import { errorInBrief } from './http/request-log.ts'
import { createServer, listen, localUrl } from './http/server.ts'
import { openOutput } from './output.ts'
import { shutDown } from './shutdown.ts'
import { DatabaseUrlError } from './store/database-url.ts'

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))

// A client has this long to read a response. The largest one needs 40 kbit/s.
const readingMs = 300_000

type Services = Awaited<ReturnType<typeof compose>>
interface Serving {
  kind: 'serving'
  server: Server
  services: Services
  log: Logger
  noticeSeconds: number
}
type State = { kind: 'starting' } | Serving | { kind: 'draining' }

const stderr = openOutput(2)
const stdout = openOutput(1, (reason) =>
  stderr.write(`The log cannot be written (${reason}). The server continues and drops log lines.\n`),
)
const terminals = [0, 1, 2].filter(isatty)

let state: State = { kind: 'starting' }
// The embedded database's files are for this user only.
process.umask(0o077)
handleSignals()
process.on('exit', replaceClosedTerminals)
try {
  state = await start()
} catch (error) {
  const problems = error instanceof ConfigError ? error.problems : [(error as Error).message]
  stderr.write(`${problems.join('\n')}\n`)
  const isSetting = error instanceof ConfigError || error instanceof DatabaseUrlError
  exit(isSetting ? exitConfig : 1)
}

async function start(): Promise<Serving> {
  const config = await loadConfig(takeEnvironment(features), { features })
  const log = await openLog(config)
  exitOnUnexpectedErrors(log)
  const services = await compose(config, log)
  await serveMetrics(config, services, log)
  const server = createServer()
  const port = await listen(server, config.http.host, config.http.port, 'PORT')
  // Do not wait between `listen` and here. Otherwise a request can come before there is a listener for it.
  const origin = config.http.publicUrl ?? `http://localhost:${port}`
  server.on('request', withTimeToRead(services.app(origin), readingMs))
  announce(config, localUrl(config.http.host, port), origin)
  // On a machine with much memory, V8 otherwise keeps garbage of several times the memory in use. Set it only now,
  // because it slows the start down.
  setFlagsFromString('--optimize-for-size')
  return { kind: 'serving', server, services, log, noticeSeconds: config.drainNoticeSeconds }
}

async function openLog({ logLevel, development }: Config): Promise<Logger> {
  const options = { level: logLevel, serializers: { err: errorInBrief } }
  return pino(options, development ? await forPeople(stdout) : stdout)
}

// Node reports unhandled rejections of promises here too.
function exitOnUnexpectedErrors(log: Logger): void {
  process.on('uncaughtException', (error) => {
    try {
      log.fatal({ err: error }, 'Unexpected error. The process ends.')
      if (stdout.dropped() > 0) stderr.write(`${error.stack}\n`)
    } finally {
      exit(1)
    }
  })
}

async function serveMetrics({ http }: Config, { metrics }: Services, log: Logger): Promise<void> {
  if (http.metricsPort === undefined) return
  const server = createServer()
  const hosts = [http.host, ...http.metricsHosts]
  server.on('request', operatorListener(metrics, { droppedLogLines: stdout.dropped, hosts }))
  const port = await listen(server, http.host, http.metricsPort, 'METRICS_PORT')
  log.info({ url: `${localUrl(http.host, port)}/metrics` }, 'serving metrics')
}

// Programs wait for this line. It is JSON in development too, and appears at every LOG_LEVEL.
function announce(config: Config, url: string, origin: string): void {
  const facts = {
    database: config.database.url() === undefined ? 'embedded' : 'PostgreSQL',
    algorithm: config.keys.accessAlgorithm,
  }
  pino({}, stdout).info({ url, origin, version, ...facts }, 'listening')
  const pages = features.flatMap(({ isOn, page }) => (page && isOn(config) ? [page] : []))
  if (config.development) stdout.write(banner(url, pages))
}

function handleSignals(): void {
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)
  // SIGHUP reloads the keys. A terminal that closes sends it too, to a server that was started in it.
  process.on('SIGHUP', (signal) => (terminals.length > 0 ? stop(signal) : reloadKeys()))
  // Otherwise Node opens its inspector, which shows every secret to everyone who can connect to it.
  process.on('SIGUSR1', () => {})
}

function reloadKeys(): void {
  if (state.kind === 'serving') state.services.reloadKeys()
}

function stop(signal: string): void {
  if (state.kind === 'starting') exit(0)
  if (state.kind !== 'serving') return
  const serving = state
  state = { kind: 'draining' }
  shutDown({ ...serving, signal, exit })
}

// Exits when the last lines are written, or after a second if their reader does not read.
function exit(code: number): void {
  setTimeout(() => process.exit(code), 1000)
  stdout.flush(() => stderr.flush(() => process.exit(code)))
}

// Node resets its terminals when it exits, and aborts if one of them is closed.
function replaceClosedTerminals(): void {
  for (const fd of terminals)
    if (!isatty(fd)) {
      closeSync(fd)
      openSync('/dev/null', 'r+')
    }
}
