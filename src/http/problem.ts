import { STATUS_CODES } from 'node:http'
import type { ErrorRequestHandler, Request, RequestHandler } from 'express'
import { z } from 'zod'
import { AuthError, type CoreCode, type ErrorCode } from '../errors.ts'
import { maxBodyBytes } from './body.ts'

/**
 * The status of an error. `detail` says what happened and what to do, for people. `members` are those that only
 * its problem document has, by name.
 */
export interface Problem {
  status: number
  detail: string
  members?: z.ZodRawShape
}

/** The problems of the core and of its features, by code. */
export type Problems = Readonly<Record<ErrorCode, Problem>>

/** Every error of the core that clients can see. Features add theirs. */
export const problems: Record<CoreCode, Problem> = {
  invalid_json: { status: 400, detail: 'The body is not valid JSON in UTF-8. Correct it.' },
  invalid_request: {
    status: 400,
    detail: 'The request breaks the rules in "errors". Correct the members that it names.',
  },
  password_rejected: { status: 400, detail: 'The password breaks the rule in "errors". Choose another one.' },
  invalid_credentials: { status: 401, detail: 'The e-mail address or the password is wrong. Try again.' },
  access_token_missing: {
    status: 401,
    detail: 'Send the access token in the Authorization header: Bearer <token>.',
  },
  access_token_invalid: {
    status: 401,
    detail: 'The access token is not valid on this server. Refresh it, or log in.',
  },
  access_token_expired: { status: 401, detail: 'The access token has expired. Refresh it and try again.' },
  refresh_token_missing: { status: 401, detail: 'There is no refresh token. Log in.' },
  refresh_token_invalid: { status: 401, detail: 'The refresh token is not valid on this server. Log in.' },
  refresh_token_reused: {
    status: 401,
    detail:
      'This refresh token was used before. Someone else may have it, so the server ended the session. Log in.',
  },
  session_ended: { status: 401, detail: 'The session has ended. Log in.' },
  reauthentication_required: {
    status: 401,
    detail:
      'This request needs a recent proof of identity. Send one to POST /auth/reauthenticate, by a method from "methods", and try again.',
    members: { methods: z.array(z.string()) },
  },
  cross_site_request: {
    status: 403,
    detail:
      'The server does not accept requests from the origin of this page. Call the server from an allowed origin.',
  },
  wrong_password: { status: 403, detail: 'The current password is wrong. Try again.' },
  registration_closed: {
    status: 403,
    detail: 'New accounts cannot be registered here. Ask the operator for one.',
  },
  not_found: { status: 404, detail: 'There is nothing at this path. Check the path.' },
  method_not_allowed: {
    status: 405,
    detail: 'This path does not support this method. Use a method from the Allow header.',
  },
  email_taken: {
    status: 409,
    detail: 'An account with this e-mail address exists. Log in, or use another e-mail address.',
  },
  link_invalid: {
    status: 410,
    detail: 'The link is no longer valid: it was used, replaced, or has expired. Ask for a new one.',
  },
  payload_too_large: { status: 413, detail: 'The body is larger than 8 KiB. Send a smaller one.' },
  unsupported_media_type: {
    status: 415,
    detail: 'Send Content-Type: application/json in UTF-8, without a Content-Encoding.',
  },
  too_many_attempts: {
    status: 429,
    detail: 'There were too many attempts. Try again after the number of seconds in Retry-After.',
  },
  overloaded: {
    status: 503,
    detail: 'Too many logins are in progress. Try again after the number of seconds in Retry-After.',
  },
  unavailable: {
    status: 503,
    detail:
      'The service is not available at the moment. Try again after the number of seconds in Retry-After.',
  },
  internal_error: {
    status: 500,
    detail: 'An unexpected error occurred. Tell the operator the requestId, because the log has the details.',
  },
}

/** Returns what every problem document of a code says. */
export function problemOf(code: string, { status, detail }: Problem) {
  return { type: `urn:problem-type:${code}`, title: STATUS_CODES[status], status, code, detail }
}

/** Answers requests to paths that no route has. */
export const notFound: RequestHandler = () => {
  throw new AuthError('not_found')
}

/**
 * Turns every error into a problem document (RFC 9457). Only the log has the causes.
 * @param problems those of the core and of the features, by code
 * @param freshSeconds the maximum age of a proof of identity for a sensitive action
 */
export const problemHandler =
  ({ problems, freshSeconds }: { problems: Problems; freshSeconds: number }): ErrorRequestHandler =>
  (error, req, res, next) => {
    const { code, errors, detail, members, retryAfterSeconds } = toAuthError(error)
    const problem = problemOf(code, problems[code])
    if (code === 'internal_error') req.log.error({ err: error }, 'unexpected error')
    if (code === 'unavailable')
      req.log.warn({ cause: String(error.cause) }, 'answered 503: the database or the keys are unavailable')
    if (res.headersSent) return next(error)
    const challenge = bearerChallenge(code, req, freshSeconds)
    if (challenge) res.set('WWW-Authenticate', challenge)
    if (problem.status === 503 || problem.status === 429) res.set('Retry-After', String(retryAfterSeconds))
    if (hasLongBody(req)) res.set('Connection', 'close')
    res.locals.code = code
    res
      .status(problem.status)
      .type('application/problem+json')
      .send(
        JSON.stringify({
          ...members,
          ...problem,
          ...(detail && { detail }),
          ...(errors && { errors }),
          requestId: req.id,
        }),
      )
  }

// Close the connection instead of reading the rest of the body.
function hasLongBody(req: Request): boolean {
  const { 'content-length': length, 'transfer-encoding': encoding } = req.headers
  return !req.complete && (encoding !== undefined || Number(length) > maxBodyBytes)
}

// RFC 6750, 3: the challenge names an error only if the request had a token. RFC 9470, 3: a proof of identity that is too
// old has an error of its own.
function bearerChallenge(code: ErrorCode, req: Request, freshSeconds: number): string | undefined {
  if (code === 'access_token_missing') return 'Bearer'
  if (code === 'reauthentication_required')
    return `Bearer error="insufficient_user_authentication", max_age=${freshSeconds}`
  const refused = code.startsWith('access_token_') || (code === 'session_ended' && req.access !== undefined)
  return refused ? 'Bearer error="invalid_token"' : undefined
}

function toAuthError(error: unknown): AuthError {
  if (error instanceof AuthError) return error
  // A path that cannot be decoded.
  return new AuthError(error instanceof URIError ? 'not_found' : 'internal_error')
}
