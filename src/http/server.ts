import http, { type Server, type ServerOptions } from 'node:http'
import type { AddressInfo } from 'node:net'
import { codeOf } from '../errors.ts'

const maxConnections = 10_000

// Cut off slow senders. Keep idle connections open longer than proxies do, usually 60 s. Otherwise the server may close
// one just as the proxy reuses it.
const timeouts: ServerOptions = {
  headersTimeout: 10_000,
  requestTimeout: 20_000,
  keepAliveTimeout: 75_000,
  connectionsCheckingInterval: 1_000,
}

// Cut off slow readers too. Node closes a connection when nothing moves on it for one to two times this long.
const stallMs = 20_000

/** Creates a server that cuts off clients which send or read too slowly. */
export function createServer(): Server {
  const server = http.createServer(timeouts)
  server.timeout = stallMs
  server.maxConnections = maxConnections
  // Read all headers that fit into 16 KiB. By default Node silently drops headers above a certain number. A dropped
  // header may be one that a proxy added.
  server.maxHeadersCount = 0
  // Node keeps the address of a connection once it is read. Read it now, before the client can reset the connection.
  server.on('connection', (socket) => void socket.remoteAddress)
  return server
}

/**
 * Listens, on any free port if `port` is 0.
 * @param setting the variable that `port` comes from
 * @returns the port
 * @throws Error that says which settings to change
 */
export function listen(server: Server, host: string, port: number, setting: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) => reject(new Error(listenProblem(codeOf(error), host, port, setting))))
    server.listen(port, host, () => resolve((server.address() as AddressInfo).port))
  })
}

function listenProblem(code: string | undefined, host: string, port: number, setting: string): string {
  if (code === 'EADDRINUSE')
    return `Port ${port} is taken. Stop the process that listens on it, or change ${setting}.`
  const permit = code === 'EACCES' ? ', or allow this user to use the port' : ''
  return `Cannot listen on ${bracketed(host)}:${port} (${code}). Change HOST or ${setting}${permit}.`
}

/** Returns the URL of the server for clients on this machine. */
export function localUrl(host: string, port: number): string {
  const isLocal = ['127.0.0.1', '0.0.0.0', '::', '::1', 'localhost'].includes(host)
  return `http://${isLocal ? 'localhost' : bracketed(host)}:${port}`
}

const bracketed = (host: string) => (host.includes(':') ? `[${host}]` : host)
