import type { Express, Request, RequestHandler, Response } from 'express'
import type { z } from 'zod'
import type { AccessTokens } from '../auth/access-token.ts'
import type { RefreshTokens } from '../auth/refresh-token.ts'
import type { Throttle } from '../auth/throttle.ts'
import { AuthError, type ErrorCode } from '../errors.ts'
import type { SessionStore } from '../store/sessions.ts'
import type { Cookies } from './grant.ts'

/** What the checks of any route need. */
export interface CheckServices {
  isAllowedOrigin: (origin: string) => boolean
  logRefusedOrigin: (req: Request) => void
  /** The setting REGISTRATION. */
  registration: 'open' | 'verified' | 'closed'
  accessTokens: AccessTokens
  refreshTokens: RefreshTokens
  sessions: SessionStore
  cookies: Cookies
  throttle: Throttle
  /** The maximum age of a proof of identity for a sensitive action. */
  freshSeconds: number
}

/**
 * An Express middleware before the handler, such as `sameSite`, and what it refuses. It calls `next()`, or throws an
 * AuthError, which Express 5 passes to the error handler.
 */
export interface Check {
  /** The codes with which it refuses requests. */
  problems: readonly ErrorCode[]
  /** The credentials that it demands. */
  credentials?: Credentials
  /** The schema of the body that it reads. */
  body?: z.ZodType
  handler: (services: CheckServices) => RequestHandler
}

export type Credentials = 'accessToken' | 'refreshToken'

/** One answer that is not a problem. */
export interface Answer {
  description: string
  headers?: readonly HeaderName[]
  /** The schema of the body. An answer without one has no body. */
  body?: z.ZodType
  /** Media types other than `application/json`. */
  types?: readonly string[]
}

export type HeaderName = 'Set-Cookie' | 'WWW-Authenticate' | 'Retry-After' | 'Allow'

type BodyOf<Answers extends Record<number, Answer>> = {
  [Status in keyof Answers]: Answers[Status] extends { body: z.ZodType }
    ? z.output<Answers[Status]['body']>
    : undefined
}[keyof Answers]

/**
 * An endpoint: what Express calls `app[method](path, ...checks, handler)`, and what the OpenAPI document says about it.
 * Tests walk the same declarations.
 */
export interface Route<Services = never> {
  method: 'get' | 'post' | 'delete'
  /** In Express's spelling, such as `/auth/sessions/:id`. */
  path: string
  /** In the order in which a request passes them. */
  checks: readonly Check[]
  /** The `operationId` of the OpenAPI document. */
  name: string
  group: string
  summary: string
  description?: string
  /** Leaves the route out of the OpenAPI document. */
  hidden?: boolean
  /** Credentials that the route looks at if a request has them. */
  optional?: Credentials
  /** A body that the route accepts. */
  example?: object
  answers: Record<number, Answer>
  /** The codes with which the handler refuses requests. Those of the checks come on top. */
  problems?: readonly ErrorCode[]
  handler: (services: Services) => RequestHandler
}

/** Declares a route. Its handler can only send what `answers` promises. */
export function route<Services, const Answers extends Record<number, Answer>>(
  declaration: Omit<Route<Services>, 'answers' | 'handler'> & {
    answers: Answers
    handler: (services: Services) => (req: Request, res: Response<BodyOf<Answers>>) => unknown
  },
): Route<Services> {
  return declaration
}

/** Every code with which a route may answer. */
export const problemsOf = ({ checks, problems = [] }: Route): ErrorCode[] => [
  'method_not_allowed',
  'internal_error',
  ...checks.flatMap((check) => check.problems),
  ...problems,
]

/** A route with everything that it needs. */
export interface BoundRoute {
  route: Route
  handlers: readonly RequestHandler[]
}

/** Gives routes what they need. */
export const bind = <Services extends CheckServices>(
  routes: readonly Route<Services>[],
  services: Services,
): BoundRoute[] =>
  routes.map((route) => ({
    route,
    handlers: [...route.checks.map((check) => check.handler(services)), route.handler(services)],
  }))

/** Adds routes to Express, in order. Answers other methods of their paths with 405. */
export function addRoutes(app: Express, bound: readonly BoundRoute[]): void {
  for (const path of new Set(bound.map(({ route }) => route.path))) {
    const ofPath = bound.filter(({ route }) => route.path === path)
    const expressRoute = app.route(path)
    for (const { route, handlers } of ofPath) expressRoute[route.method](...handlers)
    expressRoute.all(otherMethods(ofPath.map(({ route }) => route.method)))
  }
}

/** Refuses the methods that a path does not have. Answers preflights, which CORS has already checked. */
function otherMethods(methods: readonly string[]): RequestHandler {
  const allow = methods.map((method) => (method === 'get' ? 'GET, HEAD' : method.toUpperCase())).join(', ')
  return (req, res) => {
    const preflight = req.method === 'OPTIONS' && req.headers['access-control-request-method'] !== undefined
    if (preflight && res.hasHeader('Access-Control-Allow-Origin')) return void res.status(204).end()
    res.set('Allow', allow)
    throw new AuthError('method_not_allowed')
  }
}
