import { beforeAll, describe, expect, test } from '@jest/globals'
import { sql } from 'drizzle-orm'
import type request from 'supertest'
import {
  type Client,
  clearsCookie,
  clientOf,
  cookie,
  createTestApp,
  expectProblem,
  logout,
  newEmail,
  otherPassword,
  password,
  refresh,
  refreshCookieName,
  refreshCookieOf,
  refreshTokenOf,
  register,
  rowOf,
  send,
  type TestApp,
  tryLogin,
  useTestApp,
} from '../support/app.ts'
import { databaseName } from '../support/database.ts'
import { linkTokenFor, nameOf, routes, sendGood } from '../support/routes.ts'

const [listed, alsoListed] = ['https://app.example.com', 'https://admin.example.com:8443'] as const
const own = 'http://localhost:3000'
const evil = 'https://evil.example'

const t = useTestApp({ CORS_ORIGINS: `${listed},${alsoListed}` })
const secure = useTestApp({ COOKIE_SECURE: 'true', PUBLIC_URL: 'https://auth.example.com' }, t)
/** Whose session no request of these tests may touch; those that do something have one of their own. */
let untouched: Client
beforeAll(async () => {
  untouched = await register(t.app)
})

/** Everything the database has of users, sessions, links and mails, after the mails that are due have been sent. */
const everything = async () => {
  await t.mails()
  return [
    await t.db.rows(sql`SELECT * FROM users ORDER BY id`),
    await t.db.rows(sql`SELECT * FROM sessions ORDER BY id`),
    await t.db.rows(sql`SELECT * FROM links ORDER BY id`),
    await t.db.rows(sql`SELECT * FROM outbox ORDER BY id`),
  ]
}
const presentTo = (route: string, Cookie: string, on = t) => send(on.app, route, { headers: { Cookie } })
const refreshWith = (Cookie: string, on = t) => presentTo('POST /auth/refresh', Cookie, on)
const tryRegister = (on = t) => send(on.app, 'POST /auth/register', { body: { email: newEmail(), password } })

// `Expires` only says again what `Max-Age` says: Express writes both.
const attributesOf = (response: request.Response) =>
  refreshCookieOf(response)
    ?.attributes.filter((attribute) => !attribute.startsWith('Expires='))
    .sort()

/** The requests that change something, each as its client would make it. */
const unsafe = routes
  .filter(({ method, hidden }) => method !== 'get' && !hidden)
  .map((route) => {
    const act = (client: Client, token?: string) => sendGood(t.app, route, client, token)
    return [nameOf(route), act, route] as const
  })

