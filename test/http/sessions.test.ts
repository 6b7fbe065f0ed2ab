import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals'
import { type SQL, sql } from 'drizzle-orm'
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
  refresh,
  refreshCookieOf,
  register,
  type TestApp,
} from '../support/app.ts'
import { databaseName } from '../support/database.ts'

const otherPassword = 'my cat is called tux'

// Of embedded databases on a busy machine: each takes seconds to start.
jest.setTimeout(30_000)

let t: TestApp
let capped: TestApp
beforeAll(async () => {
  t = await createTestApp({ SESSIONS_PER_USER: '1000' })
  capped = await createTestApp({ SESSIONS_PER_USER: '3' })
})
afterAll(async () => {
  await t.close()
  await capped.close()
})

const run = (statement: SQL, on = t) => on.db.rows(statement)
const rowOf = async ({ sessionId }: Client, on = t) => {
  const [row] = await run(sql`SELECT * FROM sessions WHERE id = ${sessionId}`, on)
  return row
}
const hashOf = async ({ userId }: Client) => {
  const [row] = await run(sql`SELECT password_hash FROM users WHERE id = ${userId}`)
  return row?.password_hash
}
const disable = ({ userId }: Client) => run(sql`UPDATE users SET disabled_at = now() WHERE id = ${userId}`)
const enable = ({ userId }: Client) => run(sql`UPDATE users SET disabled_at = NULL WHERE id = ${userId}`)

const as = (client: Client, method: 'get' | 'post' | 'delete', path: string, on = t) =>
  request(on.app)[method](path).set('Authorization', bearer(client))
const me = (client: Client, on = t) => as(client, 'get', '/users/me', on)
const logout = (token: string) => request(t.app).post('/auth/logout').set('Cookie', cookie(token))
const logoutAll = (client: Client) => as(client, 'post', '/auth/logout-all')
const loginTo = (email: string, withPassword = password) =>
  request(t.app).post('/auth/login').send({ email, password: withPassword })
const changePassword = (client: Client, currentPassword: string, newPassword: string) =>
  as(client, 'post', '/auth/password').send({ currentPassword, newPassword })

const listed = async (client: Client, on = t) =>
  (await as(client, 'get', '/auth/sessions', on).expect(200)).body.sessions as Record<string, unknown>[]
const listedIds = async (client: Client, on = t) => (await listed(client, on)).map(({ id }) => id).sort()
const idsOf = (...clients: Client[]) => clients.map(({ sessionId }) => sessionId).sort()

/** Whatever the client holds is of no use: neither token works. */
async function expectUnusable(client: Client, on = t) {
  const [access, rotation] = [await me(client, on), await refresh(on.app, client.refreshToken)]
  expect({ status: access.status, code: access.body.code }).toEqual({ status: 401, code: 'session_ended' })
  expect({ status: rotation.status, code: rotation.body.code }).toEqual({
    status: 401,
    code: 'session_ended',
  })
}

async function expectUsable(client: Client, on = t) {
  await me(client, on).expect(200)
  await refresh(on.app, client.refreshToken).expect(200)
}

