import type { RequestListener } from 'node:http'
import type { Socket } from 'node:net'
import type { Express, RequestHandler } from 'express'
import { AuthError } from '../errors.ts'

/** Answers are for one client, now. Conditional requests are not looked at, so that no answer ever becomes a 304. */
export const withoutCaching: RequestHandler = (req, res, next) => {
  delete req.headers['if-none-match']
  delete req.headers['if-modified-since']
  res.set('Cache-Control', 'no-store')
  res.vary('Origin')
  next()
}

/**
 * Refuses two Host headers, of which a proxy may have believed the other one (RFC 9112, 3.2). Of other doubles that
 * matter Node takes care, or those who read them.
 */
export const refuseTwoHosts: RequestHandler = (req, _res, next) => {
  if ((req.headersDistinct.host?.length ?? 0) > 1)
    throw new AuthError('invalid_request', { errors: [{ path: '', message: 'must have one Host header' }] })
  next()
}

/** Warns once of a proxy that the server does not know of: to the limits, all clients behind it are one. */
export function warnOfUnknownProxy(): RequestHandler {
  let warned = false
  return ({ headers, log }, _res, next) => {
    const forwarded = headers['x-forwarded-for'] ?? headers.forwarded
    if (forwarded !== undefined && !warned) {
      warned = true
      log.warn(
        { event: 'unknown_proxy' },
        'A request came through a proxy, and TRUST_PROXY is not set: the limits see one client instead of many. Set TRUST_PROXY to the number of proxies; or have the proxy drop this header if it is a client that wrote it.',
      )
    }
    next()
  }
}

/** While the server drains, lets clients look for another instance. */
export function closeWhile(draining: () => boolean): RequestHandler {
  return (_req, res, next) => {
    if (draining()) res.set('Connection', 'close')
    next()
  }
}

const atOncePerConnection = 8

/**
 * Cuts connections that send many requests before the answers to the first have been written (RFC 9112, 9.3.2). Node
 * would begin all of them at once, thousands in one packet, and nobody else would be served meanwhile.
 */
export function withBoundedPipelining(listener: RequestListener): RequestListener {
  const requests = new WeakMap<Socket, number>()
  return (req, res) => {
    const { socket } = req
    const count = (requests.get(socket) ?? 0) + 1
    if (count > atOncePerConnection) return void socket.destroy()
    requests.set(socket, count)
    res.once('close', () => requests.set(socket, (requests.get(socket) ?? 1) - 1))
    listener(req, res)
  }
}

/**
 * Cuts connections whose client has not taken an answer within so many milliseconds of its request, and those with an
 * answer on which nothing moves for the time-out of the server.
 */
export function withTimeToRead(listener: RequestListener, milliseconds: number): RequestListener {
  return (req, res) => {
    const timer = setTimeout(() => req.socket.destroy(), milliseconds).unref()
    res.once('close', () => clearTimeout(timer))
    // Node would also cut clients off that wait for an answer to begin: behind many others in the queue for hashes.
    res.on('timeout', (socket: Socket) => {
      if (socket.writableLength > 0) socket.destroy()
    })
    listener(req, res)
  }
}

/** A target that cannot be parsed is one that no route has. Express would answer it by itself, in HTML. */
export function withParsableTarget(app: Express): RequestListener {
  return (req, res) => {
    const { url = '' } = req
    if (!url.startsWith('/') && !URL.canParse(url)) req.url = '/*'
    app(req, res)
  }
}

/** Refuses the methods that a path does not have; but answers a preflight, which CORS has already judged. */
export function methodNotAllowed(methods: readonly string[]): RequestHandler {
  const allow = methods.map((method) => (method === 'get' ? 'GET, HEAD' : method.toUpperCase())).join(', ')
  return (req, res) => {
    const preflight = req.method === 'OPTIONS' && req.headers['access-control-request-method'] !== undefined
    if (preflight && res.hasHeader('Access-Control-Allow-Origin')) return void res.status(204).end()
    res.set('Allow', allow)
    throw new AuthError('method_not_allowed')
  }
}