describe(`the refresh cookie on ${databaseName}`, () => {
  const lasting = ['HttpOnly', 'Path=/', 'SameSite=Strict']
  const whole = ['HttpOnly', 'Max-Age=604800', 'Path=/', 'SameSite=Strict']

  test('has exactly the attributes of the contract, from registration, login, refresh and password change [C1]', async () => {
    const registered = await tryRegister()
    const loggedIn = await tryLogin(t.app, registered.body.user.email)
    const refreshed = await refresh(t.app, refreshTokenOf(loggedIn))

    const changed = await send(t.app, 'POST /auth/password', {
      as: clientOf(refreshed),
      body: { currentPassword: password, newPassword: otherPassword },
    })

    for (const response of [registered, loggedIn, refreshed, changed]) {
      expect(
        response.get('Set-Cookie')?.filter((line) => line.startsWith(`${refreshCookieName}=`)),
      ).toHaveLength(1)
      expect(attributesOf(response)).toEqual(whole)
      expect(response.text).not.toContain(refreshTokenOf(response))
    }
    const [, expires = ''] = /Expires=([^;]*)/.exec(String(registered.get('Set-Cookie'))) ?? []
    expect(Math.abs((Date.parse(expires) - Date.now()) / 1000 - 604_800)).toBeLessThan(5)
  })

  test('is cleared with the attributes it was set with [C1]', async () => {
    const response = await logout(t.app, (await register(t.app)).refreshToken)

    expect(clearsCookie(response)).toBe(true)
    expect(attributesOf(response)).toEqual(lasting)
  })

  test('where cookies are secure: __Host-refresh_token with Secure, set and cleared [C1]', async () => {
    const hostCookie = (response: request.Response) => `__Host-refresh_token=${refreshTokenOf(response)}`
    const set = await tryRegister(secure)
    const refreshed = await refreshWith(hostCookie(set), secure)
    const cleared = await presentTo('POST /auth/logout', hostCookie(refreshed), secure)

    for (const response of [set, refreshed, cleared])
      expect(response.get('Set-Cookie')?.[0]).toMatch(/^__Host-refresh_token=/)
    expect(refreshed.status).toBe(200)
    for (const response of [set, refreshed]) expect(attributesOf(response)).toEqual([...whole, 'Secure'])
    expect(clearsCookie(cleared)).toBe(true)
    expect(attributesOf(cleared)).toEqual([...lasting, 'Secure'])
    expect(await rowOf(secure, clientOf(set))).toMatchObject({ end_reason: 'logout' })
  })

  test.each([
    ['http://localhost:3000', { refresh: 'refresh_token_3000', device: 'device_3000' }],
    ['http://localhost:49152', { refresh: 'refresh_token_49152', device: 'device_49152' }],
    ['http://127.0.0.1:3001', { refresh: 'refresh_token_3001', device: 'device_3001' }],
    ['http://localhost', { refresh: 'refresh_token', device: 'device' }],
    ['https://localhost:3000', { refresh: '__Host-refresh_token', device: '__Host-device' }],
  ])('names the cookies of %s: %j [C1]', async (PUBLIC_URL, { refresh, device }) => {
    const on = await createTestApp({ PUBLIC_URL }, t.db)
    const registered = await tryRegister(on)
    const refreshed = await refreshWith(`${refresh}=${refreshTokenOf(registered)}`, on)
    await on.close()

    const names = (response: request.Response) =>
      response.get('Set-Cookie')?.map((line) => line.split('=')[0])
    expect(names(registered)).toEqual([refresh, device])
    expect([refreshed.status, names(refreshed)]).toEqual([200, [refresh]])
  })

  test('two servers on ports of one host keep each other out of a browser’s cookies [C1]', async () => {
    const other = await createTestApp({ PUBLIC_URL: 'http://localhost:3001' }, t.db)
    const [here, there] = [await tryRegister(), await tryRegister(other)]
    const jar = [here, there].flatMap((response) => response.get('Set-Cookie') ?? [])
    const sent = jar.map((line) => line.split(';')[0]).join('; ')

    const answers = [await refreshWith(sent), await refreshWith(sent, other)]
    const loggedOut = await presentTo('POST /auth/logout', sent, other)
    await other.close()

    expect(answers.map(({ status }) => status)).toEqual([200, 200])
    expect(answers.map(({ body }) => body.user.id)).toEqual([here.body.user.id, there.body.user.id])
    expect(loggedOut.get('Set-Cookie')?.join()).not.toContain(refreshCookieName)
    expect(await rowOf(t, clientOf(here))).toMatchObject({ generation: 2, ended_at: null })
  })

  test.each([
    ['one under the plain name', 'refresh_token=*', 'refresh_token_missing'],
    ['one under the name in lower case', '__host-refresh_token=*', 'refresh_token_missing'],
    ['two of the name', '__Host-refresh_token=*; __Host-refresh_token=*', 'refresh_token_invalid'],
  ])('where cookies are secure, %s is refused [C1]', async (_what, header, code) => {
    const client = await register(secure.app)

    const response = await refreshWith(header.replaceAll('*', client.refreshToken), secure)

    expectProblem(response, 401, code)
    expect(await rowOf(secure, client)).toMatchObject({ generation: 1, ended_at: null })
  })

  test('where cookies are secure, one that a subdomain planted under the plain name is ignored [C1]', async () => {
    const [client, planter] = [await register(secure.app), await register(secure.app)]
    const planted = `refresh_token=${planter.refreshToken}; __Host-refresh_token=${client.refreshToken}`

    const response = await refreshWith(planted, secure)

    expect(response.status).toBe(200)
    expect(response.body.user.id).toBe(client.userId)
    expect(await rowOf(secure, planter)).toMatchObject({ generation: 1, ended_at: null })
  })
})

