import { beforeAll, describe, expect, test } from '@jest/globals'
import { Validator } from '@seriousme/openapi-schema-validator'
import { Ajv2020 } from 'ajv/dist/2020.js'
import formats from 'ajv-formats'
import type request from 'supertest'
import {
  type Client,
  createTestApp,
  expectProblem,
  logout,
  newEmail,
  otherPassword,
  type Presented,
  password,
  publicUrl,
  refresh,
  refreshCookieName,
  refreshTokenOf,
  register,
  send,
  useTestApp,
} from '../../../test/support/app.ts'
import { withoutDatabase } from '../../../test/support/database.ts'
import { linkTokenFor, nameOf, routes } from '../../../test/support/routes.ts'
import { features, problems } from '../../features.ts'
import { fresh } from '../../http/fresh.ts'
import type { Route } from '../../http/route.ts'
import { openapiDocument } from './openapi.ts'

const t = useTestApp()

/** The OpenAPI document as clients get it: without what JSON leaves out. */
const document = JSON.parse(
  JSON.stringify(openapiDocument({ publicUrl, cookieName: refreshCookieName, routes, problems })),
)

interface Answer {
  headers: Record<string, unknown>
  content?: Record<string, unknown>
}
interface Operation {
  parameters?: { name: string }[]
  requestBody?: { required: boolean }
  security?: object[]
  responses: Record<string, Answer>
}
const operations = Object.entries<Record<string, Operation>>(document.paths).flatMap(([path, item]) =>
  Object.entries(item).map(([method, operation]) => ({
    name: `${method.toUpperCase()} ${path}`,
    operation,
    pointer: `/paths/${path.replaceAll('/', '~1')}/${method}`,
  })),
)
type Documented = (typeof operations)[number]

const ajv = formats.default(new Ajv2020({ strict: false })).addSchema(document, 'openapi')

/** What a value breaks of the schema at a place of the document. */
function faultsOf(value: unknown, pointer: string): string | undefined {
  const validate = ajv.getSchema(`openapi#${pointer}`)
  if (!validate) throw new Error(`no schema at ${pointer}`)
  return validate(value) ? undefined : ajv.errorsText(validate.errors)
}

const telling = ['Allow', 'Retry-After', 'Set-Cookie', 'WWW-Authenticate', 'X-Request-Id']

/** Expects that an answer is, by status, headers and every member of its body, what the document says. */
function expectDocumented({ operation, pointer }: Documented, response: request.Response) {
  const documented = operation.responses[response.status]
  if (!documented) throw new Error(`${response.status} is not documented: ${response.text}`)
  // Of the 401s of a route, a wrong password has no challenge, because Bearer is not what it lacks.
  const absent = response.body?.code === 'invalid_credentials' ? ['WWW-Authenticate'] : []
  expect(telling.filter((name) => response.get(name) !== undefined)).toEqual(
    Object.keys(documented.headers)
      .filter((name) => !absent.includes(name))
      .sort(),
  )
  const type = response.get('Content-Type')?.split(';')[0]
  if (!documented.content) return expect(type).toBeUndefined()
  expect(Object.keys(documented.content)).toContain(type)
  const at = `${pointer}/responses/${response.status}/content/${type?.replace('/', '~1')}/schema`
  expect(faultsOf(type?.endsWith('json') ? response.body : response.text, at)).toBeUndefined()
}

function codesOf({ operation }: Documented): string[] {
  return Object.values(operation.responses).flatMap((answer) => {
    const content = answer.content?.['application/problem+json'] as
      | { schema: { properties: { code: { enum: string[] } } } }
      | undefined
    return content?.schema.properties.code.enum ?? []
  })
}

/** The body with which an operation succeeds: the example of its route, of this client. */
function bodyFor(documented: Documented, client: Client, token?: string): object | undefined {
  const { name, example } = routeOf(documented)
  if (!example) return example
  const email = name === 'register' ? newEmail() : client.email
  return { ...example, ...('email' in example && { email }), ...(token && { token }) }
}

