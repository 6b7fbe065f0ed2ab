import { createRequire } from 'node:module'
import { z } from 'zod'
import {
  createDocument,
  type ZodOpenApiContentObject,
  type ZodOpenApiOperationObject,
  type ZodOpenApiResponseObject,
} from 'zod-openapi'
import type { ErrorCode } from '../errors.ts'
import { credentialsBody, emptyBody, passwordChangeBody } from './body.ts'
import { problemOf, problems } from './problem.ts'

const email = z.string().meta({ format: 'email' })
const time = z.string().meta({ format: 'date-time' })
const id = z.string()

const user = z
  .object({ id, email, role: z.string(), emailVerified: z.boolean(), createdAt: time })
  .meta({ id: 'User' })

const tokenAnswer = z
  .object({
    accessToken: z.string().meta({ description: 'A JWT (RFC 9068). Keep it in memory only.' }),
    tokenType: z.literal('Bearer'),
    expiresIn: z.int().positive().meta({ description: 'Seconds.' }),
    user,
  })
  .meta({ id: 'TokenAnswer' })

const sessionList = z
  .object({
    sessions: z.array(
      z.object({
        id,
        current: z.boolean().meta({ description: 'Whether it is the session of this request.' }),
        createdAt: time,
        lastUsedAt: time,
        expiresAt: time.meta({ description: 'When it ends if it is not used before.' }),
        userAgent: z.string().nullable(),
        ip: z.string().nullable(),
      }),
    ),
  })
  .meta({ id: 'SessionList' })

const jwks = z
  .object({ keys: z.array(z.looseObject({ kty: z.string() })) })
  .meta({ id: 'Jwks', description: 'Public keys (RFC 7517). None under HS256.' })

const liveness = z.object({ status: z.literal('ok') }).meta({ id: 'Liveness' })

const readiness = z
  .object({
    status: z.enum(['ok', 'unavailable']),
    checks: z.object({
      database: z.enum(['ok', 'unreachable', 'read_only']),
      clock: z.enum(['ok', 'skewed']),
      keys: z.enum(['ok', 'refused', 'unreachable', 'stale']),
    }),
  })
  .meta({ id: 'Readiness' })

const allCodes = Object.keys(problems) as ErrorCode[]

const problem = z
  .object({
    type: z.string().meta({ format: 'uri' }),
    title: z.string(),
    status: z.int(),
    code: z.enum(allCodes).meta({ description: 'What to decide by: it is stable.' }),
    detail: z.string().meta({ description: 'For people.' }),
    errors: z
      .array(z.object({ path: z.string(), message: z.string() }))
      .optional()
      .meta({
        description: 'The members of the body that break a rule. The path of the body itself is empty.',
      }),
    requestId: z.string(),
  })
  .meta({ id: 'Problem', description: 'Every error (RFC 9457).' })

const headers = {
  'X-Request-Id': 'The id of the request, which the log has too.',
  'Set-Cookie': 'Sets the refresh cookie or, with an expiry in the past, takes it away.',
  'WWW-Authenticate': 'Bearer; with error="invalid_token" where a token was sent (RFC 6750).',
  'Retry-After': 'After how many seconds to try again.',
  Allow: 'The methods of this path.',
}

// Where one code of a status has a header, all of that status have it.
const headerOf: Partial<Record<ErrorCode, keyof typeof headers>> = {
  access_token_missing: 'WWW-Authenticate',
  refresh_token_missing: 'Set-Cookie',
  method_not_allowed: 'Allow',
  too_many_attempts: 'Retry-After',
  overloaded: 'Retry-After',
  unavailable: 'Retry-After',
}

const everywhere: ErrorCode[] = ['method_not_allowed', 'internal_error']
const ofUnsafe: ErrorCode[] = [
  'cross_site_request',
  'payload_too_large',
  'unsupported_media_type',
  'invalid_json',
  'invalid_request',
]
const ofAccessToken: ErrorCode[] = [
  'access_token_missing',
  'access_token_invalid',
  'access_token_expired',
  'session_ended',
  'unavailable',
]
const ofRefreshToken: ErrorCode[] = [
  'refresh_token_missing',
  'refresh_token_invalid',
  'refresh_token_reused',
  'session_ended',
  'unavailable',
]
const ofPasswords: ErrorCode[] = ['too_many_attempts', 'overloaded', 'unavailable']

const json = (schema: z.ZodType) => ({ 'application/json': { schema } })

