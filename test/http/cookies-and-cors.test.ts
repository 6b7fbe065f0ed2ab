import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals'
import { sql } from 'drizzle-orm'
import request from 'supertest'
import {
  bearer,
  type Client,
  clearsCookie,
  clientOf,
  cookie,
  createTestApp,
  newEmail,
  password,
  refresh,
  refreshCookieOf,
  refreshTokenOf,
  register,
  type TestApp,
} from '../support/app.ts'
import { databaseName } from '../support/database.ts'

const listed = ['https://app.example.com', 'https://admin.example.com:8443']

// Of embedded databases on a busy machine: each takes seconds to start.
jest.setTimeout(30_000)

let t: TestApp
let secure: TestApp
/** Whose session no request of these tests may touch; those that do something have one of their own. */
let untouched: Client
beforeAll(async () => {
  t = await createTestApp({ CORS_ORIGINS: listed.join(',') })
  secure = await createTestApp({ COOKIE_SECURE: 'true', PUBLIC_URL: 'https://auth.example.com' })
  untouched = await register(t.app)
})
afterAll(async () => {
  await t.close()
  await secure.close()
})

/** Everything the database has of users and sessions. */
const everything = async () => [
  await t.db.rows(sql`SELECT * FROM users ORDER BY id`),
  await t.db.rows(sql`SELECT * FROM sessions ORDER BY id`),
]

const rowOf = async ({ sessionId }: Client, on = t) => {
  const [row] = await on.db.rows(sql`SELECT * FROM sessions WHERE id = ${sessionId}`)
  return row
}

const refreshWith = (cookieHeader: string, on = t) =>
  request(on.app).post('/auth/refresh').set('Cookie', cookieHeader)

// `Expires` only says again what `Max-Age` says: Express writes both.
const attributesOf = (response: request.Response) =>
  refreshCookieOf(response)
    ?.attributes.filter((attribute) => !attribute.startsWith('Expires='))
    .sort()

/** The requests that change something, each as its client would make it. */
const unsafe: { route: string; send: (client: Client, on?: TestApp) => request.Test }[] = [
  {
    route: 'POST /auth/register',
    send: (_client, on = t) => request(on.app).post('/auth/register').send({ email: newEmail(), password }),
  },
  {
    route: 'POST /auth/login',
    send: ({ email }, on = t) => request(on.app).post('/auth/login').send({ email, password }),
  },
  { route: 'POST /auth/refresh', send: ({ refreshToken }, on = t) => refresh(on.app, refreshToken) },
  {
    route: 'POST /auth/logout',
    send: ({ refreshToken }, on = t) =>
      request(on.app).post('/auth/logout').set('Cookie', cookie(refreshToken)),
  },
  {
    route: 'POST /auth/logout-all',
    send: (client, on = t) => request(on.app).post('/auth/logout-all').set('Authorization', bearer(client)),
  },
  {
    route: 'DELETE /auth/sessions/:id',
    send: (client, on = t) =>
      request(on.app).delete(`/auth/sessions/${client.sessionId}`).set('Authorization', bearer(client)),
  },
  {
    route: 'POST /auth/password',
    send: (client, on = t) =>
      request(on.app)
        .post('/auth/password')
        .set('Authorization', bearer(client))
        .send({ currentPassword: password, newPassword: 'my cat is called tux' }),
  },
]

