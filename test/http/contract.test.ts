import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { request as httpRequest } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals'
import { sql } from 'drizzle-orm'
import jwt from 'jsonwebtoken'
import request from 'supertest'
import {
  bearer,
  type Client,
  clearsCookie,
  clientOf,
  cookie,
  createTestApp,
  login,
  newEmail,
  password,
  publicUrl,
  refresh,
  refreshCookieOf,
  refreshSecret,
  register,
  type TestApp,
} from '../support/app.ts'
import { databaseName } from '../support/database.ts'

// Of embedded databases on a busy machine: each takes seconds to start.
jest.setTimeout(30_000)

let t: TestApp
let someone: Client
let ended: Client
beforeAll(async () => {
  t = await createTestApp()
  someone = await register(t.app)
  ended = await login(t.app, someone.email)
  await request(t.app).post('/auth/logout').set('Cookie', cookie(ended.refreshToken)).expect(204)
})
afterAll(() => t.close())

const iso = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/
const methods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE']

/** Every route, by what the contract says of it. */
const routes: { path: string; allow: string[]; body?: 'none' | 'members'; bearer?: boolean }[] = [
  { path: '/auth/register', allow: ['POST'], body: 'members' },
  { path: '/auth/login', allow: ['POST'], body: 'members' },
  { path: '/auth/refresh', allow: ['POST'], body: 'none' },
  { path: '/auth/logout', allow: ['POST'], body: 'none' },
  { path: '/auth/logout-all', allow: ['POST'], body: 'none', bearer: true },
  { path: '/auth/sessions', allow: ['GET', 'HEAD'], bearer: true },
  { path: '/auth/sessions/AAAAAAAAAAAAAAAAAAAAAA', allow: ['DELETE'], body: 'none', bearer: true },
  { path: '/auth/password', allow: ['POST'], body: 'members', bearer: true },
  { path: '/users/me', allow: ['GET', 'HEAD'], bearer: true },
  { path: '/.well-known/jwks.json', allow: ['GET', 'HEAD'] },
  { path: '/livez', allow: ['GET', 'HEAD'] },
  { path: '/readyz', allow: ['GET', 'HEAD'] },
]
const bearerRoutes = routes.filter(({ bearer }) => bearer)
const bodyRoutes = routes.filter(({ body }) => body)
const methodOf = ({ allow }: { allow: string[] }) => allow[0]?.toLowerCase() as 'get' | 'post' | 'delete'

const send = (method: string, path: string, on = t) => request(on.app)[method.toLowerCase() as 'get'](path)
const post = (path: string) => request(t.app).post(path)

/** Sends a body byte for byte. */
const postBytes = (path: string, bytes: Buffer | string, type = 'application/json') =>
  post(path)
    .set('Content-Type', type)
    .serialize((body) => body)
    .send(bytes)

/** A request to a route that could be served, but for what the test makes of it. */
const goodRequest = (route: (typeof routes)[number], client = someone) => {
  const sending = send(methodOf(route), route.path).set('Cookie', cookie(client.refreshToken))
  return route.bearer ? sending.set('Authorization', bearer(client)) : sending
}

/** A problem document by the contract, and nothing in it that was sent. */
function expectProblem(response: request.Response, status: number, code: string, sent: string[] = []) {
  expect({ status: response.status, code: response.body.code }).toEqual({ status, code })
  expect(response.get('Content-Type')).toMatch(/^application\/problem\+json(; charset=utf-8)?$/)
  const { errors, ...rest } = response.body
  expect(rest).toEqual({
    type: expect.stringMatching(/^\w+:/),
    title: expect.stringMatching(/./),
    status,
    code,
    detail: expect.stringMatching(/./),
    requestId: response.get('X-Request-Id'),
  })
  if (errors !== undefined) {
    expect(errors.length).toBeGreaterThan(0)
    for (const error of errors)
      expect(error).toEqual({ path: expect.any(String), message: expect.stringMatching(/./) })
  }
  expect(response.get('X-Request-Id')).toMatch(/./)
  expect(response.get('Cache-Control')).toBe('no-store')
  for (const text of sent) expect(response.text + JSON.stringify(response.headers)).not.toContain(text)
}

const paths = (response: request.Response) =>
  (response.body.errors as { path: string }[] | undefined)?.map(({ path }) => path).sort()

const userCount = async () => {
  const [row] = await t.db.rows<{ count: number }>(sql`SELECT count(*)::int AS count FROM users`)
  return row?.count
}

const sessionRow = async ({ sessionId }: Client) => {
  const [row] = await t.db.rows(sql`SELECT * FROM sessions WHERE id = ${sessionId}`)
  return row
}

