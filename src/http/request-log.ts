import { randomUUID } from 'node:crypto'
import type { RequestHandler } from 'express'
import type { Logger } from 'pino'
import { pinoHttp } from 'pino-http'

/**
 * One line a request, and an id in it and in `X-Request-Id`. Of headers, queries and bodies the log has nothing: that
 * is where passwords, tokens and personal data are.
 */
export function requestLog(logger: Logger): RequestHandler {
  return pinoHttp({
    logger,
    genReqId(_req, res) {
      const id = randomUUID()
      res.setHeader('X-Request-Id', id)
      return id
    },
    quietReqLogger: true,
    customAttributeKeys: { reqId: 'requestId' },
    customLogLevel: (_req, res, error) => (error || res.statusCode >= 500 ? 'error' : 'info'),
    serializers: {
      req: ({ method, url }) => ({ method, path: url.replace(/^\w+:\/\/[^/]*/, '').split(/[?#]/)[0] }),
      res: ({ statusCode }) => ({ statusCode }),
      err: errorInBrief,
    },
  })
}

/** An error without the members that drivers add to theirs: those may have personal data in them. */
export const errorInBrief = ({ name, type, message, stack }: Error & { type?: string }) => ({
  type: type ?? name,
  message,
  stack,
})