describe(`the refresh cookie on ${databaseName}`, () => {
  test('C1 has exactly the attributes of the contract, from registration, login and refresh', async () => {
    const email = newEmail()
    const registered = await request(t.app).post('/auth/register').send({ email, password })
    const loggedIn = await request(t.app).post('/auth/login').send({ email, password })
    const refreshed = await refresh(t.app, refreshTokenOf(loggedIn))

    for (const response of [registered, loggedIn, refreshed]) {
      expect(response.get('Set-Cookie')?.filter((line) => line.startsWith('refresh_token='))).toHaveLength(1)
      expect(attributesOf(response)).toEqual(['HttpOnly', 'Max-Age=604800', 'Path=/', 'SameSite=Strict'])
      expect(response.text).not.toContain(refreshTokenOf(response))
    }
  })

  test('C1 Expires, where it is written, says what Max-Age says', async () => {
    const response = await request(t.app).post('/auth/register').send({ email: newEmail(), password })

    const expires = refreshCookieOf(response)?.attributes.find((attribute) =>
      attribute.startsWith('Expires='),
    )
    const seconds = (Date.parse(expires?.slice('Expires='.length) ?? '') - Date.now()) / 1000
    expect(expires === undefined || Math.abs(seconds - 604_800) < 5).toBe(true)
  })

  test('C1 is cleared with the attributes it was set with', async () => {
    const client = await register(t.app)

    const response = await request(t.app).post('/auth/logout').set('Cookie', cookie(client.refreshToken))

    expect(clearsCookie(response)).toBe(true)
    expect(attributesOf(response)).toEqual(['HttpOnly', 'Path=/', 'SameSite=Strict'])
  })

  test('C1 where cookies are secure: __Host-refresh_token with Secure, set and cleared', async () => {
    const set = await request(secure.app).post('/auth/register').send({ email: newEmail(), password })
    const token = refreshTokenOf(set)
    const refreshed = await refreshWith(`__Host-refresh_token=${token}`, secure)
    const cleared = await request(secure.app)
      .post('/auth/logout')
      .set('Cookie', `__Host-refresh_token=${refreshTokenOf(refreshed)}`)

    const hostCookies = (response: request.Response) =>
      response.get('Set-Cookie')?.filter((line) => line.includes('refresh_token='))
    for (const response of [set, refreshed, cleared])
      expect(hostCookies(response)).toEqual([expect.stringMatching(/^__Host-refresh_token=/)])
    const lasting = ['HttpOnly', 'Path=/', 'SameSite=Strict', 'Secure']
    expect(attributesOf(set)).toEqual(['HttpOnly', 'Max-Age=604800', ...lasting.slice(1)])
    expect(refreshed.status).toBe(200)
    expect(attributesOf(refreshed)).toEqual(attributesOf(set))
    expect(clearsCookie(cleared)).toBe(true)
    expect(attributesOf(cleared)).toEqual(lasting)
    expect(await rowOf(clientOf(set), secure)).toMatchObject({ end_reason: 'logout' })
  })

  test.each([
    {
      what: 'one under the plain name',
      presented: (token: string) => `refresh_token=${token}`,
      code: 'refresh_token_missing',
    },
    {
      what: 'one under the name in lower case',
      presented: (token: string) => `__host-refresh_token=${token}`,
      code: 'refresh_token_missing',
    },
    {
      what: 'two of the name',
      presented: (token: string) => `__Host-refresh_token=${token}; __Host-refresh_token=${token}`,
      code: 'refresh_token_invalid',
    },
  ])('C1 where cookies are secure, $what: 401 $code', async ({ presented, code }) => {
    const client = await register(secure.app)

    const response = await refreshWith(presented(client.refreshToken), secure)

    expect(response.status).toBe(401)
    expect(response.body.code).toBe(code)
    expect(await rowOf(client, secure)).toMatchObject({ generation: 1, ended_at: null })
  })

  test('C1 where cookies are secure, one that a subdomain planted under the plain name is ignored', async () => {
    const [client, planter] = [await register(secure.app), await register(secure.app)]

    const response = await refreshWith(
      `refresh_token=${planter.refreshToken}; __Host-refresh_token=${client.refreshToken}`,
      secure,
    )

    expect(response.status).toBe(200)
    expect(response.body.user.id).toBe(client.userId)
    expect(await rowOf(planter, secure)).toMatchObject({ generation: 1, ended_at: null })
  })
})

