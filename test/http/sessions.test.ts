import { describe, expect, test } from '@jest/globals'
import { type SQL, sql } from 'drizzle-orm'
import type request from 'supertest'
import {
  type Client,
  clearsCookie,
  clientOf,
  cookie,
  disable,
  enable,
  expectProblem,
  expectUnavailable,
  login,
  logout,
  newEmail,
  otherPassword,
  password,
  refresh,
  refreshCookieOf,
  register,
  rowOf,
  send,
  tryLogin,
  useTestApp,
} from '../support/app.ts'
import { databaseName, withoutDatabase } from '../support/database.ts'

const t = useTestApp({ SESSIONS_PER_USER: '1000' })
const capped = useTestApp({ SESSIONS_PER_USER: '3' })
const proxied = useTestApp({ TRUST_PROXY: '1' })

const run = (statement: SQL, on = t) => on.db.rows(statement)
const hashOf = async ({ userId }: Client) => {
  const [row] = await run(sql`SELECT password_hash FROM users WHERE id = ${userId}`)
  return row?.password_hash
}
const deleteUser = ({ userId }: Client) => run(sql`DELETE FROM users WHERE id = ${userId}`)

const me = (as: Client, on = t) => send(on.app, 'GET /users/me', { as })
const logoutAll = (as: Client) => send(t.app, 'POST /auth/logout-all', { as })
const endSession = (as: Client, id: string) => send(t.app, `DELETE /auth/sessions/${id}`, { as })
const changePassword = (as: Client, currentPassword: string, newPassword: string) =>
  send(t.app, 'POST /auth/password', { as, body: { currentPassword, newPassword } })

const listed = async (as: Client, on = t) =>
  (await send(on.app, 'GET /auth/sessions', { as }).expect(200)).body.sessions as Record<string, unknown>[]
const listedIds = async (client: Client, on = t) => (await listed(client, on)).map(({ id }) => id).sort()
const idsOf = (...clients: Client[]) => clients.map(({ sessionId }) => sessionId).sort()

/** A user with two sessions. */
async function registerTwice(): Promise<[Client, Client]> {
  const client = await register(t.app)
  return [client, await login(t.app, client.email)]
}

/** Whatever these clients hold is of no use: neither token works. */
async function expectUnusable(clients: Client[], on = t) {
  for (const client of clients) {
    expectProblem(await me(client, on), 401, 'session_ended')
    expectProblem(await refresh(on.app, client.refreshToken), 401, 'session_ended')
  }
}

async function expectUsable(...clients: Client[]) {
  for (const client of clients) {
    await me(client).expect(200)
    await refresh(t.app, client.refreshToken).expect(200)
  }
}

const warningsSince = (from: number) => t.log.slice(from).filter(({ level }) => Number(level) >= 40)