describe('cookies that no client of ours sends', () => {
  test.each<[what: string, header: (token: string, other: string) => string | string[]]>([
    ['the same token twice', (token) => `${cookie(token)}; ${cookie(token)}`],
    ['two tokens', (token, other) => `${cookie(other)}; ${cookie(token)}`],
    ['an empty one first', (token) => `${cookie('')}; ${cookie(token)}`],
    ['an empty one last', (token) => `${cookie(token)}; ${cookie('')}`],
    ['no space between', (token) => `${cookie(token)};${cookie(token)}`],
    ['space around a name', (token) => `${cookie(token)}; \t${refreshCookieName} =${token}`],
    ['others between', (token) => `a=b; ${cookie(token)}; c=d; ${cookie('x')}`],
    ['two headers', (token) => [cookie(token), cookie(token)]],
  ])('refuses two cookies of the name: %s [C2]', async (_what, header) => {
    const other = await register(t.app)
    const before = await everything()

    const response = await refreshWith(header(untouched.refreshToken, other.refreshToken) as string)

    expectProblem(response, 401, 'refresh_token_invalid')
    expect(clearsCookie(response)).toBe(true)
    expect(await everything()).toEqual(before)
  })

  test.each([
    ['/auth', '/auth/refresh'],
    ['/auth/', '/auth/refresh'],
    ['/auth/refresh', '/auth/refresh'],
    ['/auth', '/auth/login'],
    ['/auth/', '/auth/logout'],
    ['/auth/logout', '/auth/logout'],
  ])(
    'a leftover cookie with the path %s is gone after one POST %s: the next login lasts [C2]',
    async (path, route) => {
      const { email } = await register(t.app)
      const jar = new Map([[path, 'leftover']])
      const post = async (to: string) => {
        const sent = [...jar].filter(([at]) => to === at || to.startsWith(at.replace(/\/?$/, '/')))
        const Cookie = sent.map(([, token]) => cookie(token)).join('; ')
        const response = await send(t.app, `POST ${to}`, {
          body: to === '/auth/login' ? { email, password } : undefined,
          headers: Cookie ? { Cookie } : {},
        })
        for (const line of response.get('Set-Cookie') ?? []) {
          const [, value = '', at = ''] = /^refresh_token_3000=([^;]*).*; Path=([^;]+)/.exec(line) ?? []
          if (value) jar.set(at, value)
          else jar.delete(at)
        }
        return response
      }

      await post('/auth/login')
      expect([...jar.keys()]).toEqual([path, '/'])
      const response = await post(route)
      expect(response.body.code).toBe(route === '/auth/refresh' ? 'refresh_token_invalid' : undefined)
      expect(jar.has(path)).toBe(false)
      await post('/auth/login')

      expect((await post('/auth/refresh')).status).toBe(200)
      expect((await post('/auth/refresh')).status).toBe(200)
    },
  )

  test('two cookies of the name are told of in the problem and in the log, without their values [C2]', async () => {
    const response = await refreshWith(`${cookie('canary-1')}; ${cookie('canary-2')}`)

    expect(response.body.detail).toMatch(/two refresh cookies.*delete the cookies of this site/i)
    const line = t.log.find(({ requestId, event }) => requestId === response.body.requestId && event)
    expect(line).toMatchObject({ event: 'refresh_cookie_twice', level: 40 })
    expect(JSON.stringify(line) + response.text).not.toContain('canary')
  })

  test('where cookies are secure there is one path, and one cookie is cleared [C2]', async () => {
    const response = await refreshWith('__Host-refresh_token=x; __Host-refresh_token=y', secure)

    expectProblem(response, 401, 'refresh_token_invalid')
    expect(response.get('Set-Cookie')).toHaveLength(1)
  })

  test.each<[what: string, value: (token: string) => string]>([
    ['a JSON string', (token) => `j:"${token}"`],
    ['a JSON array', (token) => `j:["${token}"]`],
    ['a JSON object', () => 'j:{"a":1}'],
    ['a JSON object that is no text', () => 'j:{"toString":1,"valueOf":1}'],
    ['a JSON object with __proto__', () => 'j:{"__proto__":{"polluted":true}}'],
    ['JSON, encoded', (token) => encodeURIComponent(`j:["${token}"]`)],
    ['JSON that is none', () => 'j:{'],
    ['JSON null', () => 'j:null'],
    ['the prefix alone', () => 'j:'],
    ['a signed cookie', (token) => `s:${token}`],
    ['a quoted token', (token) => `"${token}"`],
    ['an encoded token', (token) => `%65${token.slice(1)}`],
    ['a malformed percent encoding', (token) => `${token}%zz`],
    ['half a percent encoding', (token) => `${token}%`],
    ['percent-encoded bytes that are not UTF-8', () => '%ff%fe'],
    ['an encoded NUL', (token) => `${token}%00`],
    ['encoded line ends', (token) => `${token}%0d%0aSet-Cookie:%20a=b`],
  ])('%s is no token: refresh is 401, logout 204, no effect [C2]', async (_what, value) => {
    const before = await everything()
    const header = cookie(value(untouched.refreshToken))

    const refreshed = await refreshWith(header)
    const loggedOut = await presentTo('POST /auth/logout', header)

    expectProblem(refreshed, 401, 'refresh_token_invalid')
    expect(loggedOut.status).toBe(204)
    for (const response of [refreshed, loggedOut]) expect(clearsCookie(response)).toBe(true)
    expect(await everything()).toEqual(before)
    expect(({} as Record<string, unknown>).polluted).toBeUndefined()
  })

  test('strange cookies beside a good one do not matter [C2]', async () => {
    const client = await register(t.app)
    const strange = '%zz=%zz; =; ;;; j=j:{"a":1}; __proto__=x; constructor=y'

    await refreshWith(`${strange}; ${cookie(client.refreshToken)}`).expect(200)

    expect(await rowOf(t, client)).toMatchObject({ generation: 2 })
  })
})