function answer(
  description: string,
  names: (keyof typeof headers)[] = [],
  content?: ZodOpenApiContentObject,
): ZodOpenApiResponseObject {
  const refs = ['X-Request-Id', ...names].map((name) => [name, { $ref: `#/components/headers/${name}` }])
  return { description, headers: Object.fromEntries(refs), ...(content && { content }) }
}

function problemAnswer(status: number, codes: ErrorCode[]): ZodOpenApiResponseObject {
  const description = codes.map((code) => `\`${code}\``).join(', ')
  const names = codes.flatMap((code) => headerOf[code] ?? [])
  return answer(description, names, {
    'application/problem+json': {
      schema: {
        allOf: [{ $ref: '#/components/schemas/Problem' }],
        properties: { status: { const: status }, code: { enum: codes } },
      },
      examples: Object.fromEntries(codes.map((code) => [code, { $ref: `#/components/examples/${code}` }])),
    },
  })
}

/** One answer for each status. */
function problemAnswers(codes: ErrorCode[]): Record<`${4 | 5}${string}`, ZodOpenApiResponseObject> {
  const ofStatus = (status: number) =>
    allCodes.filter((code) => codes.includes(code) && problems[code].status === status)
  const statuses = [...new Set(codes.map((code) => problems[code].status))]
  return Object.fromEntries(statuses.map((status) => [status, problemAnswer(status, ofStatus(status))]))
}

const body = (schema: z.ZodType, example: object) => ({
  required: schema !== emptyBody,
  content: { 'application/json': { schema, example } },
})
const noBody = body(emptyBody, {})
const credentials = body(credentialsBody, { email: 'ada@example.com', password: 'my dog is called rex' })
const passwordChange = body(passwordChangeBody, {
  currentPassword: 'my dog is called rex',
  newPassword: 'my cat is called tux',
})

const byAccessToken = [{ accessToken: [] }]
const byRefreshToken = [{ refreshToken: [] }]

/** An operation by its answers and the codes of its problems, to which come those that every operation has. */
function operation({
  codes = [],
  responses,
  ...rest
}: ZodOpenApiOperationObject & { codes?: ErrorCode[] }): ZodOpenApiOperationObject {
  return { ...rest, responses: { ...responses, ...problemAnswers([...everywhere, ...codes]) } }
}

