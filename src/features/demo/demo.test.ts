import { readFileSync } from 'node:fs'
import { describe, expect, test } from '@jest/globals'
import type { Request } from 'express'
import {
  createTestApp,
  expectProblem,
  refresh,
  refreshTokenOf,
  register,
  rowOf,
  send,
  useTestApp,
} from '../../../test/support/app.ts'
import { refreshCookieName } from '../../../test/support/environment.ts'
import { forge, partsOf } from '../../../test/support/forgeries.ts'
import { isFromThisMachine } from './lesson.ts'

const lessonRoutes = [
  'GET /demo/lesson/session',
  'POST /demo/lesson/copies',
  'POST /demo/lesson/copies/1/refresh',
]

describe('the page to try the server', () => {
  const t = useTestApp({ DEMO: 'true' })

  test('is at /, with a policy that allows files of this server only', async () => {
    const { text, headers } = await send(t.app, 'GET /').expect(200)

    expect(headers['content-type']).toBe('text/html; charset=utf-8')
    expect(headers['content-security-policy']).toBe(
      "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    )
    expect(text).not.toMatch(/<style|style=|<script>| on\w+=/)
    const files = [...text.matchAll(/(?:src|href)="(\/demo\/[^"]+\.\w+)"/g)].map(([, path]) => path)
    expect(files).toEqual(['/demo/demo.css', '/demo/demo.js'])
  })

  test.each([
    ['demo.css', 'text/css'],
    ['demo.js', 'text/javascript'],
    ['demo-lesson.js', 'text/javascript'],
    ['demo-outcome.js', 'text/javascript'],
    ['demo-page.js', 'text/javascript'],
    ['demo-sequence.js', 'text/javascript'],
    ['demo-tokens.js', 'text/javascript'],
    ['auth-client.js', 'text/javascript'],
    ['browser-name.js', 'text/javascript'],
    ['messages.js', 'text/javascript'],
  ])('is made of %s', async (name, type) => {
    const { text, headers } = await send(t.app, `GET /demo/${name}`).expect(200)

    expect(headers['content-type']).toBe(`${type}; charset=utf-8`)
    expect(text).toBe(readFileSync(`dist/client/${name}`, 'utf8'))
  })

  const cookie = `${refreshCookieName}=eyJ`
  test.each([
    ['none', 'no cookie', { 'Sec-Fetch-Site': 'none' }],
    ['none', 'cookies of other names', { 'Sec-Fetch-Site': 'same-origin', Cookie: 'a=1; refresh=2' }],
    ['unknown', 'a refresh cookie', { 'Sec-Fetch-Site': 'none', Cookie: cookie }],
    ['unknown', 'two of them', { 'Sec-Fetch-Site': 'same-site', Cookie: `${cookie}; ${cookie}` }],
    ['unknown', 'a visit from another site, where browsers hold it back', { 'Sec-Fetch-Site': 'cross-site' }],
    ['unknown', 'a browser that does not say where a visit comes from', {}],
  ])('tells the page that the login is %s, by %s', async (login, _what, headers) => {
    const { text, headers: answered } = await send(t.app, 'GET /').set(headers).expect(200)

    expect(text).toContain(`<html lang="en" data-login="${login}" data-lesson="off">`)
    expect(answered['cache-control']).toBe('no-store')
  })

  test.each(['demo.html', 'demo.d.ts', '..%2f..%2fpackage.json', '__proto__'])(
    'is not made of %s',
    async (name) => {
      expectProblem(await send(t.app, `GET /demo/${name}`), 404, 'not_found')
    },
  )

  test('can be read only', async () => {
    expectProblem(await send(t.app, 'POST /'), 405, 'method_not_allowed')
  })
})

describe('the lesson of the page', () => {
  const t = useTestApp({ DEMO: 'true', NODE_ENV: 'development', BCRYPT_COST: '10' })
  const session = (token?: string) => send(t.app, 'GET /demo/lesson/session', { token })
  const copyOf = async (token: string): Promise<string> =>
    (await send(t.app, 'POST /demo/lesson/copies', { token }).expect(201)).body.id
  const refreshCopy = (id: string) => send(t.app, `POST /demo/lesson/copies/${id}/refresh`)

  test('is offered by the page to a browser on this machine, and not through a proxy', async () => {
    const pages = [
      await send(t.app, 'GET /'),
      await send(t.app, 'GET /', { headers: { 'X-Forwarded-For': '127.0.0.1' } }),
    ]

    expect(pages.map(({ text }) => /data-lesson="(\w+)"/.exec(text)?.[1])).toEqual(['on', 'off'])
  })

  test('shows the claims of the refresh cookie, the generation of its session and the rest of the grace window', async () => {
    const client = await register(t.app)
    const { body: first } = await session(client.refreshToken).expect(200)
    const next = refreshTokenOf(await refresh(t.app, client.refreshToken))
    const { body: second } = await session(next).expect(200)

    expect(first).toEqual({
      claims: partsOf(client.refreshToken).claims,
      session: { generation: 1, graceMs: 0 },
      graceSeconds: 10,
    })
    expect(second.claims).toEqual(partsOf(next).claims)
    expect(second.session.generation).toBe(2)
    expect(second.session.graceMs).toBeGreaterThan(8_000)
    expect(second.session.graceMs).toBeLessThanOrEqual(10_000)
  })

  test.each([
    ['no cookie', undefined],
    ['a forged cookie', forge('x'.repeat(32), { typ: 'rt+jwt', kid: 'k' }, { gen: 1 })],
  ])('shows nothing for %s, and copies nothing', async (_what, token) => {
    const { body } = await session(token).expect(200)

    expect(body).toMatchObject({ claims: null, session: null })
    expectProblem(await send(t.app, 'POST /demo/lesson/copies', { token }), 401, 'refresh_token_missing')
  })

  test('refreshes with a copy by the real route: within the grace window both hold the same successor', async () => {
    const client = await register(t.app)
    const copy = await copyOf(client.refreshToken)

    const { body: byCopy } = await refreshCopy(copy).expect(200)
    const byOwner = refreshTokenOf(await refresh(t.app, client.refreshToken).expect(200))

    expect(byCopy).toEqual({ status: 200, code: null, claims: partsOf(byOwner).claims })
    expect((await rowOf(t, client))?.generation).toBe(2)
  })

  test('a thief who refreshes first is noticed when the owner refreshes after the window: both are out', async () => {
    const client = await register(t.app)
    const copy = await copyOf(client.refreshToken)
    await refreshCopy(copy).expect(200)
    await t.pass(11)

    expectProblem(await refresh(t.app, client.refreshToken), 401, 'refresh_token_reused')
    const { body } = await refreshCopy(copy).expect(200)

    expect(body).toEqual({ status: 401, code: 'session_ended', claims: null })
    expect((await rowOf(t, client))?.end_reason).toBe('reuse')
  })

  test('a thief who refreshes second, after the window, ends the session too', async () => {
    const client = await register(t.app)
    const copy = await copyOf(client.refreshToken)
    const next = refreshTokenOf(await refresh(t.app, client.refreshToken).expect(200))
    await t.pass(11)

    const { body } = await refreshCopy(copy).expect(200)

    expect(body).toEqual({ status: 401, code: 'refresh_token_reused', claims: null })
    expect((await session(next)).body).toMatchObject({ claims: partsOf(next).claims, session: null })
  })

  test('keeps the last ten copies', async () => {
    const { refreshToken } = await register(t.app)
    const first = await copyOf(refreshToken)
    for (let i = 0; i < 10; i++) await copyOf(refreshToken)

    expectProblem(await refreshCopy(first), 404, 'not_found')
  })

  test('puts no token into an answer or into the log', async () => {
    const client = await register(t.app)
    const copy = await copyOf(client.refreshToken)
    const answers = [await session(client.refreshToken), await refreshCopy(copy), await refreshCopy(copy)]

    expect(answers.map(({ text }) => text).join()).not.toMatch(/eyJ[\w-]+\.[\w-]+\./)
    expect(answers.flatMap((answer) => answer.get('Set-Cookie') ?? [])).toEqual([])
    expect(JSON.stringify(t.log)).not.toMatch(/eyJ[\w-]+\.[\w-]+\./)
  })

  test.each(['POST /demo/lesson/copies', 'POST /demo/lesson/copies/1/refresh'])(
    '%s refuses a page of another site',
    async (route) => {
      const headers = { 'Sec-Fetch-Site': 'cross-site' }
      expectProblem(await send(t.app, route, { headers }), 403, 'cross_site_request')
    },
  )

  const forwarding = [{ 'X-Forwarded-For': '127.0.0.1' }, { Forwarded: 'for=127.0.0.1' }]
  test.each(lessonRoutes.flatMap((route) => forwarding.map((headers) => ({ route, headers }))))(
    '$route is 404 for a request that a proxy has passed on: $headers',
    async ({ route, headers }) => {
      expectProblem(await send(t.app, route, { headers }), 404, 'not_found')
    },
  )

  test('is for loopback addresses only', () => {
    const from = (remoteAddress: string | undefined) =>
      isFromThisMachine({ socket: { remoteAddress }, headers: {} } as Request)

    expect(['127.0.0.1', '127.8.0.1', '::1', '::ffff:127.0.0.1'].map(from)).toEqual(Array(4).fill(true))
    expect(['10.0.0.1', '192.0.2.1', '2001:db8::1', '0.0.0.0', undefined].map(from)).toEqual(
      Array(5).fill(false),
    )
  })
})

describe.each([
  ['production', { NODE_ENV: 'production', DEMO: 'true', PUBLIC_URL: 'https://auth.example.com' }],
  ['a test environment', { DEMO: 'true' }],
  ['development without the demo', { NODE_ENV: 'development', DEMO: 'false' }],
])('in %s', (_environment, settings) => {
  const t = useTestApp({ BCRYPT_COST: '10', ...settings })

  test.each(lessonRoutes)('%s does not exist', async (route) => {
    expectProblem(await send(t.app, route), 404, 'not_found')
  })

  test('the page does not offer the lesson', async () => {
    expect((await send(t.app, 'GET /')).text).not.toContain('data-lesson="on"')
  })
})

describe('elsewhere than in development', () => {
  const t = useTestApp()

  test.each(['/', '/demo/demo.js'])('%s is 404', async (path) => {
    expectProblem(await send(t.app, `GET ${path}`), 404, 'not_found')
  })

  test.each([
    ['development', undefined, true],
    ['development', 'false', false],
    ['production', undefined, false],
    ['production', 'true', true],
  ])('NODE_ENV=%s, DEMO=%s: %s', async (environment, DEMO, served) => {
    const app = await createTestApp({ NODE_ENV: environment, BCRYPT_COST: '10', ...(DEMO && { DEMO }) })
    const { status } = await send(app.app, 'GET /')
    await app.close()

    expect(status).toBe(served ? 200 : 404)
  })
})
