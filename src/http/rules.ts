import type { RequestHandler } from 'express'
import { AuthError } from '../auth/errors.ts'

/** Answers are for one client, now. Conditional requests are not looked at, so that no answer ever becomes a 304. */
export const withoutCaching: RequestHandler = (req, res, next) => {
  delete req.headers['if-none-match']
  delete req.headers['if-modified-since']
  res.set('Cache-Control', 'no-store')
  res.vary('Origin')
  next()
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