describe(`login on ${databaseName}`, () => {
  test('gives a session of its own each time', async () => {
    const first = await register(t.app)
    const second = await login(t.app, first.email)

    expect(second.userId).toBe(first.userId)
    expect(second.sessionId).not.toBe(first.sessionId)
    await expectUsable(first)
    await expectUsable(second)
  })

  test('B5 ignores the identity in a presented cookie, starts a new session, ends the presented one', async () => {
    const [victim, visitor] = [await register(t.app), await register(t.app)]

    const response = await loginTo(visitor.email).set('Cookie', cookie(victim.refreshToken))

    expect(response.status).toBe(200)
    const client = clientOf(response)
    expect(client.userId).toBe(visitor.userId)
    expect(client.sessionId).not.toBe(victim.sessionId)
    expect(await rowOf(victim)).toMatchObject({ user_id: victim.userId, end_reason: 'login' })
    await expectUnusable(victim)
    await expectUsable(client)
    await expectUsable(visitor)
  })

  test('B5 ends the presented session by a token of an older generation too', async () => {
    const client = await register(t.app)
    const successor = clientOf(await refresh(t.app, client.refreshToken))

    const response = await loginTo(client.email).set('Cookie', cookie(client.refreshToken))

    expect(response.status).toBe(200)
    expect(await rowOf(client)).toMatchObject({ end_reason: 'login' })
    await expectUnusable(successor)
    await expectUsable(clientOf(response))
  })

  test('B5 registering ends the presented session too', async () => {
    const before = await register(t.app)

    const response = await request(t.app)
      .post('/auth/register')
      .set('Cookie', cookie(before.refreshToken))
      .send({ email: newEmail(), password })

    expect(response.status).toBe(201)
    const client = clientOf(response)
    expect(client.userId).not.toBe(before.userId)
    expect(await rowOf(before)).toMatchObject({ end_reason: 'login' })
    await expectUnusable(before)
    await expectUsable(client)
  })

  test.each([
    { path: '/auth/login', credentials: ({ email }: Client) => ({ email, password }) },
    { path: '/auth/register', credentials: () => ({ email: newEmail(), password }) },
  ])('B5 two cookies presented to $path end no session', async ({ path, credentials }) => {
    const [one, two] = [await register(t.app), await register(t.app)]

    const response = await request(t.app)
      .post(path)
      .set('Cookie', `${cookie(one.refreshToken)}; ${cookie(two.refreshToken)}`)
      .send(credentials(one))

    expect(response.ok).toBe(true)
    await expectUsable(clientOf(response))
    await expectUsable(one)
    await expectUsable(two)
  })

  test.each([
    { path: '/auth/login', status: 401, sent: ({ email }: Client) => ({ email, password: otherPassword }) },
    { path: '/auth/register', status: 409, sent: ({ email }: Client) => ({ email, password }) },
  ])('B5 where $path fails, the presented session goes on', async ({ path, status, sent }) => {
    const client = await register(t.app)

    const response = await request(t.app)
      .post(path)
      .set('Cookie', cookie(client.refreshToken))
      .send(sent(client))

    expect(response.status).toBe(status)
    expect(refreshCookieOf(response)).toBeUndefined()
    await expectUsable(client)
  })

  test.each(['garbage', 'a.b.c', ''])('B5 a presented cookie %j is no hindrance', async (token) => {
    const client = await register(t.app)

    await loginTo(client.email).set('Cookie', cookie(token)).expect(200)

    await expectUsable(client)
  })

  test('of a disabled user: the same answer as for a wrong password, and no session', async () => {
    const client = await register(t.app)
    const wrong = await loginTo(client.email, otherPassword)
    await disable(client)

    const response = await loginTo(client.email)

    expect(response.status).toBe(401)
    const { requestId, ...problem } = response.body
    expect(problem).toMatchObject({ code: 'invalid_credentials' })
    expect(requestId).toBe(response.get('X-Request-Id'))
    expect({ ...problem, requestId: wrong.body.requestId }).toEqual(wrong.body)
    expect(refreshCookieOf(response)).toBeUndefined()
    const rows = await run(sql`SELECT id FROM sessions WHERE user_id = ${client.userId}`)
    expect(rows).toHaveLength(1)
  })
})

