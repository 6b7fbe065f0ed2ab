import { describe, expect, test } from '@jest/globals'
import {
  createTestApp,
  expectProblem,
  newEmail,
  queueHello,
  send,
  useTestApp,
} from '../../../test/support/app.ts'

const t = useTestApp({ DEMO: 'true' })
const json = { Accept: 'application/json' }
const mailbox = (headers: Record<string, string> = {}, app = t.app) =>
  send(app, 'GET /demo/mailbox', { headers })

async function receiveMail(): Promise<string> {
  const email = newEmail()
  await queueHello(t, email)
  await t.mails()
  return email
}

describe('GET /demo/mailbox', () => {
  test('shows programs the mails, newest first', async () => {
    const [first, second] = [await receiveMail(), await receiveMail()]

    const { body } = await mailbox(json)
      .expect(200)
      .expect('Content-Type', /^application\/json/)

    expect(body.mails.slice(0, 2).map(({ to }: { to: string }) => to)).toEqual([second, first])
    expect(body.mails[0]).toEqual({
      at: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/),
      to: second,
      subject: 'Hello',
      text: expect.stringContaining('Bye'),
      html: expect.stringContaining('<h1'),
    })
    expect(Object.keys(body)).toEqual(['mails'])
  })

  test('shows people a page on which nothing runs and nothing loads', async () => {
    const to = await receiveMail()

    const page = await mailbox({ Accept: 'text/html,*/*;q=0.8' })
      .expect(200)
      .expect('Content-Type', /^text\/html/)

    expect(page.text).toContain(to)
    expect(page.text).toMatch(
      /<iframe [^>]*sandbox="allow-top-navigation-by-user-activation" srcdoc="&lt;!doctype/,
    )
    expect(page.text).not.toMatch(/<script|\bsrc=/)
    expect(page.get('Content-Security-Policy')).toMatch(/default-src 'none'; style-src 'unsafe-inline'; /)
    expect(page.get('Cache-Control')).toBe('no-store')
    expect((await mailbox()).get('Content-Type')).toMatch(/^text\/html/)
  })

  test('keeps the newest 100 mails', async () => {
    const oldest = await receiveMail()
    for (let i = 0; i < 100; i++) await queueHello(t, newEmail())
    await t.mails()

    const { mails } = (await mailbox(json)).body

    expect(mails).toHaveLength(100)
    expect(mails.map(({ to }: { to: string }) => to)).not.toContain(oldest)
  })

  test('is not in the OpenAPI document', async () => {
    const { paths } = (await send(t.app, 'GET /openapi.json')).body ?? {}

    expect(Object.keys(paths ?? {}).filter((path) => path.startsWith('/demo'))).toEqual([])
  })

  test.each([
    ['a name that points here by DNS rebinding', { Host: 'evil.example' }],
    ['a name that looks like an own one', { Host: 'localhost.evil.example:3000' }],
  ])('answers 404 to %s', async (_what, headers) => {
    expectProblem(await mailbox({ ...json, ...headers }), 404, 'not_found')
  })

  test('answers 404 to other machines, as TRUST_PROXY tells', async () => {
    const behindProxy = await createTestApp({ DEMO: 'true', TRUST_PROXY: '1' })
    const from = (address: string) => mailbox({ ...json, 'X-Forwarded-For': address }, behindProxy.app)

    expectProblem(await from('203.0.113.1'), 404, 'not_found')
    expectProblem(await from('10.0.0.1'), 404, 'not_found')
    expect((await from('127.0.0.1')).status).toBe(200)
    expect((await from('::1')).status).toBe(200)
    await behindProxy.close()
    // Without TRUST_PROXY, the header says nothing.
    expect((await mailbox({ 'X-Forwarded-For': '203.0.113.1' })).status).toBe(200)
  })

  test.each([
    ['the demo is off', { DEMO: 'false' }],
    ['the demo is not switched on', {}],
    ['there is an SMTP server', { DEMO: 'true', SMTP_URL: 'smtp://127.0.0.1:9', MAIL_FROM: 'a@example.com' }],
    [
      'this is production',
      {
        DEMO: 'true',
        NODE_ENV: 'production',
        BCRYPT_COST: '10',
        PUBLIC_URL: 'http://localhost:3000',
      },
    ],
  ])('answers 404 if %s', async (_what, environment) => {
    const other = await createTestApp(environment)

    expectProblem(await mailbox(json, other.app), 404, 'not_found')
    await other.close()
  })
})