describe(`success, on ${databaseName}`, () => {
  test.each([
    { path: '/auth/register', status: 201 },
    { path: '/auth/login', status: 200 },
    { path: '/auth/refresh', status: 200 },
  ])('POST $path: $status, the token answer', async ({ path, status }) => {
    const client = await register(t.app)
    const email = path === '/auth/register' ? newEmail() : client.email
    const sending = post(path)

    const response = await (path === '/auth/refresh'
      ? sending.set('Cookie', cookie(client.refreshToken))
      : sending.send({ email, password }))

    expect(response.status).toBe(status)
    expect(response.get('Content-Type')).toMatch(/^application\/json/)
    expect(response.body).toEqual({
      accessToken: expect.any(String),
      tokenType: 'Bearer',
      expiresIn: 900,
      user: {
        id: expect.any(String),
        email,
        role: 'user',
        emailVerified: false,
        createdAt: expect.stringMatching(iso),
      },
    })
    const { header, payload } = jwt.decode(response.body.accessToken, { complete: true }) as jwt.Jwt
    expect(header).toEqual({ alg: 'HS256', typ: 'at+jwt', kid: expect.any(String) })
    const { iat } = payload as jwt.JwtPayload
    expect(payload).toEqual({
      iss: publicUrl,
      aud: publicUrl,
      sub: response.body.user.id,
      client_id: 'first-party',
      sid: clientOf(response).sessionId,
      role: 'user',
      jti: expect.any(String),
      iat,
      exp: Number(iat) + 900,
    })
    await request(t.app)
      .get('/users/me')
      .set('Authorization', bearer(clientOf(response)))
      .expect(200)
  })

  test.each<{ what: string; send: (client: Client) => request.Test }>([
    {
      what: 'POST /auth/logout',
      send: ({ refreshToken }) => post('/auth/logout').set('Cookie', cookie(refreshToken)),
    },
    {
      what: 'POST /auth/logout-all',
      send: (client) => post('/auth/logout-all').set('Authorization', bearer(client)),
    },
    {
      what: 'DELETE /auth/sessions/:id',
      send: (client) =>
        send('delete', `/auth/sessions/${client.sessionId}`).set('Authorization', bearer(client)),
    },
    {
      what: 'POST /auth/password',
      send: (client) =>
        post('/auth/password')
          .set('Authorization', bearer(client))
          .send({ currentPassword: password, newPassword: 'my cat is called tux' }),
    },
  ])('$what: 204 without a body', async ({ send }) => {
    const client = await register(t.app)

    const response = await send(client)

    expect(response.status).toBe(204)
    expect(response.text).toBe('')
    expect(response.get('Content-Type')).toBeUndefined()
    expect(response.get('Cache-Control')).toBe('no-store')
  })

  test('GET /auth/sessions: 200, the list', async () => {
    const client = await register(t.app)

    const response = await send('get', '/auth/sessions').set('Authorization', bearer(client))

    expect(response.status).toBe(200)
    expect(response.body).toEqual({
      sessions: [
        {
          id: client.sessionId,
          current: true,
          createdAt: expect.stringMatching(iso),
          lastUsedAt: expect.stringMatching(iso),
          expiresAt: expect.stringMatching(iso),
          userAgent: null,
          ip: expect.any(String),
        },
      ],
    })
  })

  test('GET /users/me: 200, the user', async () => {
    const response = await send('get', '/users/me').set('Authorization', bearer(someone))

    expect(response.status).toBe(200)
    expect(response.body).toEqual({
      id: someone.userId,
      email: someone.email,
      role: 'user',
      emailVerified: false,
      createdAt: expect.stringMatching(iso),
    })
  })

  test('GET /.well-known/jwks.json: 200, no keys under HS256', async () => {
    const response = await send('get', '/.well-known/jwks.json')

    expect(response.status).toBe(200)
    expect(response.get('Content-Type')).toMatch(/^application\/(jwk-set\+)?json/)
    expect(response.body).toEqual({ keys: [] })
  })

  test.each(routes.filter(({ allow }) => allow.includes('HEAD')))(
    'HEAD comes with GET: $path',
    async (route) => {
      const get = await goodRequest(route)

      const head = await send('head', route.path).set('Authorization', bearer(someone))

      expect(get.status).toBe(200)
      expect(head.status).toBe(200)
      expect(head.text).toBeFalsy()
      expect(head.get('Content-Type')).toBe(get.get('Content-Type'))
    },
  )
})