const corsHeaders = (response: request.Response) =>
  Object.keys(response.headers).filter((name) => name.startsWith('access-control-'))
const varies = (response: request.Response) => (response.get('Vary') ?? '').split(/, */)

describe('cross-site requests', () => {
  function expectRefused(response: request.Response) {
    expectProblem(response, 403, 'cross_site_request')
    expect(response.get('Set-Cookie')).toBeUndefined()
  }
  const loginWith = (headers: Record<string, string>) => tryLogin(t.app, untouched.email).set(headers)

  test.each(unsafe)('GET and HEAD instead of %s: no effect [C3]', async (_route, act) => {
    const { pathname } = new URL(act(untouched).url)
    const before = await everything()

    for (const method of ['GET', 'HEAD']) {
      const response = await send(t.app, `${method} ${pathname}`, {
        as: untouched,
        token: untouched.refreshToken,
      }).query({ email: untouched.email, password })
      expect(response.status).toBe(405)
      expect(response.get('Allow')).not.toContain('GET')
      expect(response.get('Set-Cookie')).toBeUndefined()
    }
    expect(await everything()).toEqual(before)
  })

  test.each(unsafe)('%s from elsewhere: 403 cross_site_request, no effect [C3]', async (_route, act) => {
    const before = await everything()

    for (const headers of [
      { Origin: evil },
      { Origin: 'null' },
      { 'Sec-Fetch-Site': 'cross-site' },
      { Origin: listed, 'Sec-Fetch-Site': 'cross-site' },
    ])
      expectRefused(await act(untouched).set(headers as Record<string, string>))
    expect(await everything()).toEqual(before)
  })

  test.each(unsafe)(
    '%s from a program, from here and from a listed origin is let through [C3]',
    async (_route, act, route) => {
      for (const headers of [
        {},
        { Origin: own, 'Sec-Fetch-Site': 'same-origin' },
        { Origin: listed, 'Sec-Fetch-Site': 'same-site' },
      ]) {
        const client = await register(t.app)
        const token = await linkTokenFor(t, route, client)
        const before = await everything()
        expect((await act(client, token).set(headers as Record<string, string>)).ok).toBe(true)
        expect(await everything()).not.toEqual(before)
      }
    },
  )

  test.each([own, 'http://127.0.0.1:3000', 'http://[::1]:3000', listed, alsoListed])(
    'the origin %s logs in [C3]',
    async (Origin) => void (await loginWith({ Origin }).expect(200)),
  )

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
    `${listed},${alsoListed}`,
    `${listed} ${alsoListed}`,
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
  ])('the origin %j does not log in, and gets no CORS headers [C3]', async (Origin) => {
    const before = await everything()

    const response = await loginWith({ Origin })

    expectRefused(response)
    expect(corsHeaders(response)).toEqual([])
    expect(await everything()).toEqual(before)
  })

  test.each([
    ['same-origin', 200],
    ['same-site', 200],
    ['none', 200],
    ['cross-site', 403],
  ])('Sec-Fetch-Site: %s without an origin: %d [C3]', async (site, status) => {
    expect((await loginWith({ 'Sec-Fetch-Site': site })).status).toBe(status)
  })

  test('Sec-Fetch-Site: same-site does not make up for an origin that is not listed [C3]', async () => {
    expectRefused(await loginWith({ Origin: 'https://other.example.com', 'Sec-Fetch-Site': 'same-site' }))
  })

  test.each([
    [own, 403],
    ['http://127.0.0.1:3000', 403],
    ['https://localhost', 403],
    ['http://auth.example.com', 403],
    ['https://auth.example.com', 200],
  ])('where PUBLIC_URL is https://auth.example.com, the origin %s: %d [C3]', async (Origin, status) => {
    const { email } = await register(secure.app)

    expect((await tryLogin(secure.app, email).set({ Origin })).status).toBe(status)
  })
})

