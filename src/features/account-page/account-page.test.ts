import { readFileSync } from 'node:fs'
import { describe, expect, test } from '@jest/globals'
import {
  createTestApp,
  expectProblem,
  logout,
  refresh,
  refreshTokenOf,
  register,
  rowOf,
  send,
  useTestApp,
} from '../../../test/support/app.ts'
import { withoutDatabase } from '../../../test/support/database.ts'
import { refreshCookieName } from '../../../test/support/environment.ts'

const files = ['account-page.css', 'account-page.js']

describe('the account page', () => {
  const t = useTestApp()
  const login = (token?: string) => send(t.app, 'GET /account/login', { token })

  test('allows files of this server only, no inline code, and sends no referrer', async () => {
    const { text, headers } = await send(t.app, 'GET /account').expect(200)

    expect(headers).toMatchObject({
      'content-type': 'text/html; charset=utf-8',
      'content-security-policy':
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
      'referrer-policy': 'no-referrer',
      'cache-control': 'no-store',
    })
    expect(text).not.toMatch(/<style|style=|<script>| on\w+=/)
    expect([...text.matchAll(/(?:src|href)="(\/[^"]+\.\w+)"/g)].map(([, path]) => path)).toEqual(
      files.map((name) => `/account/${name}`),
    )
  })

  test.each([
    ['account-page.css', 'text/css'],
    ['account-page.js', 'text/javascript'],
  ])('is made of %s', async (name, type) => {
    const { text, headers } = await send(t.app, `GET /account/${name}`).expect(200)

    expect(headers['content-type']).toBe(`${type}; charset=utf-8`)
    expect(text).toBe(readFileSync(`dist/client/${name}`, 'utf8'))
  })

  test.each(['account-page.html', 'auth-client.js', '..%2f..%2fpackage.json', '__proto__'])(
    'is not made of %s',
    async (name) => {
      expectProblem(await send(t.app, `GET /account/${name}`), 404, 'not_found')
    },
  )

  test('is the same for every visitor, and can be read only', async () => {
    const { refreshToken } = await register(t.app)
    const [stranger, owner] = [
      await send(t.app, 'GET /account'),
      await send(t.app, 'GET /account', { token: refreshToken }),
    ]

    expect(owner.text).toBe(stranger.text)
    await send(t.app, 'HEAD /account').expect(200)
    expectProblem(await send(t.app, 'POST /account'), 405, 'method_not_allowed')
  })

  test('learns whether the session of the cookie is live, which changes no session and sets no cookie', async () => {
    const client = await register(t.app)
    const before = await rowOf(t, client)

    const live = await login(client.refreshToken).expect(200)
    const after = await rowOf(t, client)
    const next = refreshTokenOf(await refresh(t.app, client.refreshToken).expect(200))
    await logout(t.app, next)
    const ended = await login(next).expect(200)

    expect([live.body.live, ended.body.live]).toEqual([true, false])
    expect(after).toEqual(before)
    expect([live, ended].map((answer) => answer.get('Set-Cookie'))).toEqual([undefined, undefined])
    expect(live.headers['cache-control']).toBe('no-store')
  })

  test.each([
    ['no cookie', {}],
    ['a forged cookie', { Cookie: `${refreshCookieName}=eyJ.eyJ.x` }],
    ['two cookies', { Cookie: `${refreshCookieName}=eyJ; ${refreshCookieName}=eyJ` }],
  ])('learns that there is no live session: %s', async (_what, headers) => {
    const { body } = await send(t.app, 'GET /account/login', { headers }).expect(200)

    expect(body).toEqual({ live: false, home: false, mailbox: false })
  })

  test('works while the database is unavailable', async () => {
    const { refreshToken } = await register(t.app)

    const [page, state] = await withoutDatabase(t.db, async () => [
      await send(t.app, 'GET /account'),
      await login(refreshToken),
    ])

    expect([page?.status, state?.status, state?.body]).toEqual([
      200,
      200,
      { live: false, home: false, mailbox: false },
    ])
  })
})

describe('the place of the account page', () => {
  const app = 'https://app.example.com'
  test.each([
    ['by default in production, without mail', 200, {}],
    [
      'by default in production, with mail',
      200,
      { SMTP_URL: 'smtp://127.0.0.1:9', MAIL_FROM: 'auth@example.com' },
    ],
    ['if ACCOUNT_URL spells the default', 200, { ACCOUNT_URL: 'https://auth.example.com/account' }],
    ['if ACCOUNT_URL names the port too', 200, { ACCOUNT_URL: 'https://auth.example.com:443/account' }],
    ['if ACCOUNT_URL has capitals', 200, { ACCOUNT_URL: 'https://Auth.Example.com/account' }],
    ['not if ACCOUNT_URL is a page of a frontend', 404, { ACCOUNT_URL: `${app}/account`, CORS_ORIGINS: app }],
    ['not if ACCOUNT_URL is another page here', 404, { ACCOUNT_URL: 'https://auth.example.com/settings' }],
  ])('is this server %s: %i', async (_what, status, settings) => {
    const t = await createTestApp({
      NODE_ENV: 'production',
      PUBLIC_URL: 'https://auth.example.com',
      BCRYPT_COST: '12',
      ...settings,
    })
    const paths = ['/account', '/account/login', ...files.map((name) => `/account/${name}`)]
    const answers = await Promise.all(paths.map((path) => send(t.app, `GET ${path}`)))
    await t.close()

    expect(answers.map((answer) => answer.status)).toEqual(paths.map(() => status))
  })

  test.each([
    ['https://auth.example.com/account', {}],
    [`${app}/settings`, { ACCOUNT_URL: `${app}/settings`, CORS_ORIGINS: app }],
  ])('is named by the well-known URL for changing passwords: %s', async (url, settings) => {
    const t = await createTestApp({ PUBLIC_URL: 'https://auth.example.com', ...settings })
    const { status, headers } = await send(t.app, 'GET /.well-known/change-password')
    await t.close()

    expect([status, headers.location]).toEqual([302, url])
  })

  test('is told apart from the page at / and from the mailbox, to which it leads if they are there', async () => {
    const t = await createTestApp({ DEMO: 'true' })
    const { body } = await send(t.app, 'GET /account/login')
    const [home, mailbox] = [await send(t.app, 'GET /'), await send(t.app, 'GET /demo/mailbox')]
    await t.close()

    expect(body).toEqual({ live: false, home: home.status === 200, mailbox: mailbox.status === 200 })
  })
})
