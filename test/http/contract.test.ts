import { once } from 'node:events'
import { createServer, request as httpRequest } from 'node:http'
import type { AddressInfo } from 'node:net'
import { beforeAll, describe, expect, test } from '@jest/globals'
import { sql } from 'drizzle-orm'
import type request from 'supertest'
import {
  type Client,
  clearsCookie,
  clientOf,
  cookie,
  createAppWithoutKeys,
  createTestApp,
  expectProblem as expectCode,
  expectUnavailable,
  login,
  logout,
  newEmail,
  otherPassword,
  type Presented,
  password,
  refreshCookieOf,
  register,
  rowOf,
  send as sendTo,
  tryLogin,
  useTestApp,
} from '../support/app.ts'
import { databaseName, withoutDatabase } from '../support/database.ts'
import { type RouteUnderTest, routesUnderTest as routes } from '../support/routes.ts'

const t = useTestApp()
let someone: Client
let ended: Client
beforeAll(async () => {
  someone = await register(t.app)
  ended = await login(t.app, someone.email)
  await logout(t.app, ended.refreshToken).expect(204)
})

const iso = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/
const methods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE']

const bearerRoutes = routes.filter(({ bearer }) => bearer)
const bodyRoutes = routes.filter(({ body }) => body)
const nameOf = ({ method, path }: RouteUnderTest) => `${method} ${path}`

const send = (route: string, presented?: Presented) => sendTo(t.app, route, presented)
const postBytes = (path: string, body: Buffer | string, type = 'application/json') =>
  send(`POST ${path}`, { body, headers: { 'Content-Type': type } })

/** A request to a route that could be served, but for what the test makes of it. */
const goodRequest = (route: RouteUnderTest, more: Presented = {}, client = someone) =>
  send(nameOf(route), { token: client.refreshToken, ...(route.bearer && { as: client }), ...more })

