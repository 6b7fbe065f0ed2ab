import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setFlagsFromString } from 'node:v8'
import { pino } from 'pino'
import { compose } from './compose.ts'
import { ConfigError, loadConfig, takeEnvironment } from './config.ts'

const drainSeconds = 10
const exitConfig = 78 // EX_CONFIG of sysexits.h

// What the embedded database writes is for this user only.
process.umask(0o077)

try {
  await start()
} catch (error) {
  const problems = error instanceof ConfigError ? error.problems : [(error as Error).message]
  process.stderr.write(`${problems.join('\n')}\n`)
  process.exit(error instanceof ConfigError ? exitConfig : 1)
}

async function start(): Promise<void> {
  let stop = async () => process.exit(0)
  process.on('SIGTERM', () => stop())
  process.on('SIGINT', () => stop())

  const config = await loadConfig(takeEnvironment())
  const log = pino({ level: config.logLevel })
  const services = await compose(config, log)
  const server = createServer()
  const port = await listen(server, config.http.host, config.http.port)
  // In the same turn as the port is bound, so that no request can come before there is somebody to answer it.
  server.on('request', services.app(config.http.publicUrl ?? `http://localhost:${port}`))
  // A level of its own, so that this line is there whatever LOG_LEVEL is.
  log.child({}, { level: 'info' }).info({ url: localUrl(config.http.host, port) }, 'listening')

  // On a machine with much memory V8 lets garbage pile up to several times of what is in use. Not before now, as the
  // start would take longer by it.
  setFlagsFromString('--optimize-for-size')

  process.on('SIGHUP', services.reloadKeys)
  let stopping: Promise<never> | undefined
  stop = () => {
    stopping ??= drainAndExit()
    return stopping
  }
  async function drainAndExit(): Promise<never> {
    services.drain()
    await drain(server)
    await services.close()
    process.exit(0)
  }
}

function listen(server: Server, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(
        new Error(
          error.code === 'EADDRINUSE'
            ? `PORT ${port} is taken: stop what listens there, or set PORT to another`
            : `HOST ${host}, PORT ${port} cannot be listened on (${error.code}): mend HOST or PORT`,
        ),
      ),
    )
    server.listen(port, host, () => resolve((server.address() as AddressInfo).port))
  })
}

/** How to reach the server from this machine. */
function localUrl(host: string, port: number): string {
  const local = ['127.0.0.1', '0.0.0.0', '::', '::1', 'localhost'].includes(host)
  return `http://${local ? 'localhost' : host.includes(':') ? `[${host}]` : host}:${port}`
}

// Takes no new connections, waits for the requests in flight, and cuts what is left at the deadline.
function drain(server: Server): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(() => server.closeAllConnections(), drainSeconds * 1000).unref()
    server.close(() => resolve())
  })
}
