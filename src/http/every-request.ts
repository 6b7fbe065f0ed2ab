import type { RequestHandler } from 'express'
import { AuthError } from '../errors.ts'

/** Keeps responses out of caches. Ignores conditional requests, so that no response becomes a 304. */
export const withoutCaching: RequestHandler = (req, res, next) => {
  delete req.headers['if-none-match']
  delete req.headers['if-modified-since']
  res.set('Cache-Control', 'no-store')
  res.vary('Origin')
  next()
}

/**
 * Refuses two Host headers: a proxy may have read the other one (RFC 9112, 3.2). Node refuses the other headers that
 * must not be there twice, or their readers do.
 */
export const refuseTwoHosts: RequestHandler = (req, _res, next) => {
  if ((req.headersDistinct.host?.length ?? 0) > 1)
    throw new AuthError('invalid_request', { errors: [{ path: '', message: 'must have one Host header' }] })
  next()
}

/** Tells clients to look for another server while this one drains. */
export function closeWhile(draining: () => boolean): RequestHandler {
  return (_req, res, next) => {
    if (draining()) res.set('Connection', 'close')
    next()
  }
}