describe('health', () => {
  test('GET /livez and /readyz: 200', async () => {
    const [live, ready] = [await send('get', '/livez'), await send('get', '/readyz')]

    expect(live.status).toBe(200)
    expect(live.body).toEqual({ status: 'ok' })
    expect(ready.status).toBe(200)
    expect(ready.body).toEqual({ status: 'ok', checks: { database: 'ok', keys: 'ok' } })
  })

  test('G2 with the database out of reach: not ready but alive, 503 with Retry-After for the rest, and back by itself', async () => {
    const refused = async () => {
      throw Object.assign(new Error('connect ECONNREFUSED 127.0.0.1:5432'), { code: 'ECONNREFUSED' })
    }
    const { $client } = t.db.database.queries as unknown as { $client: Record<string, unknown> }
    Object.assign($client, { query: refused, connect: refused, transaction: refused })
    const live = await send('get', '/livez')
    const ready = await send('get', '/readyz')
    const rest = [
      await post('/auth/register').send({ email: newEmail(), password }),
      await post('/auth/login').send({ email: someone.email, password }),
      ...(await Promise.all(
        bearerRoutes.filter(({ body }) => body !== 'members').map((route) => goodRequest(route)),
      )),
    ]
    for (const name of ['query', 'connect', 'transaction']) delete $client[name]
    const again = await send('get', '/readyz')

    expect(live.status).toBe(200)
    expect(ready.status).toBe(503)
    expect(ready.get('Content-Type')).toMatch(/^application\/json/)
    expect(ready.body).toEqual({
      status: expect.any(String),
      checks: { database: 'unreachable', keys: 'ok' },
    })
    for (const response of rest) {
      expectProblem(response, 503, 'unavailable', ['ECONNREFUSED', 'users'])
      expect(response.get('Set-Cookie')).toBeUndefined()
    }
    for (const response of [ready, ...rest]) expect(Number(response.get('Retry-After'))).toBeGreaterThan(0)
    expect(again.status).toBe(200)
    expect(again.body.status).toBe('ok')
  })

  test('with the keys out of reach: ready as long as the last good ones serve, 503 when they are too old', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'auth-secrets-'))
    const file = join(folder, 'refresh')
    writeFileSync(file, refreshSecret)
    const u = await createTestApp({ JWT_REFRESH_SECRET: '', JWT_REFRESH_SECRET_FILE: file })
    rmSync(folder, { recursive: true })
    const { accessToken } = await register(u.app)
    const [, payload, signature] = accessToken.split('.')
    const header = Buffer.from('{"alg":"HS256","typ":"at+jwt","kid":"unknown"}').toString('base64url')

    // A key nobody knows has the keys loaded again.
    await send('get', '/users/me', u).set('Authorization', `Bearer ${header}.${payload}.${signature}`)
    const unreachable = await send('get', '/readyz', u)
    await u.pass(86_401)
    const stale = await send('get', '/readyz', u)
    const refusedLogin = await request(u.app).post('/auth/register').send({ email: newEmail(), password })
    await u.close()

    expect(unreachable.status).toBe(200)
    expect(unreachable.body.checks).toEqual({ database: 'ok', keys: 'unreachable' })
    expect(stale.status).toBe(503)
    expect(stale.get('Retry-After')).toMatch(/^[1-9]\d*$/)
    expect(stale.body.checks).toEqual({ database: 'ok', keys: 'stale' })
    expectProblem(refusedLogin, 503, 'unavailable')
  })
})

describe('routes and methods', () => {
  test.each([
    '/',
    '/nowhere',
    '/auth',
    '/auth/',
    '/auth/login/',
    '/auth/Login',
    '/AUTH/login',
    '//auth/login',
    '/auth/sessions/',
    '/auth/sessions/a/b',
    '/users',
    '/users/me/',
    '/users/__proto__',
    '/metrics',
    '/auth/%zz',
    '/auth/login%00',
    '/.env',
  ])('%s is nowhere: 404, for every method', async (path) => {
    for (const method of methods.filter((name) => name !== 'HEAD'))
      expectProblem(await send(method, path), 404, 'not_found')
    expect((await send('head', path)).status).toBe(404)
  })

  test.each(routes)('F4 $path has $allow only: others are 405 with Allow', async ({ path, allow }) => {
    const before = await sessionRow(someone)

    for (const method of methods.filter((name) => !allow.includes(name))) {
      const response = await send(method, path)
        .set('Authorization', bearer(someone))
        .set('Cookie', cookie(someone.refreshToken))
      if (method === 'HEAD') expect(response.status).toBe(405)
      else expectProblem(response, 405, 'method_not_allowed')
      expect(response.get('Allow')?.split(', ').sort()).toEqual([...allow].sort())
      expect(response.get('Set-Cookie')).toBeUndefined()
    }
    expect(await sessionRow(someone)).toEqual(before)
  })
})

describe('bearer routes', () => {
  test.each(bearerRoutes)('$path without a token: 401 access_token_missing', async ({ path, allow }) => {
    const response = await send(methodOf({ allow }), path)

    expectProblem(response, 401, 'access_token_missing')
    expect(response.get('WWW-Authenticate')).toBe('Bearer')
  })

  test.each(bearerRoutes)('$path with a session that has ended: 401 session_ended', async (route) => {
    const body =
      route.path === '/auth/password' ? { currentPassword: password, newPassword: password } : undefined

    const response = await goodRequest(route, ended).send(body)

    expectProblem(response, 401, 'session_ended')
    expect(response.get('WWW-Authenticate')).toBe('Bearer error="invalid_token"')
    expect(refreshCookieOf(response)).toBeUndefined()
  })

  test.each([
    { header: 'Basic dXNlcjpwYXNz', code: 'access_token_missing' },
    { header: 'Bearer', code: 'access_token_missing' },
    { header: 'Bearer ', code: 'access_token_missing' },
    { header: 'Bearer secret-of-mine', code: 'access_token_invalid' },
    { header: 'bearer a.b.c', code: 'access_token_invalid' },
  ])('Authorization: $header is 401 $code', async ({ header, code }) => {
    const response = await send('get', '/users/me').set('Authorization', header)

    expectProblem(response, 401, code, ['secret-of-mine'])
    expect(response.get('WWW-Authenticate')).toBe(
      code === 'access_token_missing' ? 'Bearer' : 'Bearer error="invalid_token"',
    )
  })

  test('A10 an access token in the query, the body or a cookie is none', async () => {
    const response = await send('get', `/users/me?access_token=${someone.accessToken}`).set(
      'Cookie',
      `access_token=${someone.accessToken}; ${cookie(someone.accessToken)}`,
    )

    expectProblem(response, 401, 'access_token_missing', [someone.accessToken])
  })

  test('an expired token: 401 access_token_expired', async () => {
    const client = await register(t.app)
    const { accessToken } = client
    await t.pass(901)
    const response = await send('get', '/users/me').set('Authorization', `Bearer ${accessToken}`)
    await t.pass(-901)

    expectProblem(response, 401, 'access_token_expired')
    expect(response.get('WWW-Authenticate')).toBe('Bearer error="invalid_token"')
  })
})