describe(`login on ${databaseName}`, () => {
  test('gives a session of its own each time', async () => {
    const [first, second] = await registerTwice()

    expect(second.userId).toBe(first.userId)
    expect(second.sessionId).not.toBe(first.sessionId)
    await expectUsable(first, second)
  })

  const credentials = {
    'POST /auth/login': ({ email }: Client) => ({ email, password }),
    'POST /auth/register': () => ({ email: newEmail(), password }),
  }
  const routes = Object.entries(credentials)

  test.each(routes)(
    'B5 %s ignores the identity in a presented cookie, starts a new session, ends the presented one',
    async (route, bodyFor) => {
      const [victim, visitor] = [await register(t.app), await register(t.app)]

      const response = await send(t.app, route, { token: victim.refreshToken, body: bodyFor(visitor) })

      expect(response.ok).toBe(true)
      const client = clientOf(response)
      expect(client.userId).not.toBe(victim.userId)
      expect(client.sessionId).not.toBe(victim.sessionId)
      expect(await rowOf(t, victim)).toMatchObject({ user_id: victim.userId, end_reason: 'login' })
      await expectUnusable([victim])
      await expectUsable(client, visitor)
    },
  )

  test('B5 ends the presented session by a token of an older generation too', async () => {
    const client = await register(t.app)
    const successor = clientOf(await refresh(t.app, client.refreshToken))

    const response = await tryLogin(t.app, client.email).set('Cookie', cookie(client.refreshToken))

    expect(await rowOf(t, client)).toMatchObject({ end_reason: 'login' })
    await expectUnusable([successor])
    await expectUsable(clientOf(response))
  })

  test.each(routes)('B5 two cookies presented to %s end no session', async (route, bodyFor) => {
    const [one, two] = [await register(t.app), await register(t.app)]
    const headers = { Cookie: `${cookie(one.refreshToken)}; ${cookie(two.refreshToken)}` }

    const response = await send(t.app, route, { headers, body: bodyFor(one) })

    expect(response.ok).toBe(true)
    await expectUsable(clientOf(response), one, two)
  })

  test.each([
    ['POST /auth/login', 401, otherPassword],
    ['POST /auth/register', 409, password],
  ])('B5 where %s fails, the presented session goes on', async (route, status, password) => {
    const client = await register(t.app)
    const body = { email: client.email, password }

    const response = await send(t.app, route, { token: client.refreshToken, body })

    expect(response.status).toBe(status)
    expect(refreshCookieOf(response)).toBeUndefined()
    await expectUsable(client)
  })

  test.each(['garbage', 'a.b.c', ''])('B5 a presented cookie %j is no hindrance', async (token) => {
    const client = await register(t.app)

    await tryLogin(t.app, client.email).set('Cookie', cookie(token)).expect(200)

    await expectUsable(client)
  })
})

describe('logout', () => {
  test.each<[what: string, ends: boolean, header: (client: Client) => string | Promise<string>]>([
    ['no cookie', false, () => 'theme=dark'],
    ['an empty cookie', false, () => cookie('')],
    ['garbage', false, () => cookie('garbage.x.x')],
    ['an access token', false, ({ accessToken }) => cookie(accessToken)],
    ['two cookies', false, ({ refreshToken }) => `${cookie(refreshToken)}; ${cookie(refreshToken)}`],
    ['the current token', true, ({ refreshToken }) => cookie(refreshToken)],
    [
      'a token of an older generation',
      true,
      async ({ refreshToken }) => {
        await refresh(t.app, clientOf(await refresh(t.app, refreshToken)).refreshToken)
        return cookie(refreshToken)
      },
    ],
  ])('B6 with %s: 204, cookie cleared, session ended: %s', async (_what, ends, header) => {
    const client = await register(t.app)
    const headers = { Cookie: await header(client) }
    const from = t.log.length

    const response = await send(t.app, 'POST /auth/logout', { headers })

    expect(response.status).toBe(204)
    expect(clearsCookie(response)).toBe(true)
    expect(await rowOf(t, client)).toMatchObject({ end_reason: ends ? 'logout' : null })
    expect(warningsSince(from)).toEqual([])
    if (ends) await expectUnusable([client])
  })

  test('B6 is idempotent: the second time changes nothing', async () => {
    const client = await register(t.app)
    await logout(t.app, client.refreshToken).expect(204)
    const row = await rowOf(t, client)
    await t.pass(5)

    const response = await logout(t.app, client.refreshToken)

    expect(response.status).toBe(204)
    expect(clearsCookie(response)).toBe(true)
    expect(await rowOf(t, client)).toEqual(row)
  })

  test('B6 works with an expired access token', async () => {
    const client = await register(t.app)
    await t.pass(901)
    expectProblem(await me(client), 401, 'access_token_expired')

    await send(t.app, 'POST /auth/logout', { as: client, token: client.refreshToken }).expect(204)

    expect(await rowOf(t, client)).toMatchObject({ end_reason: 'logout' })
  })

  test('B6 ends that session and no other', async () => {
    const [client, other] = await registerTwice()

    await logout(t.app, client.refreshToken).expect(204)

    await expectUnusable([client])
    await expectUsable(other)
  })

  test('B6 where the session cannot be ended: 503, cookie kept', async () => {
    const client = await register(t.app)

    const response = await withoutDatabase(t.db, async () => logout(t.app, client.refreshToken))

    expectUnavailable(response)
    await expectUsable(client)
  })
})

