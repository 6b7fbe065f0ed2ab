import type { JsonWebKey } from 'node:crypto'
import cors from 'cors'
import express, { type RequestHandler } from 'express'
import helmet from 'helmet'
import type { createAuthHandlers } from './http/auth-routes.ts'
import type { createBearer } from './http/bearer.ts'
import { credentialsBody, emptyBody, passwordChangeBody, readBody } from './http/body.ts'
import { readAddress } from './http/client-address.ts'
import { refuseCrossSite } from './http/cross-site.ts'
import { demoFile } from './http/demo.ts'
import type { DemoLesson } from './http/demo-lesson.ts'
import { docsFile, docsPage } from './http/docs.ts'
import { jwks } from './http/jwks.ts'
import { notFound, problemHandler } from './http/problem.ts'
import {
  closeWhile,
  methodNotAllowed,
  refuseTwoHosts,
  warnOfUnknownProxy,
  withoutCaching,
} from './http/rules.ts'
import { parseCookies } from './http/token-cookie.ts'

// W3C Trace Context and Baggage, and Sentry's own. Browser SDKs add these headers to every request they trace.
const tracingHeaders = ['traceparent', 'tracestate', 'baggage', 'sentry-trace']

/** What the routes are made of; `compose.ts` builds it. */
export interface Services {
  publicUrl: string
  isOwnOrigin: (origin: string) => boolean
  corsOrigins: readonly string[]
  demoPage: RequestHandler | undefined
  demoLesson: DemoLesson | undefined
  docs: boolean
  hstsIncludeSubdomains: boolean
  trustProxy: number | readonly string[] | undefined
  warnOfUnknownProxy: boolean
  clock: () => number
  requestLog: RequestHandler
  publicKeys: () => JsonWebKey[]
  measure: RequestHandler
  draining: () => boolean
  readiness: RequestHandler
  openapi: RequestHandler
  bearer: ReturnType<typeof createBearer>
  auth: ReturnType<typeof createAuthHandlers>
}

/** The server's table of contents: what every request passes through, in this order, and every route. */
export function createApp(services: Services): express.Express {
  const { auth, bearer } = services
  const app = express()
  app.disable('x-powered-by').disable('etag').enable('case sensitive routing').enable('strict routing')
  if (services.trustProxy !== undefined) app.set('trust proxy', services.trustProxy)

  app.use(readAddress)
  app.use(services.requestLog)
  if (services.warnOfUnknownProxy) app.use(warnOfUnknownProxy())
  app.use(services.measure)
  app.use(closeWhile(services.draining))
  app.use(
    helmet({
      contentSecurityPolicy: {
        useDefaults: false,
        directives: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] },
      },
      strictTransportSecurity: services.publicUrl.startsWith('https:') && {
        maxAge: 31_536_000,
        includeSubDomains: services.hstsIncludeSubdomains,
      },
      xFrameOptions: { action: 'deny' },
    }),
  )
  app.use(withoutCaching)
  app.use(refuseTwoHosts)
  app.use(
    cors({
      origin: (origin, answer) => answer(null, services.corsOrigins.includes(origin ?? '')),
      credentials: true,
      methods: ['GET', 'POST', 'DELETE'],
      allowedHeaders: ['Authorization', 'Content-Type', ...tracingHeaders],
      exposedHeaders: ['Retry-After', 'X-Request-Id'],
      maxAge: 600,
      preflightContinue: true,
    }),
  )
  app.use(parseCookies)

  const isAllowed = (origin: string) => services.isOwnOrigin(origin) || services.corsOrigins.includes(origin)
  const sameSite = refuseCrossSite(isAllowed, services.clock)
  const token = bearer.requireAccessToken
  const live = bearer.requireLiveSession
  const noBody = readBody(emptyBody)

  const route = (path: string, methods: Partial<Record<'get' | 'post' | 'delete', RequestHandler[]>>) => {
    const at = app.route(path)
    for (const [method, handlers] of Object.entries(methods)) at[method as 'get'](...handlers)
    at.all(methodNotAllowed(Object.keys(methods)))
  }

  route('/auth/register', { post: [sameSite, readBody(credentialsBody), auth.register] })
  route('/auth/login', { post: [sameSite, readBody(credentialsBody), auth.login] })
  route('/auth/refresh', { post: [sameSite, auth.requireRefreshToken, noBody, auth.refresh] })
  route('/auth/logout', { post: [sameSite, noBody, auth.logout] })
  route('/auth/logout-all', { post: [sameSite, token, noBody, live, auth.logoutAll] })
  route('/auth/sessions', { get: [token, live, auth.listSessions] })
  route('/auth/sessions/:id', { delete: [sameSite, token, noBody, live, auth.endSession] })
  route('/auth/password', { post: [sameSite, token, readBody(passwordChangeBody), auth.changePassword] })
  route('/users/me', { get: [token, live, auth.me] })
  route('/.well-known/jwks.json', { get: [jwks(services.publicKeys)] })
  route('/livez', { get: [(_req, res) => void res.json({ status: 'ok' })] })
  route('/readyz', { get: [services.readiness] })
  if (services.docs) {
    route('/openapi.json', { get: [services.openapi] })
    route('/docs', { get: [docsPage] })
    route('/docs/:file', { get: [docsFile] })
  }
  if (services.demoPage) {
    route('/', { get: [services.demoPage] })
    route('/demo/:file', { get: [demoFile] })
  }
  if (services.demoPage && services.demoLesson) {
    const { onThisMachine, session, copy, refreshCopy } = services.demoLesson
    route('/demo/lesson/session', { get: [onThisMachine, session] })
    route('/demo/lesson/copies', { post: [sameSite, onThisMachine, noBody, copy] })
    route('/demo/lesson/copies/:id/refresh', { post: [sameSite, onThisMachine, noBody, refreshCopy] })
  }

  app.use(notFound)
  app.use(problemHandler)
  return app
}