describe('media types', () => {
  const body = () => JSON.stringify({ email: someone.email, password })

  test.each([
    'application/json',
    'application/json; charset=utf-8',
    'application/json;charset=UTF-8',
    'Application/JSON; Charset="utf-8"',
  ])('%s is read', async (type) => {
    await postBytes('/auth/login', body(), type).expect(200)
  })

  test('a body of no declared type is read', async () => {
    const response = await rawRequest('POST', '/auth/login', {}, body())

    expect(response.status).toBe(200)
    expect(response.body.user.id).toBe(someone.userId)
  })

  test.each([
    'text/plain',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'application/problem+json',
    'application/jsonp',
    'text/json',
    'application/json; charset=utf-16',
    'application/json; charset=iso-8859-1',
    'application/json; charset=',
    'secret-of-mine',
  ])('F1 %s: 415 unsupported_media_type', async (type) => {
    const response = await postBytes('/auth/login', body(), type)

    expectProblem(response, 415, 'unsupported_media_type', ['secret-of-mine', someone.email])
    expect(refreshCookieOf(response)).toBeUndefined()
  })

  test.each(['gzip', 'deflate', 'br', 'zstd', 'x-unknown'])(
    'F1 Content-Encoding: %s is 415 unsupported_media_type',
    async (encoding) => {
      const response = await postBytes('/auth/login', body()).set('Content-Encoding', encoding)

      expectProblem(response, 415, 'unsupported_media_type')
      expect(refreshCookieOf(response)).toBeUndefined()
    },
  )
})

/** One request, word for word, with no header but those given. */
async function rawRequest(method: string, path: string, headers: Record<string, string>, body: string) {
  const server = t.app.listen(0)
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as AddressInfo
  try {
    return await new Promise<{ status: number | undefined; body: Record<string, any> }>((resolve, reject) => {
      const sending = httpRequest({ port, method, path, headers, agent: false }, (response) => {
        let text = ''
        response.setEncoding('utf8').on('data', (chunk) => {
          text += chunk
        })
        response.on('end', () => resolve({ status: response.statusCode, body: JSON.parse(text || '{}') }))
      })
      sending.on('error', reject)
      sending.end(body)
    })
  } finally {
    server.close()
  }
}

describe('size', () => {
  const padded = (bytes: number) => {
    const body = JSON.stringify({ email: someone.email, password })
    return body + ' '.repeat(bytes - body.length)
  }

  test('F1 8192 bytes are read, 8193 are 413 payload_too_large', async () => {
    const [fits, over] = [
      await postBytes('/auth/login', padded(8192)),
      await postBytes('/auth/login', padded(8193)),
    ]

    expect(fits.status).toBe(200)
    expectProblem(over, 413, 'payload_too_large', [someone.email])
  })

  test('F1 so it is for a body of no declared length', async () => {
    const chunked = { 'Transfer-Encoding': 'chunked', 'Content-Type': 'application/json' }
    const [fits, over] = [
      await rawRequest('POST', '/auth/login', chunked, padded(8192)),
      await rawRequest('POST', '/auth/login', chunked, padded(8193)),
    ]

    expect(fits.status).toBe(200)
    expect(over).toMatchObject({ status: 413, body: { code: 'payload_too_large' } })
  })
})