describe('logout everywhere', () => {
  test('B8 ends every session of the user and of nobody else, and clears the cookie', async () => {
    const [client, other] = await registerTwice()
    const stranger = await register(t.app)

    const response = await logoutAll(client)

    expect(response.status).toBe(204)
    expect(clearsCookie(response)).toBe(true)
    expect(await rowOf(t, other)).toMatchObject({ end_reason: 'logout_all' })
    await expectUnusable([client, other])
    await expectUsable(stranger, await login(t.app, client.email))
  })

  test('B8 with a session that has ended: 401 session_ended, and the others go on', async () => {
    const [client, other] = await registerTwice()
    await logout(t.app, client.refreshToken)

    expectProblem(await logoutAll(client), 401, 'session_ended')

    await expectUsable(other)
  })
})

describe('password change', () => {
  test('B7 ends all sessions, the one that asked included, and starts a new one; the old password is void', async () => {
    const [client, other] = await registerTwice()

    const response = await changePassword(client, password, otherPassword)

    expect(response.status).toBe(200)
    const renewed = clientOf(response)
    expect(renewed.userId).toBe(client.userId)
    expect(idsOf(client, other)).not.toContain(renewed.sessionId)
    for (const ended of [client, other])
      expect(await rowOf(t, ended)).toMatchObject({ end_reason: 'password_changed' })
    await expectUnusable([client, other])
    expect(await listedIds(renewed)).toEqual(idsOf(renewed))
    expectProblem(await tryLogin(t.app, client.email), 401, 'invalid_credentials')
    await expectUsable(renewed, await login(t.app, client.email, otherPassword))
  })

  test.each<[what: string, steal: (client: Client) => Promise<Client>]>([
    ['its current refresh token', async (client) => client],
    [
      'its next refresh token',
      async ({ refreshToken }) => clientOf(await refresh(t.app, refreshToken).expect(200)),
    ],
  ])('B7 leaves a thief nothing who copied %s', async (_what, steal) => {
    const client = await register(t.app)
    const thief = await steal(client)

    const renewed = clientOf(await changePassword(client, password, otherPassword))

    await expectUnusable([thief])
    await expectUsable(renewed)
  })

  test('B7 ends the session of the cookie that the new one replaces, whoever it belongs to', async () => {
    const [client, stranger] = [await register(t.app), await register(t.app)]

    const response = await changePassword(client, password, otherPassword).set(
      'Cookie',
      cookie(stranger.refreshToken),
    )

    expect(clientOf(response).userId).toBe(client.userId)
    expect(await rowOf(t, stranger)).toMatchObject({ end_reason: 'login' })
    await expectUsable(clientOf(response))
  })

  test.each([
    ['a wrong current password', 'not my password at all', otherPassword, 403, 'wrong_password'],
    ['an empty current password', '', otherPassword, 403, 'wrong_password'],
    ['a new password that is too short', password, 'short', 400, 'password_rejected'],
  ])('B7 with %s nothing changes', async (_fault, current, next, status, code) => {
    const [client, other] = await registerTwice()
    const hash = await hashOf(client)

    expectProblem(await changePassword(client, current, next), status, code)

    expect(await hashOf(client)).toBe(hash)
    await expectUsable(client, other, await login(t.app, client.email))
  })

  test('B7 with a session that has ended: 401 session_ended, and nothing changes', async () => {
    const client = await register(t.app)
    const hash = await hashOf(client)
    await logout(t.app, client.refreshToken)

    expectProblem(await changePassword(client, password, otherPassword), 401, 'session_ended')

    expect(await hashOf(client)).toBe(hash)
  })
})

