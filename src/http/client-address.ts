import type { RequestHandler } from 'express'
import { plainAddress } from '../network.ts'

declare global {
  namespace Express {
    interface Request {
      /** The client's address in its plain form. */
      address?: string | undefined
    }
  }
}

/**
 * Reads the client's address when the request begins. A socket loses it when the client resets the connection, and the
 * request would not be charged to its client.
 *
 * Express trusts what TRUST_PROXY says. If a proxy wrote no address (`unknown`), the nearest one before it counts.
 */
export const readAddress: RequestHandler = (req, _res, next) => {
  const farthestFirst = [...req.ips, req.socket.remoteAddress]
  req.address = farthestFirst.map(plainAddress).find((address) => address !== undefined)
  next()
}

/** Warns once if requests come through a proxy that the server does not know. To the limits, all clients behind it are one. */
export function warnOfUnknownProxy(): RequestHandler {
  let warned = false
  return ({ headers, log }, _res, next) => {
    const forwarded = headers['x-forwarded-for'] ?? headers.forwarded
    if (forwarded !== undefined && !warned) {
      warned = true
      log.warn(
        { event: 'unknown_proxy' },
        'A request came through a proxy, and TRUST_PROXY is not set. So the limits see one client instead of many. Set TRUST_PROXY to the number of proxies. If a client wrote the header, make the proxy drop it.',
      )
    }
    next()
  }
}
