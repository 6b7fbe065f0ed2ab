import { randomUUID } from 'node:crypto'
import type { Request, RequestHandler, Response } from 'express'
import type { Logger } from 'pino'
import { pinoHttp } from 'pino-http'

/**
 * Logs one line for each request: the id that is also in `X-Request-Id`, the `code` of a problem, and the user of a
 * verified token. It logs no header, query or body, because these contain passwords, tokens and personal data.
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
    // A 4xx is the client's fault. A 503 while the server drains is normal. Any other 503 needs a look at the database or
    // the load. Only an unexpected error is an error.
    customLogLevel(_req, { statusCode }, error) {
      if (error || statusCode === 500) return 'error'
      return statusCode > 500 && !draining() ? 'warn' : 'info'
    },
    customSuccessObject: (req, res, line) => ({ ...line, ...details(req, res) }),
    // pino-http invents an error for every status from 500 up. An error that was thrown has its own line.
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

/** Returns an error without the members that drivers add, because those may contain personal data. */
export const errorInBrief = ({ name, type, message, stack }: Error & { type?: string }) => ({
  type: type ?? name,
  message,
  stack,
})
