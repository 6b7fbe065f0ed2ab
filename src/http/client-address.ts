import type { RequestHandler } from 'express'
import { plainAddress } from '../network.ts'

declare global {
  namespace Express {
    interface Request {
      /** The IP address of the client in its plain form. */
      address?: string | undefined
    }
  }
}

/**
 * Reads the IP address of the client when the request begins. A socket loses its address when the client resets the
 * connection. Then no limit could count the request.
 *
 * Express trusts the proxies in TRUST_PROXY. If a proxy wrote no address (`unknown`), the nearest address before it counts.
 */
export const readAddress: RequestHandler = (req, _res, next) => {
  const farthestFirst = [...req.ips, req.socket.remoteAddress]
  req.address = farthestFirst.map(plainAddress).find((address) => address !== undefined)
  next()
}

/**
 * Warns once if requests come through a proxy that the server does not know. The limits then treat all clients behind
 * this proxy as one client.
 */
export function warnOfUnknownProxy(): RequestHandler {
  let warned = false
  return ({ headers, log }, _res, next) => {
    const forwarded = headers['x-forwarded-for'] ?? headers.forwarded
    if (forwarded !== undefined && !warned) {
      warned = true
      log.warn(
        { event: 'unknown_proxy' },
        'A request came through a proxy, and TRUST_PROXY is not set. So the limits see one client instead of many. Set TRUST_PROXY to the number of proxies. If there is no proxy, a client wrote X-Forwarded-For or Forwarded itself, and you can ignore this.',
      )
    }
    next()
  }
}
