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