describe('JSON', () => {
  const utf16 = (text: string) => Buffer.from(text, 'utf16le')
  const credentials = '{"email":"secret-of-mine@example.com","password":"x"}'

  test.each<{ fault: string; body: Buffer | string }>([
    {
      fault: 'a byte that is not UTF-8',
      body: Buffer.from([...Buffer.from('{"a":"'), 0xff, ...Buffer.from('"}')]),
    },
    {
      fault: 'an overlong encoding',
      body: Buffer.from([...Buffer.from('{"a":"'), 0xc0, 0x80, ...Buffer.from('"}')]),
    },
    {
      fault: 'an encoded surrogate',
      body: Buffer.from([...Buffer.from('{"a":"'), 0xed, 0xa0, 0x80, ...Buffer.from('"}')]),
    },
    { fault: 'text cut in a character', body: Buffer.from('{"a":"é"}').subarray(0, 7) },
    { fault: 'UTF-16', body: utf16(credentials) },
    {
      fault: 'UTF-16 with a byte order mark',
      body: Buffer.concat([Buffer.from([0xff, 0xfe]), utf16(credentials)]),
    },
    { fault: 'truncated', body: credentials.slice(0, -1) },
    { fault: 'white space only', body: ' ' },
    { fault: 'two documents', body: `${credentials}${credentials}` },
    { fault: 'a trailing comma', body: '{"email":"secret-of-mine",}' },
    { fault: 'a comment', body: `${credentials} // secret-of-mine` },
    { fault: 'single quotes', body: "{'email':'secret-of-mine'}" },
    { fault: 'a bare word', body: 'secret-of-mine' },
    { fault: 'NaN', body: '{"email":NaN}' },
    { fault: 'a line end in text', body: '{"email":"secret-of-mine\n"}' },
    { fault: 'a member twice', body: '{"email":"a@example.com","email":"b@example.com","password":"x"}' },
    { fault: 'a member twice with one value', body: '{"email":1,"email":1}' },
    { fault: 'a member twice, once escaped', body: '{"a":1,"\\u0061":2}' },
    { fault: 'a member twice, inside', body: '{"a":{"b":{"c":1,"d":2,"c":3}}}' },
    { fault: 'a member twice, in an array', body: '[[{"c":1,"c":3}]]' },
    { fault: 'a member twice, another object between', body: '{"a":1,"b":{"a":1},"a":2}' },
    { fault: '__proto__ twice', body: '{"__proto__":1,"__proto__":2}' },
    { fault: 'an empty name twice', body: '{"":1,"":2}' },
    { fault: '33 arrays deep', body: '['.repeat(33) + ']'.repeat(33) },
    { fault: '33 objects deep', body: `${'{"a":'.repeat(33)}1${'}'.repeat(33)}` },
    { fault: '4000 arrays deep', body: '['.repeat(4000) + ']'.repeat(4000) },
    { fault: '8000 arrays deep, not closed', body: '['.repeat(8000) },
    { fault: '1300 objects deep', body: `${'{"a":'.repeat(1300)}1${'}'.repeat(1300)}` },
  ])('F1 $fault: 400 invalid_json', async ({ body }) => {
    const response = await postBytes('/auth/login', body)

    expectProblem(response, 400, 'invalid_json', ['secret-of-mine'])
    expect(paths(response)).toBeUndefined()
  })

  test.each<{ what: string; body: string }>([
    { what: 'names that are equal in different objects', body: '{"a":{"a":{"a":1}},"b":[{"a":1},{"a":2}]}' },
    { what: 'names that differ in case', body: '{"a":1,"A":2}' },
    { what: '32 arrays deep', body: '['.repeat(32) + ']'.repeat(32) },
    { what: '32 objects deep', body: `${'{"a":'.repeat(32)}1${'}'.repeat(32)}` },
    { what: 'many arrays, none deep', body: `[${Array(2000).fill('[]').join()}]` },
  ])('F1 $what: JSON, if not what was asked for', async ({ body }) => {
    expectProblem(await postBytes('/auth/login', body), 400, 'invalid_request')
  })
})