describe('logout', () => {
  const garbage = `garbage.${'x'.repeat(20)}.x`

  test.each<{
    what: string
    present: (client: Client) => string | undefined | Promise<string>
    ends: boolean
  }>([
    { what: 'no cookie', present: () => undefined, ends: false },
    { what: 'an empty cookie', present: () => cookie(''), ends: false },
    { what: 'garbage', present: () => cookie(garbage), ends: false },
    { what: 'an access token', present: ({ accessToken }) => cookie(accessToken), ends: false },
    {
      what: 'two cookies',
      present: ({ refreshToken }) => `${cookie(refreshToken)}; ${cookie(refreshToken)}`,
      ends: false,
    },
    { what: 'the current token', present: ({ refreshToken }) => cookie(refreshToken), ends: true },
    {
      what: 'a token of an older generation',
      present: async ({ refreshToken }) => {
        const { refreshToken: second } = clientOf(await refresh(t.app, refreshToken))
        await refresh(t.app, second)
        return cookie(refreshToken)
      },
      ends: true,
    },
  ])('B6 with $what: 204, cookie cleared, session ended: $ends', async ({ present, ends }) => {
    const client = await register(t.app)
    const header = await present(client)
    const from = t.log.length

    const response = await request(t.app)
      .post('/auth/logout')
      .set(header === undefined ? {} : { Cookie: header })

    expect(response.status).toBe(204)
    expect(response.text).toBe('')
    expect(clearsCookie(response)).toBe(true)
    expect(await rowOf(client)).toMatchObject({ end_reason: ends ? 'logout' : null })
    expect(t.log.slice(from).filter(({ level }) => Number(level) >= 40)).toEqual([])
    if (ends) await expectUnusable(client)
  })

  test('B6 is idempotent: the second time changes nothing', async () => {
    const client = await register(t.app)
    await logout(client.refreshToken).expect(204)
    const row = await rowOf(client)
    await t.pass(5)

    const response = await logout(client.refreshToken)

    expect(response.status).toBe(204)
    expect(clearsCookie(response)).toBe(true)
    expect(await rowOf(client)).toEqual(row)
  })

  test('B6 works with an expired access token, sent along or not', async () => {
    const client = await register(t.app)
    await t.pass(901)
    const expired = await me(client)

    const response = await logout(client.refreshToken).set('Authorization', bearer(client))

    expect(expired.body.code).toBe('access_token_expired')
    expect(response.status).toBe(204)
    expect(await rowOf(client)).toMatchObject({ end_reason: 'logout' })
  })

  test('B6 clears the cookie with the attributes it was set with', async () => {
    const set = await request(t.app).post('/auth/register').send({ email: newEmail(), password })
    const lasting = (response: request.Response) =>
      refreshCookieOf(response)
        ?.attributes.filter((attribute) => !/^(Max-Age|Expires)=/.test(attribute))
        .sort()

    const cleared = await logout(clientOf(set).refreshToken)

    expect(lasting(cleared)).toEqual(lasting(set))
  })

  test('B6 ends that session and no other', async () => {
    const client = await register(t.app)
    const other = await login(t.app, client.email)

    await logout(client.refreshToken).expect(204)

    await expectUnusable(client)
    await expectUsable(other)
  })

  test('B6 where the session cannot be ended: 503, cookie kept', async () => {
    const client = await register(t.app)
    const { $client } = t.db.database.queries as unknown as { $client: Record<string, unknown> }
    $client.query = async () => {
      throw Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })
    }
    const response = await logout(client.refreshToken)
    delete $client.query

    expect(response.status).toBe(503)
    expect(response.body.code).toBe('unavailable')
    expect(Number(response.get('Retry-After'))).toBeGreaterThan(0)
    expect(response.get('Set-Cookie')).toBeUndefined()
    await expectUsable(client)
  })
})

describe('logout everywhere', () => {
  test('B8 ends every session of the user and of nobody else, and clears the cookie', async () => {
    const [client, stranger] = [await register(t.app), await register(t.app)]
    const other = await login(t.app, client.email)

    const response = await logoutAll(client)

    expect(response.status).toBe(204)
    expect(clearsCookie(response)).toBe(true)
    expect(await rowOf(other)).toMatchObject({ end_reason: 'logout_all' })
    await expectUnusable(client)
    await expectUnusable(other)
    await expectUsable(stranger)
    await expectUsable(await login(t.app, client.email))
  })

  test('with a session that has ended: 401 session_ended, and the others go on', async () => {
    const client = await register(t.app)
    const other = await login(t.app, client.email)
    await logout(client.refreshToken)

    const response = await logoutAll(client)

    expect(response.status).toBe(401)
    expect(response.body.code).toBe('session_ended')
    expect(response.get('WWW-Authenticate')).toBe('Bearer error="invalid_token"')
    expect(refreshCookieOf(response)).toBeUndefined()
    await expectUsable(other)
  })
})