describe('disabling and deleting users', () => {
  test('B7 disabling ends all sessions at once; enabling revives none, and lets log in again', async () => {
    const clients = await registerTwice()
    const [client] = clients

    await disable(t, client)
    expect(await rowOf(t, client)).toMatchObject({ end_reason: 'user_disabled' })
    await expectUnusable(clients)

    await enable(t, client)
    await expectUnusable(clients)
    await expectUsable(await login(t.app, client.email))
  })

  test('B7 deleting ends all sessions at once, and the address is free again', async () => {
    const clients = await registerTwice()

    await deleteUser(clients[0])
    await expectUnusable(clients)

    const again = await register(t.app, clients[0].email)
    expect(again.userId).not.toBe(clients[0].userId)
    await expectUnusable(clients)
  })
})

const iso = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/

describe('the list of sessions', () => {
  test('B9 has the shape of the contract, and no token', async () => {
    const { email } = await register(t.app)
    const client = clientOf(await tryLogin(t.app, email).set('User-Agent', 'Firefox on Linux'))

    const response = await send(t.app, 'GET /auth/sessions', { as: client })

    expect(response.status).toBe(200)
    expect(response.body).toEqual({
      sessions: [expect.any(Object), expect.objectContaining({ current: false })],
    })
    const [own] = response.body.sessions
    expect(own).toEqual({
      id: client.sessionId,
      current: true,
      createdAt: expect.stringMatching(iso),
      lastUsedAt: own.createdAt,
      expiresAt: new Date(Date.parse(own.createdAt) + 604_800_000).toISOString(),
      userAgent: 'Firefox on Linux',
      ip: expect.stringMatching(/127\.0\.0\.1$/),
    })
    expect(response.text).not.toContain('eyJ')
  })

  test("B9 shows the user's live sessions only", async () => {
    const [client, ended] = await registerTwice()
    await register(t.app)
    await logout(t.app, ended.refreshToken)
    await t.pass(604_800 - 60)
    const current = await login(t.app, client.email)
    await t.pass(120)

    expect(await listedIds(current)).toEqual(idsOf(current))
    expect(await rowOf(t, client)).toMatchObject({ ended_at: null })
  })

  test('B9 lastUsedAt and expiresAt move with a refresh, createdAt does not', async () => {
    const client = await register(t.app)
    const [before] = await listed(client)
    await t.pass(600)
    await refresh(t.app, client.refreshToken)

    const [after] = await listed(client)

    const moved = (name: string) => Date.parse(String(after?.[name])) - Date.parse(String(before?.[name]))
    expect(moved('createdAt')).toBe(0)
    expect(moved('lastUsedAt')).toBeGreaterThanOrEqual(600_000)
    expect(moved('expiresAt')).toBe(moved('lastUsedAt'))
  })

  test('B9 userAgent and ip are those of the last refresh, and a graced one does not change them', async () => {
    const { email } = await register(proxied.app)
    const from = (ip: string, agent: string) => ({ 'X-Forwarded-For': ip, 'User-Agent': agent })
    const body = { email, password }
    const client = clientOf(
      await send(proxied.app, 'POST /auth/login', { body, headers: from('192.0.2.1', 'Firefox') }),
    )
    const refreshFrom = (headers: Record<string, string>) =>
      send(proxied.app, 'POST /auth/refresh', { token: client.refreshToken, headers }).expect(200)
    const own = async () => (await listed(client, proxied)).find(({ current }) => current)

    const atLogin = await own()
    await refreshFrom(from('2001:db8::7', 'Safari'))
    await refreshFrom(from('198.51.100.9', 'curl'))

    expect(atLogin).toMatchObject({ ip: '192.0.2.1', userAgent: 'Firefox' })
    expect(await own()).toMatchObject({ ip: '2001:db8::7', userAgent: 'Safari' })
  })

  test('B9 a long user agent is cut, and none is null', async () => {
    const { email } = await register(t.app)
    const long = clientOf(await tryLogin(t.app, email).set('User-Agent', 'x'.repeat(4000)))
    const none = clientOf(await tryLogin(t.app, email).unset('User-Agent'))

    const sessions = await listed(long)

    const agentOf = ({ sessionId }: Client) => sessions.find(({ id }) => id === sessionId)?.userAgent
    expect([agentOf(long), agentOf(none)]).toEqual(['x'.repeat(256), null])
  })
})