describe('members', () => {
  const address = 'someone@example.com'
  const both = ['email', 'password']
  const marker = 'secret-of-mine'

  test.each<{ fault: string; body?: unknown; at: string[] }>([
    { fault: 'an array', body: [marker], at: [''] },
    { fault: 'null', body: null, at: [''] },
    { fault: 'text', body: marker, at: [''] },
    { fault: 'a number', body: 1, at: [''] },
    { fault: 'true', body: true, at: [''] },
    { fault: 'an empty object', body: {}, at: both },
    { fault: 'no password', body: { email: address }, at: ['password'] },
    { fault: 'no email', body: { password: marker }, at: ['email'] },
    { fault: 'null members', body: { email: null, password: null }, at: both },
    { fault: 'members in arrays', body: { email: [address], password: [marker] }, at: both },
    {
      fault: 'members that are objects',
      body: { email: { [marker]: 1 }, password: { length: 20 } },
      at: both,
    },
    { fault: 'members that are numbers', body: { email: 1, password: 123456789012345 }, at: both },
    { fault: 'members that are booleans', body: { email: true, password: false }, at: both },
    { fault: 'an unknown member', body: { email: address, password, [marker]: 1 }, at: [''] },
    {
      fault: 'an unknown member in another case',
      body: { email: address, password, Password: marker },
      at: [''],
    },
    {
      fault: 'an unknown member and a missing one',
      body: { email: address, role: marker },
      at: ['', 'password'],
    },
    {
      fault: 'a member named constructor',
      body: { email: address, password, constructor: marker },
      at: [''],
    },
    { fault: 'a member named toString', body: { email: address, password, toString: marker }, at: [''] },
    {
      fault: 'NUL in the password',
      body: { email: address, password: `${password}\0${marker}` },
      at: ['password'],
    },
    { fault: 'NUL in the email', body: { email: `some\0one@example.com`, password }, at: ['email'] },
    {
      fault: 'half a surrogate pair',
      body: { email: address, password: `${password}\ud800` },
      at: ['password'],
    },
    { fault: 'an empty email', body: { email: '', password }, at: ['email'] },
    { fault: 'white space for an email', body: { email: '  ', password }, at: ['email'] },
    { fault: 'an email without @', body: { email: marker, password }, at: ['email'] },
    { fault: 'an email without a name', body: { email: '@example.com', password }, at: ['email'] },
    { fault: 'an email without a domain', body: { email: `${marker}@`, password }, at: ['email'] },
    { fault: 'two addresses', body: { email: `${address},${address}`, password }, at: ['email'] },
    {
      fault: 'an email with white space inside',
      body: { email: 'some one@example.com', password },
      at: ['email'],
    },
    {
      fault: 'an email with a line end inside',
      body: { email: `${address}\nBcc: x@example.com`, password },
      at: ['email'],
    },
    {
      fault: 'an email with a display name',
      body: { email: `${marker} <${address}>`, password },
      at: ['email'],
    },
    {
      fault: 'an email over 254',
      body: { email: `${'a'.repeat(60)}@${'b.'.repeat(96)}com`, password },
      at: ['email'],
    },
    { fault: 'an email with an umlaut', body: { email: 'jürgen@example.com', password }, at: ['email'] },
    {
      fault: 'an email with a Kelvin sign',
      body: { email: '\u212Aate@example.com', password },
      at: ['email'],
    },
    {
      fault: 'an email with a dotted capital I',
      body: { email: 'hat\u0130ce@example.com', password },
      at: ['email'],
    },
    {
      fault: 'an email with a full-width letter',
      body: { email: '\uff4bate@example.com', password },
      at: ['email'],
    },
    {
      fault: 'an email padded with no-break space',
      body: { email: `\u00a0${address}`, password },
      at: ['email'],
    },
    {
      fault: 'an email in another domain script',
      body: { email: 'someone@exämple.com', password },
      at: ['email'],
    },
  ])('F1 $fault: 400 invalid_request at $at, at login and registration', async ({ body, at }) => {
    const before = await userCount()

    for (const path of ['/auth/login', '/auth/register']) {
      const response = await postBytes(path, JSON.stringify(body))
      expectProblem(response, 400, 'invalid_request', [marker, 'Password"'])
      expect([...new Set(paths(response))]).toEqual(at)
      expect(refreshCookieOf(response)).toBeUndefined()
    }
    expect(await userCount()).toBe(before)
  })

  test.each(['/auth/login', '/auth/register'])('%s without a body: 400 invalid_request', async (path) => {
    for (const response of [await post(path), await post(path).set('Content-Type', 'application/json')]) {
      expectProblem(response, 400, 'invalid_request')
      expect(paths(response)).toEqual([''])
    }
  })

  test.each([
    { body: {}, at: ['currentPassword', 'newPassword'] },
    { body: { currentPassword: marker }, at: ['newPassword'] },
    { body: { currentPassword: 1, newPassword: null }, at: ['currentPassword', 'newPassword'] },
    { body: { currentPassword: password, newPassword: `new\0${marker}` }, at: ['newPassword'] },
    { body: { currentPassword: password, newPassword: marker, [marker]: 1 }, at: [''] },
  ])('/auth/password with faults at $at: 400 invalid_request', async ({ body, at }) => {
    const response = await post('/auth/password').set('Authorization', bearer(someone)).send(body)

    expectProblem(response, 400, 'invalid_request', [marker])
    expect(paths(response)).toEqual(at)
    await login(t.app, someone.email)
  })

  test('an email may have 254 characters, and not 255', async () => {
    const longest = `${'a'.repeat(63)}@${'b'.repeat(60)}.${'c'.repeat(60)}.${'d'.repeat(60)}.example`
    expect(longest).toHaveLength(254)

    const fits = await post('/auth/login').send({ email: ` ${longest} `, password })
    const over = await post('/auth/login').send({ email: `a${longest}`, password })

    expectProblem(fits, 401, 'invalid_credentials')
    expectProblem(over, 400, 'invalid_request')
    expect(paths(over)).toEqual(['email'])
  })

  test('an e-mail address is trimmed and lower-cased, returned so, and one account whatever the spelling', async () => {
    const email = newEmail()
    const spelling = `  ${email.toUpperCase()}\t`

    const registered = await post('/auth/register').send({ email: spelling, password })
    const again = await post('/auth/register').send({ email, password })
    const loggedIn = await post('/auth/login').send({ email: `${email.replace('user', 'uSeR')} `, password })

    expect(registered.status).toBe(201)
    expect(registered.body.user.email).toBe(email)
    expectProblem(again, 409, 'email_taken', [email])
    expect(loggedIn.status).toBe(200)
    expect(loggedIn.body.user).toEqual(registered.body.user)
    const rows = await t.db.rows(sql`SELECT email FROM users WHERE lower(email) = ${email}`)
    expect(rows).toEqual([{ email }])
  })

  test('a password is taken as it is: white space and case count', async () => {
    const { email } = await register(t.app)

    for (const wrong of [` ${password}`, `${password} `, password.toUpperCase()])
      expectProblem(await post('/auth/login').send({ email, password: wrong }), 401, 'invalid_credentials', [
        wrong,
      ])
  })

  test('an address that is taken: 409 email_taken, and the account stays as it was', async () => {
    const { email, userId } = await register(t.app)
    const rows = () => t.db.rows(sql`SELECT * FROM users WHERE id = ${userId}`)
    const before = await rows()

    const response = await post('/auth/register').send({ email, password: 'my cat is called tux' })

    expectProblem(response, 409, 'email_taken', [email])
    expect(refreshCookieOf(response)).toBeUndefined()
    expect(await rows()).toEqual(before)
  })

  test('of parallel registrations of one address, one succeeds', async () => {
    const email = newEmail()

    const responses = await Promise.all(
      Array.from({ length: 5 }, () => post('/auth/register').send({ email, password })),
    )

    expect(responses.map(({ status }) => status).sort()).toEqual([201, 409, 409, 409, 409])
    const rows = await t.db.rows(sql`SELECT id FROM users WHERE email = ${email}`)
    expect(rows).toHaveLength(1)
  })

  test('a password that is not good enough: 400 password_rejected at its path, no account', async () => {
    const email = newEmail()

    const response = await post('/auth/register').send({ email, password: 'too short' })

    expectProblem(response, 400, 'password_rejected', [email, 'too short'])
    expect(paths(response)).toEqual(['password'])
    expect(await t.db.rows(sql`SELECT id FROM users WHERE email = ${email}`)).toEqual([])
  })

  test('unknown, wrong and disabled: one answer', async () => {
    const disabled = await register(t.app)
    await t.db.rows(sql`UPDATE users SET disabled_at = now() WHERE id = ${disabled.userId}`)

    const responses = [
      await post('/auth/login').send({ email: newEmail(), password }),
      await post('/auth/login').send({ email: someone.email, password: 'not my password at all' }),
      await post('/auth/login').send({ email: disabled.email, password }),
    ]

    for (const response of responses) expectProblem(response, 401, 'invalid_credentials')
    const comparable = responses.map(({ body, headers }) => {
      const { requestId: _id, ...problem } = body
      const { 'x-request-id': _header, date: _date, ...rest } = headers
      return { problem, rest }
    })
    expect(comparable[1]).toEqual(comparable[0])
    expect(comparable[2]).toEqual(comparable[0])
  })
})