function routeOf({ name }: Documented): Route {
  const route = routes.find((route) => nameOf(route) === name.replaceAll(/{(\w+)}/g, ':$1'))
  if (!route) throw new Error(`no route ${name}`)
  return route
}

/** A request that succeeds, but for what the test makes of it. */
function ask(documented: Documented, client: Client, more: Presented & { id?: string } = {}) {
  const { id = client.sessionId, ...presented } = more
  const route = documented.name.replace('{id}', id).replace('{file}', more.id ?? 'start.js')
  const body = bodyFor(documented, client)
  return send(t.app, route, { as: client, token: client.refreshToken, body, ...presented })
}

test('DOCS=false: /docs, its files and /openapi.json are 404, and the rest is as it is', async () => {
  const without = await createTestApp({ DOCS: 'false' }, t.db)
  for (const path of ['/docs', '/docs/start.js', '/docs/swagger-ui.css', '/openapi.json'])
    expectProblem(await send(without.app, `GET ${path}`), 404, 'not_found')
  const { status } = await send(without.app, 'GET /livez')
  await without.close()

  expect(status).toBe(200)
})

test('the document limits an e-mail address as the server does', () => {
  const { properties } = document.components.schemas.Credentials
  const { pattern, maxLength, format } = properties.email
  const longest = `${'a'.repeat(60)}@${'b'.repeat(60)}.${'c'.repeat(63)}.${'d'.repeat(63)}.io`

  expect({ maxLength, format }).toEqual({ maxLength: 254, format: 'email' })
  for (const address of ['user@example.xn--p1ai', 'tom&jerry@example.com', 'SRS0=abc=x@example.com', longest])
    expect(new RegExp(pattern, 'u').test(address)).toBe(true)
  for (const address of [
    'user',
    'user@-example.com',
    'a b@example.com',
    'user@example.com\n',
    'jürgen@example.com',
  ])
    expect(new RegExp(pattern, 'u').test(address)).toBe(false)
})

describe('the document', () => {
  test('is valid OpenAPI 3.1', async () => {
    const validator = new Validator()

    expect(await validator.validate(structuredClone(document))).toEqual({ valid: true })
    expect(validator.version).toBe('3.1')
  })

  test('has every route of the server, with its methods and parameters, and no other', () => {
    const served = routes.filter(({ hidden }) => !hidden).map(nameOf)

    expect(operations.map(({ name }) => name.replaceAll(/{(\w+)}/g, ':$1')).sort()).toEqual(served.sort())
    for (const { name, operation } of operations)
      expect(operation.parameters?.map((parameter) => parameter.name) ?? []).toEqual(
        [...name.matchAll(/{(\w+)}/g)].map(([, parameter]) => parameter),
      )
  })

  test('has every code of a problem', () => {
    // The check `fresh` is for features. No route of the core has it.
    const codes = new Set([...operations.flatMap(codesOf), 'reauthentication_required'])
    expect([...codes].sort()).toEqual(Object.keys(problems).sort())
  })

  test('has the members that a problem has of its own', () => {
    const me = routes.find(({ name }) => name === 'me') as Route
    const sensitive = { ...me, checks: [...me.checks, fresh] }

    const { paths } = JSON.parse(
      JSON.stringify(openapiDocument({ publicUrl, cookieName: '', routes: [sensitive], problems })),
    )

    const { schema } = paths['/users/me'].get.responses['401'].content['application/problem+json']
    expect(schema.properties.methods).toEqual({ type: 'array', items: { type: 'string' } })
    expect(schema.properties.code.enum).toContain('reauthentication_required')
    expect(document.components.schemas.Problem.additionalProperties).not.toBe(false)
  })

  test.each([
    ['http://localhost:49152', 'refresh_token_49152'],
    ['https://auth.example.com', '__Host-refresh_token'],
  ])('of %s has this origin, and the name %s of the cookie [C1]', async (PUBLIC_URL, name) => {
    const on = await createTestApp({ PUBLIC_URL }, t.db)
    const { body } = await send(on.app, 'GET /openapi.json')
    await on.close()

    expect(body.servers).toEqual([{ url: PUBLIC_URL }])
    expect(body.components.securitySchemes.refreshToken.name).toBe(name)
  })

  test('is served', async () => {
    const served = await send(t.app, 'GET /openapi.json')

    expect(served.get('Content-Type')).toMatch(/^application\/json/)
    expect(served.body).toEqual(document)
  })
})