const paths = {
  '/auth/register': {
    post: operation({
      tags: ['Log in and out'],
      operationId: 'register',
      summary: 'Create an account, and log in',
      description: 'Ends the session whose cookie is presented.',
      requestBody: credentials,
      responses: {
        201: answer('The account is there, and a session of it.', ['Set-Cookie'], json(tokenAnswer)),
      },
      codes: [...ofUnsafe, ...ofPasswords, 'password_rejected', 'email_taken'],
    }),
  },
  '/auth/login': {
    post: operation({
      tags: ['Log in and out'],
      operationId: 'login',
      summary: 'Log in',
      description: 'Ends the session whose cookie is presented.',
      requestBody: credentials,
      responses: { 200: answer('A new session.', ['Set-Cookie'], json(tokenAnswer)) },
      codes: [...ofUnsafe, ...ofPasswords, 'invalid_credentials'],
    }),
  },
  '/auth/refresh': {
    post: operation({
      tags: ['Log in and out'],
      operationId: 'refresh',
      summary: 'Get a new access token, and the next refresh token',
      description: 'A 401 takes the refresh cookie away. Anything else leaves the session as it is.',
      security: byRefreshToken,
      requestBody: noBody,
      responses: { 200: answer('The session goes on.', ['Set-Cookie'], json(tokenAnswer)) },
      codes: [...ofUnsafe, ...ofRefreshToken],
    }),
  },
  '/auth/logout': {
    post: operation({
      tags: ['Log in and out'],
      operationId: 'logout',
      summary: 'Log out here',
      security: [...byRefreshToken, {}],
      requestBody: noBody,
      responses: {
        204: answer('The session of the cookie has ended, if there was one.', ['Set-Cookie']),
      },
      codes: [...ofUnsafe, 'unavailable'],
    }),
  },
  '/auth/logout-all': {
    post: operation({
      tags: ['Log in and out'],
      operationId: 'logoutAll',
      summary: 'Log out everywhere',
      security: byAccessToken,
      requestBody: noBody,
      responses: {
        204: answer('Every session of the user has ended.', ['Set-Cookie']),
      },
      codes: [...ofUnsafe, ...ofAccessToken],
    }),
  },
  '/auth/sessions': {
    get: operation({
      tags: ['Account'],
      operationId: 'listSessions',
      summary: 'List where the user is logged in',
      security: byAccessToken,
      responses: { 200: answer('The live sessions.', [], json(sessionList)) },
      codes: ofAccessToken,
    }),
  },
  '/auth/sessions/{id}': {
    // It accepts `{}` too, but OpenAPI would have no body be described where HTTP gives it no meaning.
    delete: operation({
      tags: ['Account'],
      operationId: 'endSession',
      summary: 'Log out one device',
      security: byAccessToken,
      requestParams: { path: z.object({ id }) },
      responses: { 204: answer('The session has ended.') },
      codes: [...ofUnsafe, ...ofAccessToken, 'not_found'],
    }),
  },
  '/auth/password': {
    post: operation({
      tags: ['Account'],
      operationId: 'changePassword',
      summary: 'Change the password',
      description: 'Ends all sessions of the user, the one of this request included, and starts a new one.',
      security: byAccessToken,
      requestBody: passwordChange,
      responses: {
        200: answer('The password has changed. A new session.', ['Set-Cookie'], json(tokenAnswer)),
      },
      codes: [...ofUnsafe, ...ofAccessToken, ...ofPasswords, 'password_rejected', 'wrong_password'],
    }),
  },
  '/users/me': {
    get: operation({
      tags: ['Account'],
      operationId: 'me',
      summary: 'Get the user',
      security: byAccessToken,
      responses: { 200: answer('The user.', [], json(user)) },
      codes: ofAccessToken,
    }),
  },
  '/.well-known/jwks.json': {
    get: operation({
      tags: ['Server'],
      operationId: 'jwks',
      summary: 'Get the keys that verify access tokens',
      responses: { 200: answer('The public keys.', [], json(jwks)) },
    }),
  },
  '/livez': {
    get: operation({
      tags: ['Server'],
      operationId: 'livez',
      summary: 'Whether the server runs',
      responses: { 200: answer('It does.', [], json(liveness)) },
    }),
  },
  '/readyz': {
    get: operation({
      tags: ['Server'],
      operationId: 'readyz',
      summary: 'Whether the server can serve',
      responses: {
        200: answer('It can.', [], json(readiness)),
        503: answer('It cannot.', ['Retry-After'], json(readiness)),
      },
    }),
  },
  '/openapi.json': {
    get: operation({
      tags: ['Server'],
      operationId: 'openapi',
      summary: 'Get this document',
      responses: {
        200: answer('An OpenAPI 3.1 document.', [], json(z.looseObject({ openapi: z.string() }))),
      },
    }),
  },
  '/docs': {
    get: operation({
      tags: ['Server'],
      operationId: 'docs',
      summary: 'Read and try the API',
      responses: { 200: answer('A page for browsers.', [], { 'text/html': { schema: z.string() } }) },
    }),
  },
  '/docs/{file}': {
    get: operation({
      tags: ['Server'],
      operationId: 'docsFile',
      summary: 'Get what the page is made of',
      requestParams: { path: z.object({ file: z.string() }) },
      responses: {
        200: answer('A script or a style sheet.', [], {
          'text/javascript': { schema: z.string() },
          'text/css': { schema: z.string() },
        }),
      },
      codes: ['not_found'],
    }),
  },
}

/** The OpenAPI 3.1 document: from the schemas that validate, and the problems that are answered. */
export function openapiDocument({ publicUrl, cookieName }: { publicUrl: string; cookieName: string }) {
  const { version } = createRequire(import.meta.url)('../../package.json')
  return createDocument({
    openapi: '3.1.1',
    info: {
      title: 'Auth server',
      version,
      description: 'Short-lived access tokens in answers, rotating refresh tokens in a cookie.',
    },
    servers: [{ url: publicUrl }],
    tags: ['Log in and out', 'Account', 'Server'].map((name) => ({ name })),
    paths,
    components: {
      securitySchemes: {
        accessToken: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' },
        refreshToken: { type: 'apiKey', in: 'cookie', name: cookieName },
      },
      headers: Object.fromEntries(
        Object.entries(headers).map(([name, description]) => [
          name,
          { description, schema: { type: 'string' } },
        ]),
      ),
      schemas: { Problem: problem },
      examples: Object.fromEntries(
        allCodes.map((code) => [
          code,
          { value: { ...problemOf(code), requestId: 'd1a6ae04-33e5-48ad-b3e3-8be34b2ba2d5' } },
        ]),
      ),
    },
  })
}
