import { randomUUID } from 'node:crypto'
import type { Request, RequestHandler, Response } from 'express'
import type { Logger } from 'pino'
import { pinoHttp } from 'pino-http'

/**
 * One line a request, with an id that is in `X-Request-Id` too, the `code` of a problem, and the user of a verified
 * token. Of headers, queries and bodies the log has nothing: that is where passwords, tokens and personal data are.
 */
export function requestLog(logger: Logger, { draining }: { draining: () => boolean }): RequestHandler {
  const details = (req: Request, { locals }: Response) => ({
    code: locals.code,
    userId: (req.access ?? req.refreshClaims)?.userId,
  })
  return pinoHttp<Request, Response>({
    logger,
    genReqId(_req, res) {
      const id = randomUUID()
      res.setHeader('X-Request-Id', id)
      return id
    },
    quietReqLogger: true,
    customAttributeKeys: { reqId: 'requestId' },
    // Clients are at fault for 4xx. A server that drains answers 503 as it should. What waits for a database or is too
    // busy needs a look, and only an unexpected error is an error.
    customLogLevel(_req, { statusCode }, error) {
      if (error || statusCode === 500) return 'error'
      return statusCode > 500 && !draining() ? 'warn' : 'info'
    },
    customSuccessObject: (req, res, line) => ({ ...line, ...details(req, res) }),
    // pino-http makes up an error for every answer from 500 up. One that was thrown has a line of its own.
    customErrorObject: (req, res, error, { err: _err, ...line }) => ({
      ...line,
      ...(res.err && { err: error }),
      ...details(req, res),
    }),
    customErrorMessage: (_req, res) => (res.writableFinished ? 'request completed' : 'request aborted'),
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
