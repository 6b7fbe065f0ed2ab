import cors from 'cors'
import express, { type RequestHandler } from 'express'
import helmet from 'helmet'
import { readAddress, warnOfUnknownProxy } from './http/client-address.ts'
import { closeWhile, refuseTwoHosts, withoutCaching } from './http/every-request.ts'
import { notFound, type Problems, problemHandler } from './http/problem.ts'
import { addRoutes, type BoundRoute } from './http/route.ts'
import { parseCookies } from './http/token-cookie.ts'
import { jwks } from './routes/jwks.ts'
import { livez } from './routes/livez.ts'
import { login } from './routes/login.ts'
import { logout } from './routes/logout.ts'
import { logoutAll } from './routes/logout-all.ts'
import { me } from './routes/me.ts'
import { changePassword } from './routes/password.ts'
import { readyz } from './routes/readyz.ts'
import { reauthenticate } from './routes/reauthenticate.ts'
import { refresh } from './routes/refresh.ts'
import { register } from './routes/register.ts'
import { endSession, listSessions } from './routes/sessions.ts'

/** Every route of the core, in order. `compose.ts` adds those of `features.ts`, and passes all of them to `createApp`. */
export const coreRoutes = [
  register,
  login,
  refresh,
  logout,
  logoutAll,
  listSessions,
  endSession,
  changePassword,
  reauthenticate,
  me,
  jwks,
  livez,
  readyz,
] as const

// W3C Trace Context and Baggage, and Sentry's own. Browser SDKs add these headers to every request they trace.
const tracingHeaders = ['traceparent', 'tracestate', 'baggage', 'sentry-trace']

/** The server's table of contents: what every request passes through, in this order, and then the routes. */
export function createApp(server: {
  publicUrl: string
  corsOrigins: readonly string[]
  hstsIncludeSubdomains: boolean
  trustProxy: number | readonly string[] | undefined
  warnOfUnknownProxy: boolean
  requestLog: RequestHandler
  measure: RequestHandler
  draining: () => boolean
  routes: readonly BoundRoute[]
  problems: Problems
  freshSeconds: number
}): express.Express {
  const app = express()
  app.disable('x-powered-by').disable('etag').enable('case sensitive routing').enable('strict routing')
  if (server.trustProxy !== undefined) app.set('trust proxy', server.trustProxy)

  app.use(readAddress)
  app.use(server.requestLog)
  if (server.warnOfUnknownProxy) app.use(warnOfUnknownProxy())
  app.use(server.measure)
  app.use(closeWhile(server.draining))
  app.use(
    helmet({
      contentSecurityPolicy: {
        useDefaults: false,
        directives: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] },
      },
      strictTransportSecurity: server.publicUrl.startsWith('https:') && {
        maxAge: 31_536_000,
        includeSubDomains: server.hstsIncludeSubdomains,
      },
      xFrameOptions: { action: 'deny' },
    }),
  )
  app.use(withoutCaching)
  app.use(refuseTwoHosts)
  app.use(
    cors({
      origin: (origin, answer) => answer(null, server.corsOrigins.includes(origin ?? '')),
      credentials: true,
      methods: ['GET', 'POST', 'DELETE'],
      allowedHeaders: ['Authorization', 'Content-Type', ...tracingHeaders],
      exposedHeaders: ['Retry-After', 'X-Request-Id'],
      maxAge: 600,
      preflightContinue: true, // addRoutes answers them
    }),
  )
  app.use(parseCookies)

  addRoutes(app, server.routes)

  app.use(notFound)
  app.use(problemHandler(server))
  return app
}