describe('routes without a body', () => {
  const bodyless = routes.filter(({ body }) => body === 'none')
  // A session for each test, because most of these routes end it.
  const fresh = async (route: (typeof routes)[number]) => {
    const client = await register(t.app)
    const other = await login(t.app, client.email)
    const path = route.path.replace('AAAAAAAAAAAAAAAAAAAAAA', other.sessionId)
    return () => goodRequest({ ...route, path }, client)
  }

  test.each(bodyless)('$path accepts none and {}', async (route) => {
    for (const withBody of [
      (sending: request.Test) => sending,
      (sending: request.Test) => sending.set('Content-Type', 'application/json'),
      (sending: request.Test) => sending.send({}),
    ]) {
      const response = await withBody((await fresh(route))())
      expect(response.ok).toBe(true)
    }
  })

  test.each(
    bodyless.flatMap((route) =>
      [
        { body: '{"secret-of-mine":1}', status: 400, code: 'invalid_request' },
        { body: '[]', status: 400, code: 'invalid_request' },
        { body: 'null', status: 400, code: 'invalid_request' },
        { body: '""', status: 400, code: 'invalid_request' },
        { body: '{', status: 400, code: 'invalid_json' },
        { body: ' '.repeat(8193), status: 413, code: 'payload_too_large' },
      ].map((row) => ({ ...row, route, path: route.path, start: row.body.slice(0, 20) })),
    ),
  )('$path refuses $start: $status $code, no effect', async ({ route, body, status, code }) => {
    const before = await sessionRow(someone)

    const response = await goodRequest(route)
      .set('Content-Type', 'application/json')
      .serialize((text) => text)
      .send(body)

    expectProblem(response, status, code, ['secret-of-mine'])
    expect(refreshCookieOf(response)).toBeUndefined()
    expect(await sessionRow(someone)).toEqual(before)
  })
})

describe('order of checks', () => {
  const crossSite = { Origin: 'https://evil.example' }
  const big = `{${' '.repeat(9000)}`
  const withBody = (sending: request.Test, type: string, body: string) =>
    sending
      .set('Content-Type', type)
      .serialize((text) => text)
      .send(body)

  test('404 before 405, 403 and 401', async () => {
    expectProblem(await withBody(send('put', '/nowhere').set(crossSite), 'text/plain', big), 404, 'not_found')
  })

  test.each(routes.filter(({ path }) => path.startsWith('/auth/')))(
    '405 before 403, 401 and what is wrong with the body: $path',
    async ({ path }) => {
      const response = await withBody(send('put', path).set(crossSite), 'text/plain', big)

      expectProblem(response, 405, 'method_not_allowed')
    },
  )

  test.each(bodyRoutes)('403 before 401 and what is wrong with the body: $path', async (route) => {
    const response = await withBody(send(methodOf(route), route.path).set(crossSite), 'text/plain', big)

    expectProblem(response, 403, 'cross_site_request')
    expect(refreshCookieOf(response)).toBeUndefined()
  })

  test.each(bodyRoutes.filter(({ bearer }) => bearer))(
    '401 for what the token shows before 413, 415 and 400: $path',
    async (route) => {
      for (const [type, body] of [
        ['application/json', big],
        ['text/plain', '{}'],
        ['application/json', '{'],
      ] as const) {
        const none = await withBody(send(methodOf(route), route.path), type, body)
        const bad = await withBody(
          send(methodOf(route), route.path).set('Authorization', 'Bearer a.b.c'),
          type,
          body,
        )
        expectProblem(none, 401, 'access_token_missing')
        expectProblem(bad, 401, 'access_token_invalid')
      }
    },
  )

  test('401 for what the token shows before 413, 415 and 400: /auth/refresh', async () => {
    for (const [type, body] of [
      ['application/json', big],
      ['text/plain', '{}'],
      ['application/json', '{'],
    ] as const) {
      const none = await withBody(post('/auth/refresh'), type, body)
      const bad = await withBody(refresh(t.app, 'a.b.c'), type, body)
      expectProblem(none, 401, 'refresh_token_missing')
      expectProblem(bad, 401, 'refresh_token_invalid')
      expect(clearsCookie(bad)).toBe(true)
    }
  })

  test.each(bodyRoutes.filter(({ bearer, path }) => bearer || path === '/auth/refresh'))(
    '413, 415 and 400 before 401 for the state of the session: $path',
    async (route) => {
      const answers = [
        await withBody(goodRequest(route, ended), 'application/json', big),
        await withBody(goodRequest(route, ended), 'text/plain', '{}'),
        await withBody(goodRequest(route, ended), 'application/json', '{'),
        await withBody(goodRequest(route, ended), 'application/json', '{"unknown":1}'),
      ]

      expectProblem(answers[0] as request.Response, 413, 'payload_too_large')
      expectProblem(answers[1] as request.Response, 415, 'unsupported_media_type')
      expectProblem(answers[2] as request.Response, 400, 'invalid_json')
      expectProblem(answers[3] as request.Response, 400, 'invalid_request')
      for (const answer of answers) expect(refreshCookieOf(answer)).toBeUndefined()
    },
  )

  test.each(bodyRoutes)('413 before 415 before 400: $path', async (route) => {
    expectProblem(await withBody(goodRequest(route), 'text/plain', big), 413, 'payload_too_large')
    expectProblem(await withBody(goodRequest(route), 'text/plain', '{'), 415, 'unsupported_media_type')
  })

  test('401 for the state of the session before the passwords are looked at', async () => {
    const route = routes.find(({ path }) => path === '/auth/password') as (typeof routes)[number]

    const response = await goodRequest(route, ended).send({ currentPassword: 'wrong', newPassword: 'short' })

    expectProblem(response, 401, 'session_ended')
  })
})