describe('password change', () => {
  test('B7 ends the other sessions, keeps this one, and the old password no longer logs in', async () => {
    const client = await register(t.app)
    const other = await login(t.app, client.email)

    const response = await changePassword(client, password, otherPassword)

    expect(response.status).toBe(204)
    expect(refreshCookieOf(response)).toBeUndefined()
    expect(await rowOf(other)).toMatchObject({ end_reason: 'password_changed' })
    await expectUnusable(other)
    await expectUsable(client)
    const old = await loginTo(client.email)
    expect(old.status).toBe(401)
    expect(old.body.code).toBe('invalid_credentials')
    await expectUsable(await login(t.app, client.email, otherPassword))
  })

  test.each([
    {
      fault: 'a wrong current password',
      sent: ['not my password at all', otherPassword],
      status: 403,
      code: 'wrong_password',
    },
    { fault: 'an empty current password', sent: ['', otherPassword], status: 403, code: 'wrong_password' },
    {
      fault: 'a new password that is too short',
      sent: [password, 'short'],
      status: 400,
      code: 'password_rejected',
    },
  ])('B7 with $fault: $status $code, and nothing changes', async ({ sent, status, code }) => {
    const client = await register(t.app)
    const other = await login(t.app, client.email)
    const hash = await hashOf(client)
    const [current = '', next = ''] = sent

    const response = await changePassword(client, current, next)

    expect(response.status).toBe(status)
    expect(response.body.code).toBe(code)
    if (code === 'password_rejected')
      expect(response.body.errors).toEqual([{ path: 'newPassword', message: expect.any(String) }])
    expect(await hashOf(client)).toBe(hash)
    await expectUsable(client)
    await expectUsable(other)
    await login(t.app, client.email)
  })

  test('B7 with a session that has ended: 401 session_ended, and nothing changes', async () => {
    const client = await register(t.app)
    const hash = await hashOf(client)
    await logout(client.refreshToken)

    const response = await changePassword(client, password, otherPassword)

    expect(response.status).toBe(401)
    expect(response.body.code).toBe('session_ended')
    expect(await hashOf(client)).toBe(hash)
  })
})

describe('disabling and deleting users', () => {
  test('B7 disabling ends all sessions at once; enabling revives none, and lets log in again', async () => {
    const client = await register(t.app)
    const other = await login(t.app, client.email)

    await disable(client)

    expect(await rowOf(client)).toMatchObject({ end_reason: 'user_disabled' })
    await expectUnusable(client)
    await expectUnusable(other)
    await enable(client)
    await expectUnusable(client)
    await expectUnusable(other)
    await expectUsable(await login(t.app, client.email))
  })

  test('B7 deleting ends all sessions at once, and the address is free again', async () => {
    const client = await register(t.app)
    const other = await login(t.app, client.email)

    await run(sql`DELETE FROM users WHERE id = ${client.userId}`)

    await expectUnusable(client)
    await expectUnusable(other)
    const again = await register(t.app, client.email)
    expect(again.userId).not.toBe(client.userId)
    await expectUnusable(client)
  })
})