describe('the log of refused origins', () => {
  const refusals = (on: TestApp) => on.log.filter(({ event }) => event === 'origin_refused')

  test('has the origin, a line in ten seconds, and counts what it leaves out [C3]', async () => {
    const on = await createTestApp({}, t.db)
    const refuse = (Origin: string) => send(on.app, 'POST /auth/logout', { headers: { Origin } }).expect(403)
    await refuse('https://app.example.com')
    for (let i = 0; i < 5; i++) await refuse(`https://${i}.example`)
    const first = [...refusals(on)]
    await on.pass(11)
    await refuse('https://later.example')
    const all = refusals(on)
    await on.close()

    expect(first).toMatchObject([{ level: 40, origin: 'https://app.example.com', omitted: 0 }])
    expect(all.slice(1)).toMatchObject([{ origin: 'https://later.example', omitted: 5 }])
    expect(all[0]?.msg).toContain('CORS_ORIGINS')
  })

  test.each([
    ['long', `https://${'a'.repeat(15_000)}`, /^https:\/\/a{192}$/],
    ['with terminal escapes', 'https://\x9b31m\xff\tx', /^https:\/\/\?31m\?\?x$/],
  ])('an origin that is %s is bounded and printable in it [C3]', async (_what, Origin, shown) => {
    const on = await createTestApp({}, t.db)
    await send(on.app, 'POST /auth/logout', { headers: { Origin } }).expect(403)
    const [line] = refusals(on)
    await on.close()

    expect(line?.origin).toMatch(shown)
  })

  test('has nothing of requests that are let through [C3]', async () => {
    const on = await createTestApp({}, t.db)
    await send(on.app, 'POST /auth/logout', { headers: { Origin: own } }).expect(204)
    await send(on.app, 'GET /livez', { headers: { Origin: evil } }).expect(200)
    const lines = refusals(on)
    await on.close()

    expect(lines).toEqual([])
  })
})

test('a page at an address of the local network logs in to a server in development [C3]', async () => {
  const on = await createTestApp({ NODE_ENV: 'development', BCRYPT_COST: '10' }, t.db)
  const status = async (Origin: string) => (await tryRegister(on).set({ Origin })).status
  const statuses = [await status('http://192.168.178.20:3000'), await status('http://192.168.178.20:3001')]
  await on.close()

  expect(statuses).toEqual([201, 403])
})

describe('a proxy that the server does not know of', () => {
  const production = { NODE_ENV: 'production', BCRYPT_COST: '10', PUBLIC_URL: 'https://auth.example.com' }
  const warnings = async (environment: Record<string, string>, headers: Record<string, string>) => {
    const on = await createTestApp(environment, t.db)
    for (let i = 0; i < 3; i++) await send(on.app, 'GET /livez', { headers })
    await on.close()
    return on.log.filter(({ event }) => event === 'unknown_proxy')
  }

  test.each([{ 'X-Forwarded-For': '203.0.113.7' }, { Forwarded: 'for=203.0.113.7' }])(
    'is warned of once in production: %j [D5]',
    async (headers) => {
      const lines = await warnings(production, headers)

      expect(lines).toMatchObject([{ level: 40, msg: expect.stringContaining('TRUST_PROXY') }])
      expect(JSON.stringify(lines)).not.toContain('203.0.113.7')
    },
  )

  test('is not warned of where TRUST_PROXY is set, in development, or without the header [D5]', async () => {
    const forwarded = { 'X-Forwarded-For': '203.0.113.7' }

    expect(await warnings({ ...production, TRUST_PROXY: '1' }, forwarded)).toEqual([])
    expect(await warnings({ ...production, NODE_ENV: 'development' }, forwarded)).toEqual([])
    expect(await warnings(production, {})).toEqual([])
  })
})