describe('what is documented is what is answered', () => {
  // These tests cannot cause the following codes. The tests of the features cause their own.
  const ofFeatures = features.flatMap((feature) => Object.keys(feature.problems))
  const elsewhere = [
    'internal_error',
    'overloaded',
    'registration_closed',
    'too_many_attempts',
    ...ofFeatures,
  ]
  let expired: Client
  let stale: Client
  let ended: Client
  beforeAll(async () => {
    expired = await register(t.app)
    await t.pass(600)
    stale = await register(t.app)
    await t.pass(301)
    ended = await register(t.app)
    await logout(t.app, ended.refreshToken).expect(204)
  })

  test.each(operations)('$name: success', async (documented) => {
    const { operation, pointer } = documented
    const client = await register(t.app)
    const body = bodyFor(documented, client, await linkTokenFor(t, routeOf(documented), client))

    const response = await ask(documented, client, { body })

    const inOtherModes = documented.name === 'POST /auth/register' ? ['202'] : []
    expect(Object.keys(operation.responses).filter((status) => status < '300')).toEqual([
      String(response.status),
      ...inOtherModes,
    ])
    expectDocumented(documented, response)
    expect(operation.requestBody?.required ?? false).toBe(body !== undefined)
    if (!operation.requestBody) return
    const schema = `${pointer}/requestBody/content/application~1json/schema`
    expect(faultsOf(body ?? {}, schema)).toBeUndefined()
    expect(faultsOf({ ...body, more: 1 }, schema)).toBeDefined()
  })

  test.each(operations)('$name: every problem, and the credentials to send', async (documented) => {
    const client = await register(t.app)
    const { email } = client
    const reused = await register(t.app)
    await refresh(t.app, refreshTokenOf(await refresh(t.app, reused.refreshToken)))
    const token = await linkTokenFor(t, routeOf(documented), client)
    const more: Record<string, Presented[]> = {
      'POST /auth/register': [
        { body: { email, password } },
        { body: { email: newEmail(), password: 'short' } },
      ],
      'POST /auth/reauthenticate': [{ body: { password: otherPassword } }],
      'POST /auth/register/confirm': [{ body: { token, password: otherPassword } }],
      'POST /auth/login': [{ body: { email, password: otherPassword } }],
      'POST /auth/password': [
        { body: { currentPassword: password, newPassword: 'short' } },
        { body: { currentPassword: otherPassword, newPassword: password } },
      ],
      'POST /auth/password/reset': [{ body: { token, newPassword: 'short' } }],
      'POST /auth/email': [{ as: stale }],
      'POST /auth/email/confirm': [
        { body: { token, password: otherPassword }, as: undefined },
        { body: { token }, headers: { Authorization: 'Basic YTpi' } },
      ],
      'POST /auth/email/verify': [
        { body: { token, password: otherPassword }, as: undefined },
        { body: { token }, headers: { Authorization: 'Basic YTpi' } },
      ],
    }

    const answers = [
      await send(t.app, `PUT ${documented.name.split(' ')[1]}`),
      await ask(documented, client, { headers: { Origin: 'null' } }),
      await ask(documented, client, { body: ' '.repeat(8193) }),
      await ask(documented, client, { body: '{}', headers: { 'Content-Type': 'text/plain' } }),
      await ask(documented, client, { body: '{' }),
      await ask(documented, client, { body: '[]' }),
      await ask(documented, client, { id: 'unknown' }),
      await ask(documented, client, { as: undefined, token: undefined }),
      await ask(documented, client, { as: { accessToken: 'a.b.c' }, token: 'a.b.c' }),
      await ask(documented, expired),
      await ask(documented, ended),
      await ask(documented, reused, { as: client }),
    ]
    for (const presented of more[documented.name] ?? [])
      answers.push(await ask(documented, await register(t.app), presented))
    await withoutDatabase(t.db, async () => answers.push(await ask(documented, client)))

    for (const answer of answers) expectDocumented(documented, answer)
    const codes = new Set(answers.flatMap(({ body }) => body?.code ?? []))
    expect([...codes].sort()).toEqual(
      codesOf(documented)
        .filter((code) => !elsewhere.includes(code))
        .sort(),
    )
    const needed = ['access', 'refresh'].filter((kind) => codes.has(`${kind}_token_missing`))
    const { optional } = routeOf(documented)
    expect(documented.operation.security ?? []).toEqual(
      optional ? [{ [optional]: [] }, {}] : needed.map((kind) => ({ [`${kind}Token`]: [] })),
    )
  })

  test.each([
    ['a status', { status: 418 }],
    ['a member', { body: { status: 'ok', more: 1 } }],
    ['a value', { body: { status: 'fine' } }],
    ['a missing member', { body: {} }],
    ['a media type', { header: { 'content-type': 'text/html', 'x-request-id': '1' } }],
    ['a header', { header: { 'content-type': 'application/json', 'x-request-id': '1', allow: 'GET' } }],
    ['a missing header', { header: { 'content-type': 'application/json' } }],
  ])('%s other than documented would be noticed', async (_what, difference) => {
    const livez = operations.find(({ name }) => name === 'GET /livez') as Documented
    const answer = await send(t.app, 'GET /livez')

    expectDocumented(livez, answer)
    expect(() => expectDocumented(livez, Object.assign(answer, difference))).toThrow()
  })
})