describe('the list of sessions', () => {
  test('B9 has the shape of the contract, and no token', async () => {
    const { email } = await register(t.app)
    const client = clientOf(await loginTo(email).set('User-Agent', 'Firefox on Linux').expect(200))

    const response = await as(client, 'get', '/auth/sessions')

    expect(response.status).toBe(200)
    expect(Object.keys(response.body)).toEqual(['sessions'])
    expect(response.body.sessions).toHaveLength(2)
    const own = response.body.sessions.find(({ id }: { id: string }) => id === client.sessionId)
    const iso = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/
    expect(own).toEqual({
      id: client.sessionId,
      current: true,
      createdAt: expect.stringMatching(iso),
      lastUsedAt: own.createdAt,
      expiresAt: new Date(Date.parse(own.createdAt) + 604_800_000).toISOString(),
      userAgent: 'Firefox on Linux',
      ip: expect.stringMatching(/127\.0\.0\.1$/),
    })
    expect(response.body.sessions.filter(({ current }: { current: boolean }) => current)).toHaveLength(1)
    expect(response.text).not.toContain('eyJ')
  })

  test("B9 shows the user's live sessions only", async () => {
    const client = await register(t.app)
    await register(t.app)
    const ended = await login(t.app, client.email)
    await logout(ended.refreshToken)
    await t.pass(604_800 - 60)
    const current = await login(t.app, client.email)
    await t.pass(120)

    expect(await listedIds(current)).toEqual(idsOf(current))
    expect(await rowOf(client)).toMatchObject({ ended_at: null })
  })

  test('B9 lastUsedAt and expiresAt move with a refresh, createdAt does not', async () => {
    const client = await register(t.app)
    const [before] = await listed(client)
    await t.pass(600)
    await refresh(t.app, client.refreshToken)

    const [after] = await listed(client)

    const moved = (name: string) => Date.parse(String(after?.[name])) - Date.parse(String(before?.[name]))
    expect(after?.createdAt).toBe(before?.createdAt)
    expect(moved('lastUsedAt')).toBeGreaterThanOrEqual(600_000)
    expect(moved('expiresAt')).toBe(moved('lastUsedAt'))
  })

  test('B9 a long user agent is cut, and none is null', async () => {
    const { email } = await register(t.app)
    const long = clientOf(await loginTo(email).set('User-Agent', 'x'.repeat(4000)).expect(200))
    const none = clientOf(await loginTo(email).unset('User-Agent').expect(200))

    const sessions = await listed(long)

    const agentOf = ({ sessionId }: Client) => sessions.find(({ id }) => id === sessionId)?.userAgent
    expect(agentOf(long)).toBe('x'.repeat(256))
    expect(agentOf(none)).toBeNull()
  })
})

describe('ending one session', () => {
  test('B9 another one of the user: 204, the cookie is left alone', async () => {
    const client = await register(t.app)
    const other = await login(t.app, client.email)

    const response = await as(client, 'delete', `/auth/sessions/${other.sessionId}`)

    expect(response.status).toBe(204)
    expect(response.get('Set-Cookie')).toBeUndefined()
    expect(await rowOf(other)).toMatchObject({ end_reason: 'revoked' })
    await expectUnusable(other)
    await expectUsable(client)
  })

  test('B9 the own one: 204, the cookie is left alone, the session has ended', async () => {
    const client = await register(t.app)

    const response = await as(client, 'delete', `/auth/sessions/${client.sessionId}`)

    expect(response.status).toBe(204)
    expect(response.get('Set-Cookie')).toBeUndefined()
    await expectUnusable(client)
  })

  test("B9 another user's: 404 not_found, and it goes on", async () => {
    const [client, stranger] = [await register(t.app), await register(t.app)]

    const response = await as(client, 'delete', `/auth/sessions/${stranger.sessionId}`)

    expect(response.status).toBe(404)
    expect(response.body.code).toBe('not_found')
    await expectUsable(stranger)
  })

  test('B9 one that has ended: 404 not_found, and its end stays as it was', async () => {
    const client = await register(t.app)
    const other = await login(t.app, client.email)
    await logout(other.refreshToken)
    const row = await rowOf(other)

    const response = await as(client, 'delete', `/auth/sessions/${other.sessionId}`)

    expect(response.status).toBe(404)
    expect(response.body.code).toBe('not_found')
    expect(await rowOf(other)).toEqual(row)
  })

  test.each([
    { what: 'unknown', id: 'A'.repeat(22) },
    { what: 'too short', id: 'A'.repeat(21) },
    { what: 'too long', id: 'A'.repeat(23) },
    { what: 'much too long', id: 'A'.repeat(3000) },
    { what: 'NUL', id: '%00' },
    { what: 'NUL at the end', id: `${'A'.repeat(21)}%00` },
    { what: 'a malformed encoding', id: '%zz' },
    { what: 'an encoding that is not UTF-8', id: '%ff' },
    { what: '__proto__', id: '__proto__' },
    { what: 'SQL', id: "'%20OR%20true--" },
    { what: 'a path', id: '..%2f..%2fetc' },
  ])('B9 an id that is $what: 404 not_found', async ({ id }) => {
    const client = await register(t.app)
    const from = t.log.length

    const response = await as(client, 'delete', `/auth/sessions/${id}`)

    expect(response.status).toBe(404)
    expect(response.body.code).toBe('not_found')
    expect(t.log.slice(from).filter(({ level }) => Number(level) >= 40)).toEqual([])
    await expectUsable(client)
  })
})