/** A problem document by the contract, and nothing in it that was sent. */
function expectProblem(response: request.Response, status: number, code: string, sent: string[] = []) {
  expectCode(response, status, code)
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

describe(`success, on ${databaseName}`, () => {
  test.each([
    ['POST /auth/register', 201],
    ['POST /auth/login', 200],
    ['POST /auth/refresh', 200],
    ['POST /auth/password', 200],
  ])('%s: %d, the token answer', async (route, status) => {
    const client = await register(t.app)
    const email = status === 201 ? newEmail() : client.email
    const sent: Record<string, Presented> = {
      'POST /auth/refresh': { token: client.refreshToken },
      'POST /auth/password': {
        as: client,
        body: { currentPassword: password, newPassword: otherPassword },
      },
    }

    const response = await send(route, sent[route] ?? { body: { email, password } })

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
    const me = await send('GET /users/me', { as: clientOf(response) }).expect(200)
    expect(me.body).toEqual(response.body.user)
  })

  test.each<[string, (client: Client) => request.Test]>([
    ['POST /auth/logout', ({ refreshToken }) => logout(t.app, refreshToken)],
    ['POST /auth/logout-all', (as) => send('POST /auth/logout-all', { as })],
    ['DELETE /auth/sessions/:id', (as) => send(`DELETE /auth/sessions/${as.sessionId}`, { as })],
  ])('%s: 204 without a body', async (_route, act) => {
    const response = await act(await register(t.app))

    expect(response.status).toBe(204)
    expect(response.text).toBe('')
    expect(response.get('Content-Type')).toBeUndefined()
    expect(response.get('Cache-Control')).toBe('no-store')
  })

  test('GET /.well-known/jwks.json: 200, no keys under HS256', async () => {
    const response = await send('GET /.well-known/jwks.json')

    expect(response.status).toBe(200)
    expect(response.get('Content-Type')).toMatch(/^application\/(jwk-set\+)?json/)
    expect(response.body).toEqual({ keys: [] })
  })

  test.each(routes.filter(({ method }) => method === 'GET'))('HEAD comes with GET: $path', async (route) => {
    const get = await goodRequest(route)
    const head = await goodRequest({ ...route, method: 'HEAD' })

    expect([get.status, head.status]).toEqual([200, 200])
    expect(head.text).toBeFalsy()
    expect(head.get('Content-Type')).toBe(get.get('Content-Type'))
  })
})

describe('health', () => {
  test('GET /livez and /readyz: 200', async () => {
    const [live, ready] = [await send('GET /livez'), await send('GET /readyz')]

    expect(live.status).toBe(200)
    expect(live.body).toEqual({ status: 'ok' })
    expect(ready.status).toBe(200)
    expect(ready.body).toEqual({ status: 'ok', checks: { database: 'ok', clock: 'ok', keys: 'ok' } })
  })

  test('with the database out of reach: not ready but alive, 503 with Retry-After for the rest, and back by itself [G2]', async () => {
    const { live, ready, rest } = await withoutDatabase(t.db, async () => ({
      live: await send('GET /livez'),
      ready: await send('GET /readyz'),
      rest: [
        await send('POST /auth/register', { body: { email: newEmail(), password } }),
        await tryLogin(t.app, someone.email),
        ...(await Promise.all(
          bearerRoutes.filter(({ body }) => body !== 'members').map((r) => goodRequest(r)),
        )),
      ],
    }))
    const again = await send('GET /readyz')

    expect(live.status).toBe(200)
    expect(ready.status).toBe(503)
    expect(ready.get('Content-Type')).toMatch(/^application\/json/)
    expect(Number(ready.get('Retry-After'))).toBeGreaterThan(0)
    expect(ready.body).toEqual({
      status: expect.any(String),
      checks: { database: 'unreachable', clock: 'ok', keys: 'ok' },
    })
    for (const response of rest) {
      expectProblem(response, 503, 'unavailable', ['ECONNREFUSED', 'users'])
      expectUnavailable(response)
    }
    expect(again.status).toBe(200)
    expect(again.body.status).toBe('ok')
  })

  test.each([
    ['behind', 1],
    ['ahead of', -1],
  ])(
    'is not ready while the clock is more than 30 s %s the database’s, and says so once [G6]',
    async (_what, sign) => {
      const u = await createTestApp({}, t.db)
      const readyAfter = async (seconds: number) => {
        await t.db.pass(sign * seconds)
        return sendTo(u.app, 'GET /readyz')
      }
      const told = () => u.log.filter(({ event }) => String(event).startsWith('clock_'))

      const near = await readyAfter(28)
      const off = [await readyAfter(4), await readyAfter(0)]
      const warned = told()
      const again = await readyAfter(-32)
      await u.close()

      for (const ready of [near, again]) {
        expect(ready.status).toBe(200)
        expect(ready.body.checks.clock).toBe('ok')
      }
      for (const ready of off) {
        expect(ready.status).toBe(503)
        expect(ready.get('Retry-After')).toMatch(/^[1-9]\d*$/)
        expect(ready.body).toEqual({
          status: 'unavailable',
          checks: { database: 'ok', clock: 'skewed', keys: 'ok' },
        })
      }
      expect(warned).toEqual([
        expect.objectContaining({ level: 40, event: 'clock_skewed', secondsAhead: expect.any(Number) }),
      ])
      expect(Math.sign(Number(warned[0]?.secondsAhead))).toBe(-sign)
      expect(told().slice(1)).toEqual([expect.objectContaining({ level: 30, event: 'clock_ok' })])
    },
  )

  test('at the start a clock that is off is logged [G6]', async () => {
    await t.db.pass(300)
    const u = await createTestApp({}, t.db)
    await t.db.pass(-300)
    await u.close()

    expect(u.log).toContainEqual(expect.objectContaining({ level: 40, event: 'clock_skewed' }))
  })

  test('with the keys out of reach: ready as long as the last good ones serve, 503 when they are too old', async () => {
    const u = await createAppWithoutKeys(t.db)
    const { accessToken } = await register(u.app)
    const header = Buffer.from('{"alg":"HS256","typ":"at+jwt","kid":"unknown"}').toString('base64url')

    // A key nobody knows has the keys loaded again.
    await sendTo(u.app, 'GET /users/me', { as: { accessToken: accessToken.replace(/^[^.]*/, header) } })
    const unreachable = await sendTo(u.app, 'GET /readyz')
    await u.pass(86_401)
    const stale = await sendTo(u.app, 'GET /readyz')
    const refused = await sendTo(u.app, 'POST /auth/register', { body: { email: newEmail(), password } })
    await u.pass(-86_401)
    await u.close()

    expect(unreachable.status).toBe(200)
    expect(unreachable.body.checks).toEqual({ database: 'ok', clock: 'ok', keys: 'unreachable' })
    expect(stale.status).toBe(503)
    expect(stale.get('Retry-After')).toMatch(/^[1-9]\d*$/)
    expect(stale.body.checks).toEqual({ database: 'ok', clock: 'ok', keys: 'stale' })
    expectUnavailable(refused)
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
  ])('%s is nowhere: 404, for every method [F4]', async (path) => {
    for (const method of methods.filter((name) => name !== 'HEAD'))
      expectProblem(await send(`${method} ${path}`), 404, 'not_found')
    expect((await send(`HEAD ${path}`)).status).toBe(404)
  })

  test.each(routes)(
    '$method $path: the path has $allow only: others are 405 with Allow [F4]',
    async ({ path, allow }) => {
      const before = await rowOf(t, someone)

      for (const method of methods.filter((name) => !allow.includes(name))) {
        const response = await send(`${method} ${path}`, { as: someone, token: someone.refreshToken })
        if (method === 'HEAD') expect(response.status).toBe(405)
        else expectProblem(response, 405, 'method_not_allowed')
        expect(response.get('Allow')?.split(', ').sort()).toEqual([...allow].sort())
        expect(response.get('Set-Cookie')).toBeUndefined()
      }
      expect(await rowOf(t, someone)).toEqual(before)
    },
  )
})

describe('bearer routes', () => {
  test.each(bearerRoutes)('$path without a token: 401 access_token_missing', async (route) => {
    const response = await send(nameOf(route))

    expectProblem(response, 401, 'access_token_missing')
    expect(response.get('WWW-Authenticate')).toBe('Bearer')
  })

  test.each(bearerRoutes)('$path with a session that has ended: 401 session_ended', async (route) => {
    const response = await goodRequest(route, { body: route.example ?? {} }, ended)

    expectProblem(response, 401, 'session_ended')
    expect(response.get('WWW-Authenticate')).toBe('Bearer error="invalid_token"')
    expect(refreshCookieOf(response)).toBeUndefined()
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

  test('refuses a body of no declared type: an untyped Blob of another site is one [F1]', async () => {
    for (const headers of [{}, { 'Transfer-Encoding': 'chunked' }])
      expect(await postRaw(headers, body())).toMatchObject({
        status: 415,
        body: { code: 'unsupported_media_type' },
      })
  })

  const declarations: Record<string, string>[] = [
    { 'Content-Type': 'application/x-www-form-urlencoded' },
    { 'Content-Type': 'text/plain; charset=utf-16' },
    { 'Content-Type': 'nonsense' },
    { 'Content-Encoding': 'gzip' },
    { 'Content-Type': 'application/octet-stream', 'Content-Encoding': 'br' },
  ]

  test.each(declarations)('does not judge %j where no byte of a body comes [F1]', async (headers) => {
    for (const framing of [{ 'Content-Length': '0' }, { 'Transfer-Encoding': 'chunked' }]) {
      const { refreshToken, userId } = await register(t.app)
      const all = { ...headers, ...framing }
      const refreshed = await postRaw({ ...all, Cookie: cookie(refreshToken) }, '', '/auth/refresh')
      const loggedIn = await postRaw(all, '')
      const loggedOut = await postRaw(all, '', '/auth/logout')

      expect(refreshed).toMatchObject({ status: 200, body: { user: { id: userId } } })
      expect(loggedIn).toMatchObject({ status: 400, body: { code: 'invalid_request' } })
      expect(loggedOut.status).toBe(204)
    }
  })

  test.each(declarations)(
    'refuses one byte of a body under %j, on a route that takes none [F1]',
    async (headers) => {
      const { refreshToken } = await register(t.app)

      const refused = await postRaw({ ...headers, Cookie: cookie(refreshToken) }, '{', '/auth/refresh')

      expect(refused).toMatchObject({ status: 415, body: { code: 'unsupported_media_type' } })
    },
  )

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
  ])('%s: 415 unsupported_media_type [F1]', async (type) => {
    const response = await postBytes('/auth/login', body(), type)

    expectProblem(response, 415, 'unsupported_media_type', ['secret-of-mine', someone.email])
    expect(refreshCookieOf(response)).toBeUndefined()
  })

  test.each(['gzip', 'deflate', 'br', 'zstd', 'x-unknown'])(
    'Content-Encoding: %s is 415 unsupported_media_type [F1]',
    async (encoding) => {
      const response = await postBytes('/auth/login', body()).set('Content-Encoding', encoding)

      expectProblem(response, 415, 'unsupported_media_type')
      expect(refreshCookieOf(response)).toBeUndefined()
    },
  )
})

/** Sends a body as it stands, and no header but those given. */
async function postRaw(headers: Record<string, string>, body: string, path = '/auth/login') {
  const server = createServer(t.app).listen(0)
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const sending = httpRequest({ port, method: 'POST', path, headers, agent: false }).end(body)
  const [response] = await once(sending, 'response')
  const text = (await response.toArray()).join('')
  server.close()
  return { status: response.statusCode, body: text === '' ? undefined : JSON.parse(text) }
}

describe('size', () => {
  const padded = (bytes: number) => {
    const body = JSON.stringify({ email: someone.email, password })
    return body + ' '.repeat(bytes - body.length)
  }

  test('8192 bytes are read, 8193 are 413 payload_too_large [F1]', async () => {
    const [fits, over] = [
      await postBytes('/auth/login', padded(8192)),
      await postBytes('/auth/login', padded(8193)),
    ]

    expect(fits.status).toBe(200)
    expectProblem(over, 413, 'payload_too_large', [someone.email])
  })

  test('so it is for a body of no declared length [F1]', async () => {
    const chunked = { 'Transfer-Encoding': 'chunked', 'Content-Type': 'application/json' }
    const [fits, over] = [await postRaw(chunked, padded(8192)), await postRaw(chunked, padded(8193))]

    expect(fits.status).toBe(200)
    expect(over).toMatchObject({ status: 413, body: { code: 'payload_too_large' } })
  })
})

describe('JSON', () => {
  const utf16 = (text: string) => Buffer.from(text, 'utf16le')
  const credentials = '{"email":"secret-of-mine@example.com","password":"x"}'

  const bytes = (...middle: number[]) =>
    Buffer.from([...Buffer.from('{"a":"'), ...middle, ...Buffer.from('"}')])

  test.each<[fault: string, body: Buffer | string]>([
    ['a byte that is not UTF-8', bytes(0xff)],
    ['an overlong encoding', bytes(0xc0, 0x80)],
    ['an encoded surrogate', bytes(0xed, 0xa0, 0x80)],
    ['text cut in a character', Buffer.from('{"a":"é"}').subarray(0, 7)],
    ['UTF-16', utf16(credentials)],
    ['UTF-16 with a byte order mark', Buffer.concat([Buffer.from([0xff, 0xfe]), utf16(credentials)])],
    ['truncated', credentials.slice(0, -1)],
    ['white space only', ' '],
    ['two documents', `${credentials}${credentials}`],
    ['a trailing comma', '{"email":"secret-of-mine",}'],
    ['a comment', `${credentials} // secret-of-mine`],
    ['single quotes', "{'email':'secret-of-mine'}"],
    ['a bare word', 'secret-of-mine'],
    ['NaN', '{"email":NaN}'],
    ['a line end in text', '{"email":"secret-of-mine\n"}'],
    ['a member twice', '{"email":"a@example.com","email":"b@example.com","password":"x"}'],
    ['a member twice with one value', '{"email":1,"email":1}'],
    ['a member twice, once escaped', '{"a":1,"\\u0061":2}'],
    ['a member twice, inside', '{"a":{"b":{"c":1,"d":2,"c":3}}}'],
    ['a member twice, in an array', '[[{"c":1,"c":3}]]'],
    ['a member twice, another object between', '{"a":1,"b":{"a":1},"a":2}'],
    ['__proto__ twice', '{"__proto__":1,"__proto__":2}'],
    ['an empty name twice', '{"":1,"":2}'],
    ['33 arrays deep', '['.repeat(33) + ']'.repeat(33)],
    ['33 objects deep', `${'{"a":'.repeat(33)}1${'}'.repeat(33)}`],
    ['4000 arrays deep', '['.repeat(4000) + ']'.repeat(4000)],
    ['8000 arrays deep, not closed', '['.repeat(8000)],
    ['1300 objects deep', `${'{"a":'.repeat(1300)}1${'}'.repeat(1300)}`],
  ])('%s: 400 invalid_json [F1]', async (_fault, body) => {
    const response = await postBytes('/auth/login', body)

    expectProblem(response, 400, 'invalid_json', ['secret-of-mine'])
    expect(paths(response)).toBeUndefined()
  })

  test.each<[what: string, body: string]>([
    ['names that are equal in different objects', '{"a":{"a":{"a":1}},"b":[{"a":1},{"a":2}]}'],
    ['names that differ in case', '{"a":1,"A":2}'],
    ['32 arrays deep', '['.repeat(32) + ']'.repeat(32)],
    ['32 objects deep', `${'{"a":'.repeat(32)}1${'}'.repeat(32)}`],
    ['many arrays, none deep', `[${Array(2000).fill('[]').join()}]`],
  ])('%s: JSON, if not what was asked for [F1]', async (_what, body) => {
    expectProblem(await postBytes('/auth/login', body), 400, 'invalid_request')
  })
})

describe('members', () => {
  const address = 'someone@example.com'
  const both = ['email', 'password']
  const marker = 'secret-of-mine'

  const withEmail = (email: string) => ({ email, password })
  test.each<[fault: string, body: unknown, at: string[]]>([
    ['an array', [marker], ['']],
    ['null', null, ['']],
    ['text', marker, ['']],
    ['a number', 1, ['']],
    ['true', true, ['']],
    ['an empty object', {}, both],
    ['no password', { email: address }, ['password']],
    ['no email', { password: marker }, ['email']],
    ['null members', { email: null, password: null }, both],
    ['members in arrays', { email: [address], password: [marker] }, both],
    ['members that are objects', { email: { [marker]: 1 }, password: { length: 20 } }, both],
    ['members that are numbers', { email: 1, password: 123456789012345 }, both],
    ['members that are booleans', { email: true, password: false }, both],
    ['an unknown member', { email: address, password, [marker]: 1 }, ['']],
    ['an unknown member in another case', { email: address, password, Password: marker }, ['']],
    ['an unknown member and a missing one', { email: address, role: marker }, ['', 'password']],
    ['a member named constructor', { email: address, password, constructor: marker }, ['']],
    ['a member named toString', { email: address, password, toString: marker }, ['']],
    ['NUL in the password', { email: address, password: `${password}\0${marker}` }, ['password']],
    ['NUL in the email', withEmail(`some\0one@example.com`), ['email']],
    ['half a surrogate pair', { email: address, password: `${password}\ud800` }, ['password']],
    ['an empty email', withEmail(''), ['email']],
    ['white space for an email', withEmail('  '), ['email']],
    ['an email without @', withEmail(marker), ['email']],
    ['an email without a name', withEmail('@example.com'), ['email']],
    ['an email without a domain', withEmail(`${marker}@`), ['email']],
    ['two addresses', withEmail(`${address},${address}`), ['email']],
    ['an email with white space inside', withEmail('some one@example.com'), ['email']],
    ['an email with a line end inside', withEmail(`${address}\nBcc: x@example.com`), ['email']],
    ['an email with a display name', withEmail(`${marker} <${address}>`), ['email']],
    ['an email over 254', withEmail(`${'a'.repeat(60)}@${'b.'.repeat(96)}com`), ['email']],
    ['an email with an umlaut', withEmail('jürgen@example.com'), ['email']],
    ['an email with a Kelvin sign', withEmail('\u212Aate@example.com'), ['email']],
    ['an email with a dotted capital I', withEmail('hat\u0130ce@example.com'), ['email']],
    ['an email with a full-width letter', withEmail('\uff4bate@example.com'), ['email']],
    ['an email padded with no-break space', withEmail(`\u00a0${address}`), ['email']],
    ['an email in another domain script', withEmail('someone@exämple.com'), ['email']],
  ])('%s: 400 invalid_request, at login and registration [F1]', async (_fault, body, at) => {
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
    for (const headers of [{}, { 'Content-Type': 'application/json' }]) {
      const response = await send(`POST ${path}`, { headers })
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
    const response = await send('POST /auth/password', { as: someone, body })

    expectProblem(response, 400, 'invalid_request', [marker])
    expect(paths(response)).toEqual(at)
    await login(t.app, someone.email)
  })

  test.each([
    'user@example.xn--p1ai',
    'tom&jerry@example.com',
    'SRS0=abc=x@example.com',
    "o'brien+tag@example.com",
    '.dot..dot.@example.com',
    '!#$%&*+/=?^_`{|}~-@example.com',
    'user@localhost',
    'user@127.0.0.1',
    'user@1.2',
    `user@${'a'.repeat(63)}.example`,
  ])('takes %s, as <input type="email"> does: registration and login [F1]', async (email) => {
    const registered = await send('POST /auth/register', { body: { email, password } })
    const loggedIn = await tryLogin(t.app, email)

    expect([registered.status, loggedIn.status]).toEqual([201, 200])
    for (const { body } of [registered, loggedIn]) expect(body.user.email).toBe(email.toLowerCase())
  })

  test.each([
    'user@-example.com',
    'user@example-.com',
    'user@example..com',
    'user@example.com.',
    'user@ex_ample.com',
    'user@[127.0.0.1]',
    '"user"@example.com',
    'a@b@example.com',
    'us(er@example.com',
    `user@${'a'.repeat(64)}.example`,
  ])('refuses %s, as <input type="email"> does [F1]', async (email) => {
    for (const path of ['/auth/login', '/auth/register']) {
      const response = await send(`POST ${path}`, { body: { email, password } })
      expectProblem(response, 400, 'invalid_request')
      expect(paths(response)).toEqual(['email'])
    }
  })

  test('an email may have 254 characters, and not 255', async () => {
    const longest = `${'a'.repeat(63)}@${'b'.repeat(60)}.${'c'.repeat(60)}.${'d'.repeat(60)}.example`
    expect(longest).toHaveLength(254)

    const fits = await tryLogin(t.app, ` ${longest} `)
    const over = await tryLogin(t.app, `a${longest}`)

    expectProblem(fits, 401, 'invalid_credentials')
    expectProblem(over, 400, 'invalid_request')
    expect(paths(over)).toEqual(['email'])
  })

  test('an e-mail address is trimmed and lower-cased, returned so, and one account whatever the spelling', async () => {
    const email = newEmail()
    const spelling = `  ${email.toUpperCase()}\t`

    const registered = await send('POST /auth/register', { body: { email: spelling, password } })
    const again = await send('POST /auth/register', { body: { email, password } })
    const loggedIn = await tryLogin(t.app, `${email.replace('user', 'uSeR')} `)

    expect(registered.status).toBe(201)
    expect(registered.body.user.email).toBe(email)
    expectProblem(again, 409, 'email_taken', [email])
    expect(loggedIn.status).toBe(200)
    expect(loggedIn.body.user).toEqual(registered.body.user)
    const rows = await t.db.rows(sql`SELECT email FROM users WHERE lower(email) = ${email}`)
    expect(rows).toEqual([{ email }])
  })

  test('an address that is taken: 409 email_taken, and the account stays as it was', async () => {
    const { email, userId } = await register(t.app)
    const rows = () => t.db.rows(sql`SELECT * FROM users WHERE id = ${userId}`)
    const before = await rows()

    const response = await send('POST /auth/register', { body: { email, password: otherPassword } })

    expectProblem(response, 409, 'email_taken', [email])
    expect(refreshCookieOf(response)).toBeUndefined()
    expect(await rows()).toEqual(before)
  })

  test('of parallel registrations of one address, one succeeds', async () => {
    const email = newEmail()

    const responses = await Promise.all(
      Array.from({ length: 5 }, () => send('POST /auth/register', { body: { email, password } })),
    )

    expect(responses.map(({ status }) => status).sort()).toEqual([201, 409, 409, 409, 409])
    const rows = await t.db.rows(sql`SELECT id FROM users WHERE email = ${email}`)
    expect(rows).toHaveLength(1)
  })
})

describe('routes without a body', () => {
  const bodyless = routes.filter(({ body }) => body === 'none')
  // A session for each test, because most of these routes end it.
  const fresh = async (route: RouteUnderTest) => {
    const client = await register(t.app)
    const other = await login(t.app, client.email)
    const path = route.path.replace('AAAAAAAAAAAAAAAAAAAAAA', other.sessionId)
    return (more: Presented) => goodRequest({ ...route, path }, more, client)
  }

  test.each(bodyless)('$path accepts none and {}', async (route) => {
    for (const more of [{}, { headers: { 'Content-Type': 'application/json' } }, { body: {} }])
      expect((await (await fresh(route))(more)).ok).toBe(true)
  })

  test.each(
    bodyless.flatMap((route) => [
      { route, body: '{"secret-of-mine":1}', status: 400, code: 'invalid_request' },
      ...['[]', 'null', '""'].map((body) => ({ route, body, status: 400, code: 'invalid_request' })),
      { route, body: '{', status: 400, code: 'invalid_json' },
      { route, body: `{${' '.repeat(8192)}`, status: 413, code: 'payload_too_large' },
    ]),
  )('$route.path refuses $body: $status $code, no effect', async ({ route, body, status, code }) => {
    const before = await rowOf(t, someone)

    const response = await goodRequest(route, { body })

    expectProblem(response, status, code, ['secret-of-mine'])
    expect(refreshCookieOf(response)).toBeUndefined()
    expect(await rowOf(t, someone)).toEqual(before)
  })
})

describe('order of checks', () => {
  const crossSite = { Origin: 'https://evil.example', 'Content-Type': 'text/plain' }
  const big = `{${' '.repeat(9000)}`
  const text = { headers: { 'Content-Type': 'text/plain' } }
  const faulty = [{ body: big }, { body: '{}', ...text }, { body: '{' }]

  test('404 before 405, 403 and 401', async () => {
    expectProblem(await send('PUT /nowhere', { headers: crossSite, body: big }), 404, 'not_found')
  })

  test.each(routes.filter(({ path }) => path.startsWith('/auth/')))(
    '405 before 403, 401 and what is wrong with the body: $path',
    async ({ path }) => {
      expectProblem(await send(`PUT ${path}`, { headers: crossSite, body: big }), 405, 'method_not_allowed')
    },
  )

  test.each(bodyRoutes)('403 before 401 and what is wrong with the body: $path', async (route) => {
    const response = await send(nameOf(route), { headers: crossSite, body: big })

    expectProblem(response, 403, 'cross_site_request')
    expect(refreshCookieOf(response)).toBeUndefined()
  })

  test.each(bodyRoutes.filter(({ bearer, path }) => bearer || path === '/auth/refresh'))(
    '401 for what the token shows before 413, 415 and 400, and these before 401 for its session: $path',
    async (route) => {
      const kind = route.bearer ? 'access_token' : 'refresh_token'
      for (const sent of faulty) {
        expectProblem(await send(nameOf(route), sent), 401, `${kind}_missing`)
        const bad = await send(nameOf(route), { ...sent, as: { accessToken: 'a.b.c' }, token: 'a.b.c' })
        expectProblem(bad, 401, `${kind}_invalid`)
        expect(clearsCookie(bad)).toBe(!route.bearer)
      }
      const codes = ['payload_too_large', 'unsupported_media_type', 'invalid_json', 'invalid_request']
      for (const [index, sent] of [...faulty, { body: '{"unknown":1}' }].entries()) {
        const answer = await goodRequest(route, sent, ended)
        expectProblem(answer, [413, 415][index] ?? 400, codes[index] ?? '')
        expect(refreshCookieOf(answer)).toBeUndefined()
      }
    },
  )

  test.each(bodyRoutes)('413 before 415 before 400: $path', async (route) => {
    expectProblem(await goodRequest(route, { ...text, body: big }), 413, 'payload_too_large')
    expectProblem(await goodRequest(route, { ...text, body: '{' }), 415, 'unsupported_media_type')
  })

  test('401 for the state of the session before the passwords are looked at', async () => {
    const body = { currentPassword: 'wrong', newPassword: 'short' }

    const response = await send('POST /auth/password', { as: ended, body })

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
  ])('in a body they are unknown members: %s [F2]', async (body) => {
    const before = await userCount()

    for (const path of ['/auth/register', '/auth/login'])
      expectProblem(await postBytes(path, body), 400, 'invalid_request', ['polluted'])

    expect(await userCount()).toBe(before)
    expect(({} as Record<string, unknown>).polluted).toBeUndefined()
  })

  test('{"__proto__": …} is not the empty body [F2]', async () => {
    const client = await register(t.app)

    const body = '{"__proto__":{"polluted":true}}'
    const response = await send('POST /auth/logout', { token: client.refreshToken, body })

    expectProblem(response, 400, 'invalid_request', ['polluted'])
    expect(await rowOf(t, client)).toMatchObject({ ended_at: null })
  })

  test('in cookies, headers and queries they are inert [F2]', async () => {
    const client = await register(t.app)

    const response = await send('POST /auth/refresh?__proto__[polluted]=1&constructor[prototype][polluted]=1')
      .set('Cookie', `__proto__=j:{"polluted":1}; constructor=x; toString=y; ${cookie(client.refreshToken)}`)
      .set({ __proto__x: '1', constructor: '1', ['__proto__']: '1' })

    expect(response.status).toBe(200)
    expect(response.body.user.id).toBe(client.userId)
    expect(({} as Record<string, unknown>).polluted).toBeUndefined()
  })
})

describe('caching and request ids', () => {
  const conditional = { 'If-None-Match': '*', 'If-Modified-Since': 'Fri, 01 Jan 2100 00:00:00 GMT' }

  test.each(routes.filter(({ method }) => method === 'GET'))('$path is never 304 [C4]', async (route) => {
    const plain = await goodRequest(route)

    const response = await goodRequest(route, { headers: conditional })

    expect(response.status).toBe(200)
    expect(response.text).toBe(plain.text)
  })

  test('the token answers of unsafe routes are never 304 either [C4]', async () => {
    const response = await tryLogin(t.app, someone.email).set(conditional)

    expect(response.status).toBe(200)
    expect(response.body).toHaveProperty('accessToken')
  })

  test.each(routes.filter(({ path }) => /^\/(auth|users)\//.test(path)))(
    '$path: Cache-Control: no-store, whatever the answer',
    async (route) => {
      const client = await register(t.app)
      const answers = [
        await send(nameOf(route)),
        await goodRequest(route, {}, client),
        await goodRequest(route, { headers: { Origin: 'null' } }, client),
        ...(await Promise.all(['PUT', 'HEAD', 'OPTIONS'].map((method) => send(`${method} ${route.path}`)))),
      ]

      for (const answer of answers) expect(answer.get('Cache-Control')).toBe('no-store')
    },
  )

  test('every answer has an id of its own, which is in the log, and which the client does not choose', async () => {
    const names = ['GET /livez', 'GET /users/me', 'PUT /auth/login', 'POST /auth/logout', 'HEAD /readyz']
    const headers = { 'X-Request-Id': 'chosen' }
    const answers = await Promise.all(names.map((name) => send(name, { headers })))

    const ids = answers.map((answer) => answer.get('X-Request-Id'))
    expect(new Set(ids).size).toBe(answers.length)
    expect(ids).not.toContain('chosen')
    const logged = t.log.map(({ requestId }) => requestId)
    expect(logged).toEqual(expect.arrayContaining(ids))
  })
})