describe('names of the language', () => {
  test.each([
    '{"__proto__":{"email":"a@example.com","password":"x"}}',
    `{"email":"a@example.com","password":"${password}","__proto__":{"polluted":true}}`,
    `{"email":"a@example.com","password":"${password}","__proto__":null}`,
    `{"email":"a@example.com","password":"${password}","constructor":{"prototype":{"polluted":true}}}`,
    '{"constructor":{"prototype":{"polluted":true}}}',
    '{"email":{"__proto__":{"polluted":true}},"password":{"__proto__":[]}}',
  ])('F2 in a body they are unknown members: %s', async (body) => {
    const before = await userCount()

    for (const path of ['/auth/register', '/auth/login'])
      expectProblem(await postBytes(path, body), 400, 'invalid_request', ['polluted'])

    expect(await userCount()).toBe(before)
    expect(({} as Record<string, unknown>).polluted).toBeUndefined()
  })

  test('F2 {"__proto__": …} is not the empty body', async () => {
    const client = await register(t.app)

    const response = await postBytes('/auth/logout', '{"__proto__":{"polluted":true}}').set(
      'Cookie',
      cookie(client.refreshToken),
    )

    expectProblem(response, 400, 'invalid_request', ['polluted'])
    expect(await sessionRow(client)).toMatchObject({ ended_at: null })
  })

  test('F2 in cookies, headers and queries they are inert', async () => {
    const client = await register(t.app)

    const response = await post('/auth/refresh?__proto__[polluted]=1&constructor[prototype][polluted]=1')
      .set('Cookie', `__proto__=j:{"polluted":1}; constructor=x; toString=y; ${cookie(client.refreshToken)}`)
      .set({ __proto__x: '1', constructor: '1', ['__proto__']: '1' })

    expect(response.status).toBe(200)
    expect(response.body.user.id).toBe(client.userId)
    expect(({} as Record<string, unknown>).polluted).toBeUndefined()
  })
})

describe('caching and request ids', () => {
  const conditional = { 'If-None-Match': '*', 'If-Modified-Since': 'Fri, 01 Jan 2100 00:00:00 GMT' }

  test.each(routes.filter(({ allow }) => allow.includes('GET')))('C4 $path is never 304', async (route) => {
    const plain = await goodRequest(route)

    const response = await goodRequest(route).set(conditional)

    expect(response.status).toBe(200)
    expect(response.text).toBe(plain.text)
  })

  test('C4 the token answers of unsafe routes are never 304 either', async () => {
    const response = await post('/auth/login').set(conditional).send({ email: someone.email, password })

    expect(response.status).toBe(200)
    expect(response.body).toHaveProperty('accessToken')
  })

  test.each(routes.filter(({ path }) => /^\/(auth|users)\//.test(path)))(
    '$path: Cache-Control: no-store, whatever the answer',
    async (route) => {
      const client = await register(t.app)
      const answers = [
        await send(methodOf(route), route.path),
        await goodRequest(route, client),
        await goodRequest(route, client).set('Origin', 'null'),
        await send('put', route.path),
        await send('head', route.path),
        await send('options', route.path),
      ]

      for (const answer of answers) expect(answer.get('Cache-Control')).toBe('no-store')
    },
  )

  test('every answer has an id of its own, which is in the log, and which the client does not choose', async () => {
    const answers = [
      await send('get', '/livez').set('X-Request-Id', 'chosen'),
      await send('get', '/users/me').set('X-Request-Id', 'chosen'),
      await send('put', '/auth/login'),
      await post('/auth/logout'),
      await send('head', '/readyz'),
      await send('get', '/.well-known/jwks.json'),
    ]

    const ids = answers.map((answer) => answer.get('X-Request-Id'))
    expect(new Set(ids).size).toBe(answers.length)
    expect(ids).not.toContain('chosen')
    const logged = t.log.map(({ requestId }) => requestId)
    expect(logged).toEqual(expect.arrayContaining(ids))
  })
})