describe('the cap on sessions', () => {
  test('B9 the oldest end', async () => {
    const first = await register(capped.app)
    const clients: Client[] = []
    for (let i = 0; i < 3; i++) {
      await capped.pass(1)
      clients.push(await login(capped.app, first.email))
    }

    expect(await rowOf(first, capped)).toMatchObject({ end_reason: 'too_many' })
    await expectUnusable(first, capped)
    expect(await listedIds(clients[0] as Client, capped)).toEqual(idsOf(...clients))
  })

  test('B9 it holds under 10 parallel logins', async () => {
    const { email, userId } = await register(capped.app)

    const clients = await Promise.all(Array.from({ length: 10 }, () => login(capped.app, email)))

    const live = await run(
      sql`SELECT id FROM sessions WHERE user_id = ${userId} AND ended_at IS NULL`,
      capped,
    )
    expect(live).toHaveLength(3)
    const usable = await Promise.all(clients.map((client) => me(client, capped)))
    expect(usable.filter(({ status }) => status === 200)).toHaveLength(3)
  })
})

describe('GET /users/me', () => {
  test('has the shape of the contract, and says what is so now', async () => {
    const client = await register(t.app)
    await run(sql`UPDATE users SET role = 'admin', email_verified_at = now() WHERE id = ${client.userId}`)

    const response = await me(client)

    expect(response.status).toBe(200)
    expect(response.body).toEqual({
      id: client.userId,
      email: client.email,
      role: 'admin',
      emailVerified: true,
      createdAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
    })
  })
})

