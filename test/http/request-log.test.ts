import { expect, test } from '@jest/globals'
import { sql } from 'drizzle-orm'
import {
  createAppWithoutKeys,
  otherPassword,
  refresh,
  refreshSecret,
  register,
  send,
  tryLogin,
  useTestApp,
} from '../support/app.ts'
import { withoutDatabase } from '../support/database.ts'
import { forge, partsOf } from '../support/forgeries.ts'

const t = useTestApp()

/** The lines of the log about the request that was answered so. */
const linesOf = (response: { get(name: string): string | undefined }, log = t.log) =>
  log.filter(({ requestId }) => requestId === response.get('X-Request-Id'))

const warn = 40
const error = 50

test('a request line has the code of the problem that was answered, so a reported requestId leads to it', async () => {
  const { refreshToken, ...as } = await register(t.app)
  const problems = {
    invalid_credentials: await tryLogin(t.app, as.email, otherPassword),
    invalid_json: await send(t.app, 'POST /auth/login', { body: '{' }),
    access_token_missing: await send(t.app, 'GET /users/me'),
    not_found: await send(t.app, 'GET /nowhere'),
    method_not_allowed: await send(t.app, 'PUT /users/me'),
    refresh_token_invalid: await refresh(t.app, 'x'),
  }

  for (const [code, response] of Object.entries(problems)) {
    expect(response.body.code).toBe(code)
    expect(linesOf(response)).toMatchObject([{ level: 30, code, res: { statusCode: response.status } }])
  }
  expect(linesOf(await send(t.app, 'GET /livez'))[0]).not.toHaveProperty('code')
})

test('a request line names the user of a verified token, and of no other', async () => {
  const { userId, ...client } = await register(t.app)
  const verified = [
    await send(t.app, 'GET /users/me', { as: client }),
    await send(t.app, 'DELETE /auth/sessions/AAAAAAAAAAAAAAAAAAAAAA', { as: client }),
    await refresh(t.app, client.refreshToken),
  ]
  const others = [
    await send(t.app, 'GET /users/me', { as: { accessToken: `${client.accessToken}x` } }),
    await refresh(t.app, `${client.refreshToken}x`),
    await tryLogin(t.app, client.email, otherPassword),
  ]

  for (const response of verified) expect(linesOf(response)).toMatchObject([{ userId }])
  for (const response of others) expect(JSON.stringify(linesOf(response))).not.toContain(userId)
})

test('what waits for the database is answered 503 with warnings, none of them with a stack', async () => {
  const answers = await withoutDatabase(t.db, async () => [
    await send(t.app, 'GET /readyz'),
    await tryLogin(t.app, 'ada@example.com'),
  ])

  for (const response of answers) {
    const lines = linesOf(response)
    expect(response.status).toBe(503)
    expect(lines.at(-1)).toMatchObject({ level: warn, msg: 'request completed' })
    expect(lines.filter(({ level }) => Number(level) > warn)).toEqual([])
    expect(JSON.stringify(lines)).not.toContain('stack')
  }
})

test('what waits for keys is answered 503 with a warning that names the cause', async () => {
  const without = await createAppWithoutKeys(t.db)
  const { header, claims } = partsOf((await register(without.app)).refreshToken)

  const response = await refresh(without.app, forge(refreshSecret, { ...header, kid: 'unknown' }, claims))
  await without.close()

  expect(linesOf(response, without.log).map(({ level, code }) => ({ level, code }))).toEqual([
    { level: warn, code: undefined },
    { level: warn, code: 'unavailable' },
  ])
})

test('an unexpected error is logged once with its stack, and its request line has none', async () => {
  await t.db.rows(sql`ALTER TABLE audit_events RENAME TO gone`)
  const response = await tryLogin(t.app, 'ada@example.com')
  await t.db.rows(sql`ALTER TABLE gone RENAME TO audit_events`)

  const [thrown, request, ...more] = linesOf(response)
  expect(response.status).toBe(500)
  expect(thrown).toMatchObject({ level: error, msg: 'unexpected error', err: { stack: expect.any(String) } })
  expect(request).toMatchObject({ level: error, code: 'internal_error', res: { statusCode: 500 } })
  expect(request).not.toHaveProperty('err')
  expect(more).toEqual([])
})

test('what happened to keys is said in words', () => {
  const said = t.log.filter(({ event }) => /^key/.test(String(event))).map(({ msg, kid }) => ({ msg, kid }))

  expect(said).toEqual(
    expect.arrayContaining([
      {
        msg: expect.stringMatching(/^Key [\w-]+ of JWT_ACCESS_SECRET now signs\.$/),
        kid: expect.any(String),
      },
      {
        msg: expect.stringMatching(/^Key [\w-]+ of JWT_REFRESH_SECRET now signs\.$/),
        kid: expect.any(String),
      },
      { msg: 'All secrets were read.', kid: undefined },
    ]),
  )
})