describe('cookies that no client of ours sends', () => {
  test.each<{ what: string; header: (token: string, other: string) => string }>([
    { what: 'the same token twice', header: (token) => `${cookie(token)}; ${cookie(token)}` },
    { what: 'two tokens', header: (token, other) => `${cookie(other)}; ${cookie(token)}` },
    { what: 'an empty one first', header: (token) => `${cookie('')}; ${cookie(token)}` },
    { what: 'an empty one last', header: (token) => `${cookie(token)}; ${cookie('')}` },
    { what: 'no space between', header: (token) => `${cookie(token)};${cookie(token)}` },
    { what: 'space around a name', header: (token) => `${cookie(token)}; \trefresh_token =${token}` },
    { what: 'others between', header: (token) => `a=b; ${cookie(token)}; c=d; ${cookie('x')}` },
  ])('C2 refuses two cookies of the name: $what', async ({ header }) => {
    const [client, other] = [untouched, await register(t.app)]
    const before = await everything()

    const response = await refreshWith(header(client.refreshToken, other.refreshToken))

    expect(response.status).toBe(401)
    expect(response.body.code).toBe('refresh_token_invalid')
    expect(clearsCookie(response)).toBe(true)
    expect(await everything()).toEqual(before)
  })

  test('C2 refuses two cookies of the name in two headers', async () => {
    const client = await register(t.app)

    const response = await request(t.app)
      .post('/auth/refresh')
      .set('Cookie', [cookie(client.refreshToken), cookie(client.refreshToken)] as unknown as string)

    expect(response.status).toBe(401)
    expect(response.body.code).toBe('refresh_token_invalid')
    expect(await rowOf(client)).toMatchObject({ generation: 1, ended_at: null })
  })

  const inert: { what: string; value: (token: string) => string }[] = [
    { what: 'a JSON string', value: (token) => `j:"${token}"` },
    { what: 'a JSON array', value: (token) => `j:["${token}"]` },
    { what: 'a JSON object', value: () => 'j:{"a":1}' },
    { what: 'a JSON object that is no text', value: () => 'j:{"toString":1,"valueOf":1}' },
    { what: 'a JSON object with __proto__', value: () => 'j:{"__proto__":{"polluted":true}}' },
    { what: 'JSON, encoded', value: (token) => encodeURIComponent(`j:["${token}"]`) },
    { what: 'JSON that is none', value: () => 'j:{' },
    { what: 'JSON null', value: () => 'j:null' },
    { what: 'the prefix alone', value: () => 'j:' },
    { what: 'a signed cookie', value: (token) => `s:${token}` },
    { what: 'a malformed percent encoding', value: (token) => `${token}%zz` },
    { what: 'half a percent encoding', value: (token) => `${token}%` },
    { what: 'percent-encoded bytes that are not UTF-8', value: () => '%ff%fe' },
    { what: 'an encoded NUL', value: (token) => `${token}%00` },
    { what: 'encoded line ends', value: (token) => `${token}%0d%0aSet-Cookie:%20a=b` },
  ]

  test.each(inert)('C2 $what is no token: 401 refresh_token_invalid, no effect', async ({ value }) => {
    const client = await register(t.app)
    const before = await everything()

    const response = await refreshWith(cookie(value(client.refreshToken)))

    expect(response.status).toBe(401)
    expect(response.body.code).toBe('refresh_token_invalid')
    expect(clearsCookie(response)).toBe(true)
    expect(await everything()).toEqual(before)
    expect(({} as Record<string, unknown>).polluted).toBeUndefined()
  })

  test.each(inert)('C2 $what: logout is 204 and ends nothing', async ({ value }) => {
    const client = await register(t.app)

    const response = await request(t.app)
      .post('/auth/logout')
      .set('Cookie', cookie(value(client.refreshToken)))

    expect(response.status).toBe(204)
    expect(clearsCookie(response)).toBe(true)
    expect(await rowOf(client)).toMatchObject({ ended_at: null })
  })

  test('C2 strange cookies beside a good one do not matter', async () => {
    const client = await register(t.app)

    const response = await refreshWith(
      `%zz=%zz; =; ;;; j=j:{"a":1}; __proto__=x; constructor=y; ${cookie(client.refreshToken)}`,
    )

    expect(response.status).toBe(200)
    expect(await rowOf(client)).toMatchObject({ generation: 2 })
  })
})