describe('CORS', () => {
  const preflight = (path: string, Origin: string) =>
    send(t.app, `OPTIONS ${path}`, {
      headers: {
        Origin,
        'Access-Control-Request-Method': 'POST',
        'Access-Control-Request-Headers': 'content-type,authorization',
      },
    })
  const namesIn = (response: request.Response, header: string) =>
    (response.get(header) ?? '').split(/, */).sort()

  test.each(
    [listed, alsoListed].flatMap((origin) =>
      ['/auth/login', '/auth/sessions/some', '/users/me'].map((path) => [origin, path] as const),
    ),
  )('the preflight of %s for %s: 204, exact [C4]', async (origin, path) => {
    const response = await preflight(path, origin)

    expect(response.status).toBe(204)
    expect(response.headers).toMatchObject({
      'access-control-allow-origin': origin,
      'access-control-allow-credentials': 'true',
      'access-control-max-age': '600',
    })
    expect(namesIn(response, 'Access-Control-Allow-Methods')).toEqual(['DELETE', 'GET', 'POST'])
    expect(namesIn(response, 'Access-Control-Allow-Headers')).toEqual([
      'Authorization',
      'Content-Type',
      'baggage',
      'sentry-trace',
      'traceparent',
      'tracestate',
    ])
    expect(varies(response)).toContain('Origin')
    expect(response.get('Set-Cookie')).toBeUndefined()
  })

  test.each([evil, 'null', 'https://app.example.com.evil.example', 'http://app.example.com'])(
    'the preflight of %s gets nothing [C4]',
    async (origin) => {
      const response = await preflight('/auth/login', origin)

      expect(response.status).toBe(405)
      expect(corsHeaders(response)).toEqual([])
      expect(varies(response)).toContain('Origin')
    },
  )

  test.each([
    ['GET /livez', 200],
    ['GET /users/me', 401],
    ['GET /nowhere', 404],
    ['POST /auth/login', 400],
  ])('the answer to %s, %d, is for listed origins to read, and for no other [C4]', async (route, status) => {
    const known = await send(t.app, route, { headers: { Origin: listed } })
    const stranger = await send(t.app, route, { headers: { Origin: evil } })

    expect(known.status).toBe(status)
    expect(known.get('Access-Control-Allow-Origin')).toBe(listed)
    expect(known.get('Access-Control-Allow-Credentials')).toBe('true')
    expect(namesIn(known, 'Access-Control-Expose-Headers')).toEqual(['Retry-After', 'X-Request-Id'])
    expect(corsHeaders(stranger)).toEqual([])
    for (const response of [known, stranger]) expect(varies(response)).toContain('Origin')
  })

  test('without CORS_ORIGINS nobody gets CORS headers, the own origin neither needs nor gets them [C4]', async () => {
    const response = await tryRegister(secure).set({ Origin: 'https://auth.example.com' })

    expect(response.status).toBe(201)
    expect(corsHeaders(response)).toEqual([])
  })
})

test.each<[what: string, send: (on: typeof t) => request.Test]>([
  ...['GET /livez', 'GET /readyz', 'GET /.well-known/jwks.json', 'GET /nowhere', 'PUT /auth/login'].map(
    (route): [string, (on: typeof t) => request.Test] => [route, (on) => send(on.app, route)],
  ),
  ['a 403', (on) => send(on.app, 'POST /auth/logout', { headers: { Origin: 'null' } })],
  ['a 401', (on) => send(on.app, 'GET /users/me')],
  ['a 400', (on) => send(on.app, 'POST /auth/login')],
  ['a 204', (on) => send(on.app, 'POST /auth/logout')],
  ['a token answer', tryRegister],
])('security headers and Vary on %s [C4]', async (_what, act) => {
  const [plain, overTls] = [await act(t), await act(secure)]

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
  expect(overTls.get('Strict-Transport-Security')).toBe('max-age=31536000')
})

test('HSTS covers subdomains if HSTS_INCLUDE_SUBDOMAINS asks for it [C4]', async () => {
  const environment = { PUBLIC_URL: 'https://auth.example.com', HSTS_INCLUDE_SUBDOMAINS: 'true' }
  const wide = await createTestApp(environment, t.db)
  const response = await send(wide.app, 'GET /livez')
  await wide.close()

  expect(response.get('Strict-Transport-Security')).toBe('max-age=31536000; includeSubDomains')
})