describe(`races on ${databaseName}`, () => {
  const rounds = Array.from({ length: 10 }, (_, round) => round)

  /** Everything that a racing answer handed out, if it handed out anything. */
  const handedOut = (responses: request.Response[]) =>
    responses.filter(({ status }) => status === 200).map(clientOf)

  // Whoever starts first has the better chances, so both take turns at it.
  async function race(round: number, one: () => request.Test, two: () => PromiseLike<unknown>) {
    if (round % 2 === 0) return (await Promise.all([one(), two()]))[0]
    return (await Promise.all([two(), one()]))[1]
  }

  test('B8 refresh against logout', async () => {
    const { email } = await register(t.app)
    for (const round of rounds) {
      const client = await login(t.app, email)

      const response = await race(
        round,
        () => refresh(t.app, client.refreshToken),
        () => logout(client.refreshToken).expect(204),
      )

      for (const loser of [client, ...handedOut([response])]) await expectUnusable(loser)
    }
  })

  test('B8 refresh against logout everywhere', async () => {
    const { email } = await register(t.app)
    for (const round of rounds) {
      const [client, other] = [await login(t.app, email), await login(t.app, email)]

      const response = await race(
        round,
        () => refresh(t.app, client.refreshToken),
        () => logoutAll(other).expect(204),
      )

      for (const loser of [client, ...handedOut([response])]) await expectUnusable(loser)
    }
  })

  test('B8 refresh against a change of the password', async () => {
    const keeper = await register(t.app)
    const passwords = [password, otherPassword]
    for (const round of rounds) {
      const [current = '', next = ''] = round % 2 === 0 ? passwords : passwords.toReversed()
      const client = await login(t.app, keeper.email, current)

      const response = await race(
        round >> 1,
        () => refresh(t.app, client.refreshToken),
        () => changePassword(keeper, current, next).expect(204),
      )

      for (const loser of [client, ...handedOut([response])]) await expectUnusable(loser)
    }
    await expectUsable(keeper)
  })

  test('B8 login with the old password against its change', async () => {
    const keeper = await register(t.app)
    const passwords = [password, otherPassword]
    for (const round of rounds) {
      const [current = '', next = ''] = round % 2 === 0 ? passwords : passwords.toReversed()

      const response = await race(
        round >> 1,
        () => loginTo(keeper.email, current),
        () => changePassword(keeper, current, next).expect(204),
      )

      if (response.status !== 200) expect(response.body.code).toBe('invalid_credentials')
      for (const loser of handedOut([response])) await expectUnusable(loser)
      expect(await listedIds(keeper)).toEqual(idsOf(keeper))
    }
    await expectUsable(keeper)
  })

  test.each([
    { what: 'refresh', start: (client: Client) => refresh(t.app, client.refreshToken) },
    { what: 'login', start: (client: Client) => loginTo(client.email) },
  ])('B8 $what against disabling the user', async ({ start }) => {
    const { email } = await register(t.app)
    for (const round of rounds) {
      const client = await login(t.app, email)

      const response = await race(
        round,
        () => start(client),
        () => disable(client),
      )

      for (const loser of [client, ...handedOut([response])]) await expectUnusable(loser)
      await enable(client)
      for (const loser of [client, ...handedOut([response])]) await expectUnusable(loser)
    }
  })

  /** Holds the next login between the check of its password and the start of its session. */
  function holdNextLogin() {
    const { database } = t.db
    const { transaction } = database
    let release = () => {}
    let arrive = () => {}
    const released = new Promise<void>((resolve) => {
      release = resolve
    })
    const arrived = new Promise<void>((resolve) => {
      arrive = resolve
    })
    database.transaction = async (work) => {
      database.transaction = transaction
      arrive()
      await released
      return transaction(work)
    }
    return { arrived, release }
  }

  test.each<{ what: string; overtake: (client: Client) => PromiseLike<unknown> }>([
    { what: 'a logout everywhere', overtake: (client) => logoutAll(client).expect(204) },
    {
      what: 'a change of the password',
      overtake: (client) => changePassword(client, password, otherPassword).expect(204),
    },
    { what: 'disabling the user', overtake: disable },
    {
      what: 'disabling the user and enabling again',
      overtake: async (client) => {
        await disable(client)
        await enable(client)
      },
    },
    {
      what: 'deleting the user',
      overtake: ({ userId }) => run(sql`DELETE FROM users WHERE id = ${userId}`),
    },
  ])('B8 a login whose password was checked before $what starts no session', async ({ overtake }) => {
    const client = await register(t.app)
    const held = holdNextLogin()

    const pending = loginTo(client.email).then((response) => response)
    await held.arrived
    await overtake(client)
    held.release()
    const response = await pending

    expect(response.status).toBe(401)
    expect(response.body.code).toBe('invalid_credentials')
    expect(refreshCookieOf(response)).toBeUndefined()
    const rows = await run(
      sql`SELECT id FROM sessions WHERE user_id = ${client.userId} AND id <> ${client.sessionId}`,
    )
    expect(rows).toEqual([])
  })

  test('B8 a login that began after a logout everywhere may go on', async () => {
    const client = await register(t.app)
    await logoutAll(client).expect(204)

    await expectUsable(await login(t.app, client.email))
  })

  test('B8 login against logout everywhere: what is left began afterwards', async () => {
    const { email, userId } = await register(t.app)
    for (const round of rounds) {
      const client = await login(t.app, email)

      const response = await race(
        round,
        () => loginTo(email),
        () => logoutAll(client).expect(204),
      )

      expect(await rowOf(client)).toMatchObject({ end_reason: 'logout_all' })
      const survivors = await run(sql`
        SELECT s.id FROM sessions s JOIN sessions ended ON ended.id = ${client.sessionId}
        WHERE s.user_id = ${userId} AND s.ended_at IS NULL AND s.created_at <= ended.ended_at`)
      expect(survivors).toEqual([])
      if (response.status !== 200) expect(response.body.code).toBe('invalid_credentials')
      await expectUnusable(client)
    }
  })
})
