// Faults that attacks on the running server have found, each by the request that showed it.

import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { sql } from 'drizzle-orm'
import {
  accessSecret,
  cookie,
  createTestApp,
  refresh,
  refreshSecret,
  register,
  send,
  type TestApp,
  tryLogin,
} from '../support/app.ts'
import { withoutDatabase } from '../support/database.ts'
import { exchange } from '../support/raw.ts'

let t: TestApp
let server: Server
beforeAll(async () => {
  t = await createTestApp()
  server = createServer(t.app).listen(0, '127.0.0.1')
  await once(server, 'listening')
})
afterAll(async () => {
  server.closeAllConnections()
  server.close()
  await t.close()
})

const raw = (bytes: string) => exchange(server, bytes)

test('a cookie whose name only looks like ours does not keep the session alive at logout [C2]', async () => {
  const { refreshToken } = await register(t.app)

  const answers = await raw(
    `POST /auth/logout HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\nCookie: ${cookie(refreshToken)}; \xa0${cookie('x')}\r\n\r\n`,
  )

  expect(answers).toMatchObject([{ status: 204 }])
  expect((await refresh(t.app, refreshToken)).body.code).toBe('session_ended')
})

test.each([
  ['a declared length', 'Content-Length: 99999999\r\n\r\n{'],
  ['chunks without an end', `Transfer-Encoding: chunked\r\n\r\n2100\r\n${' '.repeat(0x2100)}\r\n`],
])('answers 413 to %s before all of it has come, and closes [F1]', async (_what, rest) => {
  const answers = await raw(`POST /auth/login HTTP/1.1\r\nHost: localhost\r\n${rest}`)

  expect(answers).toMatchObject([
    { status: 413, body: expect.stringContaining('"code":"payload_too_large"') },
  ])
})

test('the log has no credentials or fragment of an address [F4]', async () => {
  await raw(
    'GET http://user:pa55word@localhost/livez#t0ken HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n',
  )

  expect(JSON.stringify(t.log)).not.toMatch(/pa55word|t0ken/)
  expect(t.log.at(-1)).toMatchObject({ req: { method: 'GET', path: '/livez' } })
})

test.each(['GET http://[x/', 'GET http://a:b/', 'GET *', 'OPTIONS *'])(
  'a target that cannot be parsed, %s, is a path that no route has',
  async (request) => {
    const answers = await raw(`${request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`)

    expect(answers).toMatchObject([{ status: 404, body: expect.stringContaining('"code":"not_found"') }])
    expect(answers[0]?.headers.get('X-Request-Id')).toMatch(/./)
  },
)

test.each([
  ['two Hosts', 'Host: localhost\r\nHost: evil.example\r\nContent-Length: 0'],
  ['two Content-Lengths', 'Host: localhost\r\nContent-Length: 0\r\nContent-Length: 1'],
  [
    'Content-Length and Transfer-Encoding',
    'Host: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked',
  ],
  ['no Host', 'Content-Length: 0'],
  ['a folded header', 'Host: localhost\r\nX-A: b\r\n c\r\nContent-Length: 0'],
])('%s: 400, and the connection ends [F3]', async (_what, headers) => {
  const { refreshToken } = await register(t.app)

  const answers = await raw(
    `POST /auth/logout HTTP/1.1\r\n${headers}\r\nConnection: close\r\nCookie: ${cookie(refreshToken)}\r\n\r\n`,
  )

  expect(answers).toMatchObject([{ status: 400 }])
  expect((await refresh(t.app, refreshToken)).status).toBe(200)
})

test.each([
  ['a path that no route has', 'POST /nowhere', 404],
  ['another method', 'PUT /auth/login', 405],
  ['another site', 'POST /auth/login HTTP/1.1\r\nOrigin: https://evil.example\r\nX:', 403],
])('a long body to %s is not read to its end: the connection closes [F3]', async (_what, start, status) => {
  const request = start.includes('HTTP/1.1') ? start : `${start} HTTP/1.1\r\nX:`

  const answers = await raw(`${request} x\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n{`)

  expect(answers).toMatchObject([{ status }])
  expect(answers[0]?.headers.get('Connection')).toBe('close')
})

test('a short body to a path that no route has leaves the connection open', async () => {
  const answers = await raw(
    'POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n',
  )

  expect(answers.map(({ status }) => status)).toEqual([404, 200])
})

test('thousands of requests in one packet: the connection is cut, and others are served meanwhile [F3]', async () => {
  const attack = raw('GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n'.repeat(20_000))
  const startedAt = Date.now()

  const answer = await send(t.app, 'GET /livez')

  expect(answer.status).toBe(200)
  expect(Date.now() - startedAt).toBeLessThan(5_000)
  expect((await attack).filter(({ status }) => status === 200).length).toBeLessThanOrEqual(8)
})

test('a few requests in one packet are all answered, in their order [F3]', async () => {
  const get = (path: string, more = '') => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n${more}\r\n`

  const answers = await raw(
    get('/livez') + get('/nowhere') + get('/livez') + get('/readyz', 'Connection: close\r\n'),
  )

  expect(answers.map(({ status }) => status)).toEqual([200, 404, 200, 200])
})

test('no line of the log has a password, a token, a cookie, a secret or personal data in it [E6, F4]', async () => {
  const canary = 'QzK7canary'
  const client = await register(t.app, `${canary.toLowerCase()}@example.com`)
  const bodies = [{ email: client.email, password: `${canary} of a password` }, `{"email":"${canary}`]
  for (const body of bodies)
    for (const path of ['/auth/login', '/auth/register', '/auth/password', '/users/me', '/nowhere'])
      await send(t.app, `POST ${path}?token=${canary}`, {
        body,
        as: client,
        token: client.refreshToken,
        headers: { 'User-Agent': canary, Origin: `https://${canary}.example`, 'X-Forwarded-For': canary },
      })
  await send(t.app, 'GET /users/me', { as: { accessToken: `${client.accessToken}${canary}` } })
  await send(t.app, 'POST /auth/refresh', { token: `${client.refreshToken}${canary}` })
  await withoutDatabase(t.db, () => tryLogin(t.app, client.email, canary))
  await t.db.rows(sql`ALTER TABLE audit_events RENAME TO gone`)
  const broken = await tryLogin(t.app, client.email, canary)
  await t.db.rows(sql`ALTER TABLE gone RENAME TO audit_events`)

  const log = JSON.stringify(t.log)

  expect(broken.status).toBe(500)
  expect(log).toContain('unexpected error')
  for (const text of [
    canary,
    canary.toLowerCase(),
    client.accessToken,
    client.refreshToken,
    accessSecret,
    refreshSecret,
  ])
    expect(log).not.toContain(text)
})