describe('cross-site requests', () => {
  test.each(unsafe.flatMap(({ route, send }) => ['get', 'head'].map((method) => ({ route, method, send }))))(
    'C3 $method instead of $route: no effect',
    async ({ method, send }) => {
      const client = untouched
      const built = send(client)
      const before = await everything()

      const response = await request(t.app)
        [method as 'get'](new URL(built.url).pathname)
        .set('Cookie', cookie(client.refreshToken))
        .set('Authorization', bearer(client))
        .query({ email: client.email, password })

      expect(response.status).toBe(405)
      expect(response.get('Allow')).not.toContain('GET')
      expect(response.get('Set-Cookie')).toBeUndefined()
      expect(await everything()).toEqual(before)
    },
  )

  const expectRefused = (response: request.Response) => {
    expect(response.status).toBe(403)
    expect(response.body.code).toBe('cross_site_request')
    expect(response.get('Set-Cookie')).toBeUndefined()
  }

  test.each(
    unsafe.flatMap(({ route, send }) =>
      [
        { Origin: 'https://evil.example' },
        { Origin: 'null' },
        { 'Sec-Fetch-Site': 'cross-site' },
        { Origin: listed[0] as string, 'Sec-Fetch-Site': 'cross-site' },
      ].map((headers) => ({ route, send, headers })),
    ),
  )('C3 $route with $headers: 403 cross_site_request, no effect', async ({ send, headers }) => {
    const client = untouched
    const before = await everything()

    const response = await send(client).set(headers)

    expectRefused(response)
    expect(await everything()).toEqual(before)
  })

  test.each(
    unsafe.flatMap(({ route, send }) =>
      [
        {},
        { Origin: 'http://localhost:3000', 'Sec-Fetch-Site': 'same-origin' },
        { Origin: listed[0] as string, 'Sec-Fetch-Site': 'same-site' },
      ].map((headers) => ({ route, send, headers })),
    ),
  )('C3 $route with $headers is let through', async ({ send, headers }) => {
    const client = await register(t.app)
    const before = await everything()

    const response = await send(client).set(headers)

    expect(response.ok).toBe(true)
    expect(await everything()).not.toEqual(before)
  })

  test.each([
    'http://localhost:3000',
    'http://127.0.0.1:3000',
    'http://[::1]:3000',
    'https://app.example.com',
    'https://admin.example.com:8443',
  ])('C3 the origin %s logs in', async (Origin) => {
    const { email } = untouched

    const response = await request(t.app).post('/auth/login').set({ Origin }).send({ email, password })

    expect(response.status).toBe(200)
  })

  test.each([
    'null',
    '',
    'https://app.example.com.evil.example',
    'https://app.example.comevil.example',
    'https://evilapp.example.com',
    'https://evil.example/https://app.example.com',
    'https://sub.app.example.com',
    'https://example.com',
    'https://app.example.com:444',
    'https://app.example.com:443',
    'https://app.example.com/',
    'https://app.example.com.',
    'http://app.example.com',
    'https://APP.example.com',
    'HTTPS://app.example.com',
    'https://app.example.com,https://admin.example.com:8443',
    'https://app.example.com https://admin.example.com:8443',
    'https://user@app.example.com',
    'https://admin.example.com',
    'http://localhost:3001',
    'http://localhost',
    'https://localhost:3000',
    'http://127.0.0.2:3000',
    'http://LOCALHOST:3000',
    'http://localhost:3000.evil.example',
    'file://',
    '*',
  ])('C3 the origin %j does not log in, and gets no CORS headers', async (Origin) => {
    const { email } = untouched
    const before = await everything()

    const response = await request(t.app).post('/auth/login').set({ Origin }).send({ email, password })

    expectRefused(response)
    expect(corsHeaders(response)).toEqual([])
    expect(await everything()).toEqual(before)
  })

  test.each([
    { site: 'same-origin', status: 200 },
    { site: 'same-site', status: 200 },
    { site: 'none', status: 200 },
    { site: 'cross-site', status: 403 },
  ])('C3 Sec-Fetch-Site: $site without an origin: $status', async ({ site, status }) => {
    const { email } = untouched

    const response = await request(t.app)
      .post('/auth/login')
      .set('Sec-Fetch-Site', site)
      .send({ email, password })

    expect(response.status).toBe(status)
  })

  test('C3 Sec-Fetch-Site: same-site does not make up for an origin that is not listed', async () => {
    const { email } = untouched

    const response = await request(t.app)
      .post('/auth/login')
      .set({ Origin: 'https://other.example.com', 'Sec-Fetch-Site': 'same-site' })
      .send({ email, password })

    expectRefused(response)
  })

  test.each([
    'http://localhost:3000',
    'http://127.0.0.1:3000',
    'https://localhost',
    'http://auth.example.com',
  ])('C3 where PUBLIC_URL is not on localhost, %s is another origin', async (Origin) => {
    const { email } = await register(secure.app)
    const attempt = (origin: string) =>
      request(secure.app).post('/auth/login').set('Origin', origin).send({ email, password })

    const [stranger, own] = [await attempt(Origin), await attempt('https://auth.example.com')]

    expectRefused(stranger)
    expect(own.status).toBe(200)
  })
})

const corsHeaders = (response: request.Response) =>
  Object.keys(response.headers).filter((name) => name.startsWith('access-control-'))

const varies = (response: request.Response) => (response.get('Vary') ?? '').split(/, */)

