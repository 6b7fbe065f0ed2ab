import { createRequire } from 'node:module'
import { z } from 'zod'
import {
  createDocument,
  type ZodOpenApiContentObject,
  type ZodOpenApiOperationObject,
  type ZodOpenApiResponseObject,
} from 'zod-openapi'
import type { ErrorCode } from '../../errors.ts'
import { noBody } from '../../http/body.ts'
import { type Problems, problemOf } from '../../http/problem.ts'
import { type Credentials, type HeaderName, problemsOf, type Route } from '../../http/route.ts'

const headers = {
  'X-Request-Id': 'The id of the request. The log has it too.',
  'Set-Cookie': 'Sets the refresh cookie, or clears it with an expiry in the past.',
  'WWW-Authenticate':
    'Bearer. With error="invalid_token" if the request had a token (RFC 6750). With error="insufficient_user_authentication" and max_age, in seconds, if the last proof of identity is older (RFC 9470).',
  'Retry-After': 'Try again after this number of seconds.',
  Allow: 'The methods of this path.',
}

// If one code of a status has a header, all codes of that status have it.
const headerOf: Partial<Record<ErrorCode, HeaderName>> = {
  access_token_missing: 'WWW-Authenticate',
  reauthentication_required: 'WWW-Authenticate',
  refresh_token_missing: 'Set-Cookie',
  method_not_allowed: 'Allow',
  too_many_attempts: 'Retry-After',
  overloaded: 'Retry-After',
  unavailable: 'Retry-After',
}

/**
 * Returns the OpenAPI 3.1 document. It is derived from the declarations of the routes: from the schemas that validate,
 * and the problems that are answered.
 */
export function openapiDocument(options: {
  publicUrl: string
  cookieName: string
  routes: readonly Route[]
  problems: Problems
}) {
  const { publicUrl, cookieName, routes, problems } = options
  const { version } = createRequire(import.meta.url)('../../../package.json')
  const documented = routes.filter(({ hidden }) => !hidden)
  const codes = Object.keys(problems) as ErrorCode[]

  const paths: Record<string, Record<string, ZodOpenApiOperationObject>> = {}
  for (const route of documented) {
    const path = route.path.replaceAll(/:(\w+)/g, '{$1}')
    paths[path] = { ...paths[path], [route.method]: operation(route, problems) }
  }

  return createDocument({
    openapi: '3.1.1',
    info: {
      title: 'Auth server',
      version,
      description: 'Short-lived access tokens in answers, rotating refresh tokens in a cookie.',
    },
    servers: [{ url: publicUrl }],
    tags: [...new Set(documented.map(({ group }) => group))].map((name) => ({ name })),
    paths,
    components: {
      securitySchemes: {
        accessToken: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' },
        refreshToken: { type: 'apiKey', in: 'cookie', name: cookieName },
      },
      headers: mapValues(headers, (description) => ({ description, schema: { type: 'string' as const } })),
      schemas: { Problem: problemSchema(codes) },
      examples: mapValues(problems, (problem, code) => ({
        value: { ...problemOf(code, problem), requestId: 'd1a6ae04-33e5-48ad-b3e3-8be34b2ba2d5' },
      })),
    },
  })
}

function operation(route: Route, problems: Problems): ZodOpenApiOperationObject {
  const { group, name, summary, description, path, answers } = route
  const params = [...path.matchAll(/:(\w+)/g)].map(([, param]) => [param, z.string()])
  const security = securityOf(route)
  const requestBody = requestBodyOf(route)
  return {
    tags: [group],
    operationId: name,
    summary,
    ...(description && { description }),
    ...(security && { security }),
    ...(params.length > 0 && { requestParams: { path: z.object(Object.fromEntries(params)) } }),
    ...(requestBody && { requestBody }),
    responses: {
      ...mapValues(answers, ({ description, headers, body, types = ['application/json'] }) =>
        response(
          description,
          headers,
          body && Object.fromEntries(types.map((type) => [type, { schema: body }])),
        ),
      ),
      ...problemResponses(problemsOf(route), problems),
    },
  }
}

function securityOf({ checks, optional }: Route): Partial<Record<Credentials, []>>[] | undefined {
  if (optional) return [{ [optional]: [] }, {}]
  const demanded = checks.flatMap(({ credentials }) => credentials ?? [])
  return demanded.length > 0 ? demanded.map((credentials) => ({ [credentials]: [] })) : undefined
}

function requestBodyOf({ method, checks, example = {} }: Route) {
  const schema = checks.find(({ body }) => body)?.body
  // A DELETE accepts `{}` too. But OpenAPI describes no body where HTTP gives it no meaning.
  if (!schema || method === 'delete') return undefined
  return { required: schema !== noBody.body, content: { 'application/json': { schema, example } } }
}

function response(
  description: string,
  names: readonly HeaderName[] = [],
  content?: ZodOpenApiContentObject,
): ZodOpenApiResponseObject {
  const refs = ['X-Request-Id', ...names].map((name) => [name, { $ref: `#/components/headers/${name}` }])
  return { description, headers: Object.fromEntries(refs), ...(content && { content }) }
}

/** One response for each status. */
function problemResponses(
  codes: ErrorCode[],
  problems: Problems,
): Record<`${4 | 5}${string}`, ZodOpenApiResponseObject> {
  const all = Object.keys(problems) as ErrorCode[]
  const statuses = [...new Set(codes.map((code) => problems[code].status))]
  return Object.fromEntries(
    statuses.map((status) => [
      status,
      problemResponse(
        status,
        all.filter((code) => codes.includes(code) && problems[code].status === status),
        problems,
      ),
    ]),
  )
}

function problemResponse(status: number, codes: ErrorCode[], problems: Problems): ZodOpenApiResponseObject {
  const description = codes.map((code) => `\`${code}\``).join(', ')
  const names = codes.flatMap((code) => headerOf[code] ?? [])
  const members = z.object(Object.assign({}, ...codes.map((code) => problems[code].members)))
  return response(description, names, {
    'application/problem+json': {
      schema: {
        allOf: [{ $ref: '#/components/schemas/Problem' }],
        properties: {
          ...z.toJSONSchema(members).properties,
          status: { const: status },
          code: { enum: codes },
        },
      },
      examples: Object.fromEntries(codes.map((code) => [code, { $ref: `#/components/examples/${code}` }])),
    },
  })
}

const problemSchema = (codes: ErrorCode[]) =>
  z
    .looseObject({
      type: z.string().meta({ format: 'uri' }),
      title: z.string(),
      status: z.int(),
      code: z.enum(codes).meta({ description: 'Stable. Programs decide by it.' }),
      detail: z.string().meta({ description: 'For people.' }),
      errors: z
        .array(z.object({ path: z.string(), message: z.string() }))
        .optional()
        .meta({
          description: 'The members of the body that break a rule. The path of the body itself is empty.',
        }),
      requestId: z.string(),
    })
    .meta({
      id: 'Problem',
      description: 'Every error (RFC 9457). Some responses have further members, and say so.',
    })

const mapValues = <Value, Result>(
  object: Readonly<Record<string, Value>>,
  map: (value: Value, key: string) => Result,
): Record<string, Result> =>
  Object.fromEntries(Object.entries(object).map(([key, value]) => [key, map(value, key)]))