describe('ending one session', () => {
  test.each(['another one', 'the own one'])('B9 %s: 204, the cookie is left alone', async (which) => {
    const [client, other] = await registerTwice()
    const [ended, kept] = which === 'the own one' ? [client, other] : [other, client]

    const response = await endSession(client, ended.sessionId)

    expect(response.status).toBe(204)
    expect(response.get('Set-Cookie')).toBeUndefined()
    expect(await rowOf(t, ended)).toMatchObject({ end_reason: 'revoked' })
    await expectUnusable([ended])
    await expectUsable(kept)
  })

  test("B9 another user's: 404 not_found, and it goes on", async () => {
    const [client, stranger] = [await register(t.app), await register(t.app)]

    expectProblem(await endSession(client, stranger.sessionId), 404, 'not_found')

    await expectUsable(stranger)
  })

  test('B9 one that has ended: 404 not_found, and its end stays as it was', async () => {
    const [client, other] = await registerTwice()
    await logout(t.app, other.refreshToken)
    const row = await rowOf(t, other)

    expectProblem(await endSession(client, other.sessionId), 404, 'not_found')

    expect(await rowOf(t, other)).toEqual(row)
  })

  test.each([
    ['unknown', 'A'.repeat(22)],
    ['too short', 'A'.repeat(21)],
    ['too long', 'A'.repeat(23)],
    ['much too long', 'A'.repeat(3000)],
    ['NUL', '%00'],
    ['NUL at the end', `${'A'.repeat(21)}%00`],
    ['a malformed encoding', '%zz'],
    ['an encoding that is not UTF-8', '%ff'],
    ['__proto__', '__proto__'],
    ['SQL', "'%20OR%20true--"],
    ['a path', '..%2f..%2fetc'],
  ])('B9 an id that is %s: 404 not_found', async (_what, id) => {
    const client = await register(t.app)
    const from = t.log.length

    expectProblem(await endSession(client, id), 404, 'not_found')

    expect(warningsSince(from)).toEqual([])
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

    expect(await rowOf(capped, first)).toMatchObject({ end_reason: 'too_many' })
    await expectUnusable([first], capped)
    expect(await listedIds(clients[0] as Client, capped)).toEqual(idsOf(...clients))
  })

  test('B9 it holds under 10 parallel logins', async () => {
    const { email } = await register(capped.app)

    const clients = await Promise.all(Array.from({ length: 10 }, () => login(capped.app, email)))

    const usable = await Promise.all(clients.map((client) => me(client, capped)))
    expect(usable.filter(({ status }) => status === 200)).toHaveLength(3)
  })
})

test('GET /users/me says what is so now', async () => {
  const as = await register(t.app)
  await run(sql`UPDATE users SET role = 'admin', email_verified_at = now() WHERE id = ${as.userId}`)

  const response = await me(as)

  expect(response.status).toBe(200)
  expect(response.body).toEqual({
    id: as.userId,
    email: as.email,
    role: 'admin',
    emailVerified: true,
    createdAt: expect.stringMatching(iso),
  })
})