describe('the page', () => {
  test('has a policy of its own, and nothing inline or from elsewhere', async () => {
    const { text, headers } = await send(t.app, 'GET /docs')

    expect(headers['content-type']).toMatch(/^text\/html/)
    expect(headers['content-security-policy']).toBe(
      "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    )
    expect(text).not.toMatch(/<style|\sstyle=|\son\w+=|<script(?![^>]* src=)|<script[^>]*>[^<]/i)
    expect([...text.matchAll(/ (?:src|href)="(.*?)"/g)].map(([, address]) => address)).toEqual([
      'data:,',
      '/docs/swagger-ui.css',
      '/docs/swagger-ui-bundle.js',
      '/docs/start.js',
    ])
  })

  test.each([
    ['swagger-ui.css', 'text/css; charset=utf-8', /\.swagger-ui/],
    ['swagger-ui-bundle.js', 'text/javascript; charset=utf-8', /SwaggerUIBundle/],
    ['start.js', 'text/javascript; charset=utf-8', /^SwaggerUIBundle\((?!.*persist).*validatorUrl: null/],
  ])('is made of %s', async (file, type, content) => {
    const response = await send(t.app, `GET /docs/${file}`)

    expect(response.status).toBe(200)
    expect(response.get('Content-Type')).toBe(type)
    expect(response.text).toMatch(content)
  })

  test.each([
    '',
    'index.html',
    'package.json',
    'swagger-ui.js',
    'swagger-ui-bundle.js.map',
    'swagger-ui.css/',
    'swagger-ui.css%00',
    '..%2fpackage.json',
    '..%2f..%2fpackage.json',
    '..%5cpackage.json',
    '%2fetc%2fpasswd',
    '__proto__',
    'constructor',
  ])('is not made of "%s"', async (file) => {
    const response = await send(t.app, `GET /docs/${file}`)

    expect(response.status).toBe(404)
    expect(response.body.code).toBe('not_found')
  })

  test.each(['/openapi.json', '/docs/swagger-ui.css', '/docs/unknown', '/users/me', '/livez', '/nowhere'])(
    'leaves the policy of %s as strict as it is',
    async (path) => {
      expect((await send(t.app, `GET ${path}`)).get('Content-Security-Policy')).toBe(
        "default-src 'none';frame-ancestors 'none'",
      )
    },
  )
})