describe('CORS', () => {
  const preflight = (path: string, origin: string, method = 'POST') =>
    request(t.app).options(path).set({
      Origin: origin,
      'Access-Control-Request-Method': method,
      'Access-Control-Request-Headers': 'content-type,authorization',
    })

  test.each(
    listed.flatMap((origin) =>
      ['/auth/login', '/auth/sessions/some', '/users/me'].map((path) => ({ origin, path })),
    ),
  )('C4 the preflight of $origin for $path: 204, exact', async ({ origin, path }) => {
    const response = await preflight(path, origin)

    expect(response.status).toBe(204)
    expect(response.text).toBe('')
    expect(response.get('Access-Control-Allow-Origin')).toBe(origin)
    expect(response.get('Access-Control-Allow-Credentials')).toBe('true')
    expect(response.get('Access-Control-Max-Age')).toBe('600')
    const names = (header: string) => (response.get(header) ?? '').split(/, */).sort()
    expect(names('Access-Control-Allow-Methods')).toEqual(['DELETE', 'GET', 'POST'])
    expect(names('Access-Control-Allow-Headers')).toEqual(['Authorization', 'Content-Type'])
    expect(varies(response)).toContain('Origin')
    expect(response.get('Set-Cookie')).toBeUndefined()
  })

  test.each([
    'https://evil.example',
    'null',
    'https://app.example.com.evil.example',
    'http://app.example.com',
  ])('C4 the preflight of %s gets nothing', async (origin) => {
    const response = await preflight('/auth/login', origin)

    expect(response.status).toBe(405)
    expect(corsHeaders(response)).toEqual([])
    expect(varies(response)).toContain('Origin')
  })

  test.each<{ what: string; send: () => request.Test; status: number }>([
    { what: 'an answer', send: () => request(t.app).get('/livez'), status: 200 },
    { what: 'a 401', send: () => request(t.app).get('/users/me'), status: 401 },
    { what: 'a 404', send: () => request(t.app).get('/nowhere'), status: 404 },
    { what: 'a 400', send: () => request(t.app).post('/auth/login').send({}), status: 400 },
  ])('C4 $what is for listed origins to read, and for no other', async ({ send, status }) => {
    const known = await send().set('Origin', listed[0] as string)
    const stranger = await send().set('Origin', 'https://evil.example')

    expect(known.status).toBe(status)
    expect(known.get('Access-Control-Allow-Origin')).toBe(listed[0])
    expect(known.get('Access-Control-Allow-Credentials')).toBe('true')
    const exposed = (known.get('Access-Control-Expose-Headers') ?? '').split(/, */).sort()
    expect(exposed).toEqual(['Retry-After', 'X-Request-Id'])
    expect(corsHeaders(stranger)).toEqual([])
    expect(varies(known)).toContain('Origin')
    expect(varies(stranger)).toContain('Origin')
  })

  test('C4 without CORS_ORIGINS nobody gets CORS headers, the own origin neither needs nor gets them', async () => {
    const email = newEmail()
    const own = { Origin: 'https://auth.example.com' }

    const response = await request(secure.app).post('/auth/register').set(own).send({ email, password })

    expect(response.status).toBe(201)
    expect(corsHeaders(response)).toEqual([])
  })
})

describe('headers', () => {
  test.each<{ what: string; send: (on: TestApp) => request.Test }>([
    { what: 'GET /livez', send: (on) => request(on.app).get('/livez') },
    { what: 'GET /readyz', send: (on) => request(on.app).get('/readyz') },
    { what: 'GET /.well-known/jwks.json', send: (on) => request(on.app).get('/.well-known/jwks.json') },
    { what: 'a 404', send: (on) => request(on.app).get('/nowhere') },
    { what: 'a 405', send: (on) => request(on.app).put('/auth/login') },
    { what: 'a 403', send: (on) => request(on.app).post('/auth/logout').set('Origin', 'null') },
    { what: 'a 401', send: (on) => request(on.app).get('/users/me') },
    { what: 'a 400', send: (on) => request(on.app).post('/auth/login') },
    { what: 'a 204', send: (on) => request(on.app).post('/auth/logout') },
    {
      what: 'a token answer',
      send: (on) => request(on.app).post('/auth/register').send({ email: newEmail(), password }),
    },
  ])('C4 security headers and Vary on $what', async ({ send }) => {
    const [plain, overTls] = [await send(t), await send(secure)]

    for (const response of [plain, overTls]) {
      expect(response.headers).toMatchObject({
        'x-content-type-options': 'nosniff',
        'content-security-policy': expect.stringMatching(/frame-ancestors 'none'/),
        'referrer-policy': 'no-referrer',
        'cross-origin-resource-policy': 'same-origin',
        'x-request-id': expect.any(String),
      })
      expect(response.get('X-Powered-By')).toBeUndefined()
      expect(response.get('ETag')).toBeUndefined()
      expect(varies(response)).toContain('Origin')
    }
    expect(plain.get('Strict-Transport-Security')).toBeUndefined()
    expect(overTls.get('Strict-Transport-Security')).toMatch(/^max-age=\d{8,}/)
  })
})