describe(`races on ${databaseName}`, () => {
  const rounds = Array.from({ length: 8 }, (_, round) => round)
  const passwords = [password, otherPassword]
  /** The password of a round whose change is raced against, and the one it is changed to. */
  const passwordsOf = (round: number) => [passwords[round % 2] ?? '', passwords[(round + 1) % 2] ?? '']

  type Race = (client: Client, keeper: Client, round: number) => PromiseLike<unknown>
  const racers: Record<string, (client: Client, round: number) => request.Test> = {
    refresh: ({ refreshToken }) => refresh(t.app, refreshToken),
    login: ({ email }, round) => tryLogin(t.app, email, passwordsOf(round)[0]),
  }
  const change: Race = (_client, keeper, round) => {
    const [current = '', next = ''] = passwordsOf(round)
    return changePassword(keeper, current, next).expect(200)
  }
  const disabling: Race = (client) => disable(t, client)

  test.each<[racer: string, what: string, against: Race]>([
    ['refresh', 'logout', ({ refreshToken }) => logout(t.app, refreshToken).expect(204)],
    ['refresh', 'logout everywhere', (client) => logoutAll(client).expect(204)],
    ['refresh', 'a change of the password', change],
    ['login', 'a change of the password', change],
    ['refresh', 'disabling the user', disabling],
    ['login', 'disabling the user', disabling],
  ])('B8 %s against %s', async (racer, what, against) => {
    let keeper = await register(t.app)
    for (const round of rounds) {
      const changes = what === 'a change of the password'
      const client = await login(t.app, keeper.email, changes ? passwordsOf(round)[0] : password)
      const one = () => racers[racer]?.(client, changes ? round : 0)
      const two = () => against(client, keeper, round)

      // Whoever starts first has the better chances, so both take turns at it.
      const outcome = round % 4 < 2 ? Promise.all([one(), two()]) : Promise.all([two(), one()])
      const responses = (await outcome) as request.Response[]
      const [response, changed] = (round % 4 < 2 ? responses : responses.toReversed()) as [
        request.Response,
        request.Response,
      ]

      expect([200, 401]).toContain(response.status)
      const losers = response.status === 200 ? [client, clientOf(response)] : [client]
      await expectUnusable(losers)
      if (what === 'disabling the user') {
        await enable(t, client)
        await expectUnusable(losers)
      }
      if (!changes) continue
      keeper = clientOf(changed)
      expect(await listedIds(keeper)).toEqual(idsOf(keeper))
    }
  })

  test('B8 login against logout everywhere: what is left began afterwards', async () => {
    const { email, userId } = await register(t.app)
    for (const round of rounds) {
      const client = await login(t.app, email)
      const start = [() => tryLogin(t.app, email), () => logoutAll(client).expect(204)]

      await Promise.all((round % 2 === 0 ? start : start.toReversed()).map((send) => send()))

      expect(await rowOf(t, client)).toMatchObject({ end_reason: 'logout_all' })
      const survivors = await run(sql`
        SELECT s.id FROM sessions s JOIN sessions ended ON ended.id = ${client.sessionId}
        WHERE s.user_id = ${userId} AND s.ended_at IS NULL AND s.created_at <= ended.ended_at`)
      expect(survivors).toEqual([])
      await expectUnusable([client])
    }
  })

  /** Holds the next login between the check of its password and the start of its session. */
  function holdNextLogin() {
    const { database } = t.db
    const { transaction } = database
    let release = () => {}
    const released = new Promise<void>((resolve) => {
      release = resolve
    })
    const arrived = new Promise<void>((arrive) => {
      database.transaction = async (work) => {
        database.transaction = transaction
        arrive()
        await released
        return transaction(work)
      }
    })
    return { arrived, release }
  }

  test.each<[what: string, overtake: (client: Client) => PromiseLike<unknown>]>([
    ['a logout everywhere', (client) => logoutAll(client).expect(204)],
    ['a change of the password', (client) => changePassword(client, password, otherPassword).expect(200)],
    ['disabling the user', (client) => disable(t, client)],
    ['disabling the user and enabling again', (client) => disable(t, client).then(() => enable(t, client))],
    ['deleting the user', deleteUser],
  ])('B8 a login whose password was checked before %s starts no session', async (_what, overtake) => {
    const client = await register(t.app)
    const held = holdNextLogin()

    const pending = tryLogin(t.app, client.email)
      .set('User-Agent', client.email)
      .then((response) => response)
    await held.arrived
    await overtake(client)
    held.release()
    const response = await pending

    expectProblem(response, 401, 'invalid_credentials')
    expect(refreshCookieOf(response)).toBeUndefined()
    expect(await run(sql`SELECT id FROM sessions WHERE user_agent = ${client.email}`)).toEqual([])
  })
})
