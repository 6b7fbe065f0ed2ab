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
const capped = useTestApp({ SESSIONS_PER_USER: '3' }, t)
const proxied = useTestApp({ TRUST_PROXY: '1' }, t)

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

/** Expects that no token of these clients works. */
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
  test('each login starts a session of its own', async () => {
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
    '%s ignores the user of a presented cookie, starts a new session and ends the presented one [B5]',
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

  test('a login ends the presented session also if the token is of an older generation [B5]', async () => {
    const client = await register(t.app)
    const successor = clientOf(await refresh(t.app, client.refreshToken))

    const response = await tryLogin(t.app, client.email).set('Cookie', cookie(client.refreshToken))

    expect(await rowOf(t, client)).toMatchObject({ end_reason: 'login' })
    await expectUnusable([successor])
    await expectUsable(clientOf(response))
  })

  test.each(routes)('two cookies that are presented to %s end no session [B5]', async (route, bodyFor) => {
    const [one, two] = [await register(t.app), await register(t.app)]
    const headers = { Cookie: `${cookie(one.refreshToken)}; ${cookie(two.refreshToken)}` }

    const response = await send(t.app, route, { headers, body: bodyFor(one) })

    expect(response.ok).toBe(true)
    await expectUsable(clientOf(response), one, two)
  })

  test.each([
    ['POST /auth/login', 401, otherPassword],
    ['POST /auth/register', 409, password],
  ])('the presented session stays live if %s fails [B5]', async (route, status, password) => {
    const client = await register(t.app)
    const body = { email: client.email, password }

    const response = await send(t.app, route, { token: client.refreshToken, body })

    expect(response.status).toBe(status)
    expect(refreshCookieOf(response)).toBeUndefined()
    await expectUsable(client)
  })

  test.each(['garbage', 'a.b.c', ''])('a login succeeds with the cookie %j [B5]', async (token) => {
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
  ])(
    'a logout with %s answers 204 and clears the cookie; session ended: %s [B6]',
    async (_what, ends, header) => {
      const client = await register(t.app)
      const headers = { Cookie: await header(client) }
      const from = t.log.length

      const response = await send(t.app, 'POST /auth/logout', { headers })

      expect(response.status).toBe(204)
      expect(clearsCookie(response)).toBe(true)
      expect(await rowOf(t, client)).toMatchObject({ end_reason: ends ? 'logout' : null })
      expect(warningsSince(from)).toEqual([])
      if (ends) await expectUnusable([client])
    },
  )

  test('a second logout changes nothing [B6]', async () => {
    const client = await register(t.app)
    await logout(t.app, client.refreshToken).expect(204)
    const row = await rowOf(t, client)
    await t.pass(5)

    const response = await logout(t.app, client.refreshToken)

    expect(response.status).toBe(204)
    expect(clearsCookie(response)).toBe(true)
    expect(await rowOf(t, client)).toEqual(row)
  })

  test('a logout works with an expired access token [B6]', async () => {
    const client = await register(t.app)
    await t.pass(901)
    expectProblem(await me(client), 401, 'access_token_expired')

    await send(t.app, 'POST /auth/logout', { as: client, token: client.refreshToken }).expect(204)

    expect(await rowOf(t, client)).toMatchObject({ end_reason: 'logout' })
  })

  test('a logout ends its session and no other [B6]', async () => {
    const [client, other] = await registerTwice()

    await logout(t.app, client.refreshToken).expect(204)

    await expectUnusable([client])
    await expectUsable(other)
  })

  test('a logout answers 503 and keeps the cookie if the session cannot be ended [B6]', async () => {
    const client = await register(t.app)

    const response = await withoutDatabase(t.db, async () => logout(t.app, client.refreshToken))

    expectUnavailable(response)
    await expectUsable(client)
  })
})

describe('logout everywhere', () => {
  test('ends all sessions of the user and none of others, keeps the reason of those that had ended, and clears the cookie [B8]', async () => {
    const [client, other] = await registerTwice()
    const [ended, stranger] = [await login(t.app, client.email), await register(t.app)]
    await logout(t.app, ended.refreshToken)

    const response = await logoutAll(client)

    expect(response.status).toBe(204)
    expect(clearsCookie(response)).toBe(true)
    expect(await rowOf(t, other)).toMatchObject({ end_reason: 'logout_all' })
    expect(await rowOf(t, ended)).toMatchObject({ end_reason: 'logout' })
    await expectUnusable([client, other])
    await expectUsable(stranger, await login(t.app, client.email))
  })

  test('answers 401 session_ended if the session has ended, and ends no other [B8]', async () => {
    const [client, other] = await registerTwice()
    await logout(t.app, client.refreshToken)

    expectProblem(await logoutAll(client), 401, 'session_ended')

    await expectUsable(other)
  })
})

describe('password change', () => {
  test('ends all sessions, also the one that asked, and starts a new one; the old password is wrong [B7]', async () => {
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
  ])('a thief who copied %s cannot use it any more [B7]', async (_what, steal) => {
    const client = await register(t.app)
    const thief = await steal(client)

    const renewed = clientOf(await changePassword(client, password, otherPassword))

    await expectUnusable([thief])
    await expectUsable(renewed)
  })

  test('ends the session of the presented cookie, also if it is of another user [B7]', async () => {
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
  ])('changes nothing with %s [B7]', async (_fault, current, next, status, code) => {
    const [client, other] = await registerTwice()
    const hash = await hashOf(client)

    expectProblem(await changePassword(client, current, next), status, code)

    expect(await hashOf(client)).toBe(hash)
    await expectUsable(client, other, await login(t.app, client.email))
  })

  test('answers 401 session_ended and changes nothing if the session has ended [B7]', async () => {
    const client = await register(t.app)
    const hash = await hashOf(client)
    await logout(t.app, client.refreshToken)

    expectProblem(await changePassword(client, password, otherPassword), 401, 'session_ended')

    expect(await hashOf(client)).toBe(hash)
  })
})

describe('disabling and deleting users', () => {
  test('disabling a user ends all sessions at once; enabling revives none, but allows a login [B7]', async () => {
    const clients = await registerTwice()
    const [client] = clients
    const stranger = await register(t.app)

    await disable(t, client)
    expect(await rowOf(t, client)).toMatchObject({ end_reason: 'user_disabled' })
    await expectUnusable(clients)

    await enable(t, client)
    await expectUnusable(clients)
    await expectUsable(stranger, await login(t.app, client.email))
  })

  test('deleting a user ends all sessions at once, and frees the address [B7]', async () => {
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
  test('has the shape of the contract, and contains no token [B9]', async () => {
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

  test('a refresh changes lastUsedAt and expiresAt, but not createdAt [B9]', async () => {
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

  test('userAgent and ip are those of the last rotation; a graced refresh does not change them [B9]', async () => {
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

  test('cuts a long user agent, and shows a missing one as null [B9]', async () => {
    const { email } = await register(t.app)
    const long = clientOf(await tryLogin(t.app, email).set('User-Agent', 'x'.repeat(4000)))
    const none = clientOf(await tryLogin(t.app, email).unset('User-Agent'))

    const sessions = await listed(long)

    const agentOf = ({ sessionId }: Client) => sessions.find(({ id }) => id === sessionId)?.userAgent
    expect([agentOf(long), agentOf(none)]).toEqual(['x'.repeat(256), null])
  })
})

describe('ending one session', () => {
  test.each(['another one', 'the own one'])(
    'ending %s answers 204 and leaves the cookie alone [B9]',
    async (which) => {
      const [client, other] = await registerTwice()
      const [ended, kept] = which === 'the own one' ? [client, other] : [other, client]

      const response = await endSession(client, ended.sessionId)

      expect(response.status).toBe(204)
      expect(response.get('Set-Cookie')).toBeUndefined()
      expect(await rowOf(t, ended)).toMatchObject({ end_reason: 'revoked' })
      await expectUnusable([ended])
      await expectUsable(kept)
    },
  )

  test("ending another user's session answers 404 not_found, and it stays live [B9]", async () => {
    const [client, stranger] = [await register(t.app), await register(t.app)]

    expectProblem(await endSession(client, stranger.sessionId), 404, 'not_found')

    await expectUsable(stranger)
  })

  test('ending a session that has ended answers 404 not_found, and keeps its end [B9]', async () => {
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
  ])('ending a session by an id that is %s answers 404 not_found [B9]', async (_what, id) => {
    const client = await register(t.app)
    const from = t.log.length

    expectProblem(await endSession(client, id), 404, 'not_found')

    expect(warningsSince(from)).toEqual([])
    await expectUsable(client)
  })
})

describe('the cap on sessions', () => {
  test('the oldest sessions above the cap end [B9]', async () => {
    const first = await register(capped.app)
    const clients: Client[] = []
    for (let i = 0; i < 4; i++) {
      await capped.pass(1)
      clients.push(await login(capped.app, first.email))
    }

    const [second, ...rest] = clients as [Client, Client]
    for (const ended of [first, second])
      expect(await rowOf(capped, ended)).toMatchObject({ end_reason: 'too_many' })
    await expectUnusable([first, second], capped)
    expect(await listedIds(rest[0], capped)).toEqual(idsOf(...rest))
  })

  test('10 parallel logins do not exceed the cap [B9]', async () => {
    const { email } = await register(capped.app)

    const clients = await Promise.all(Array.from({ length: 10 }, () => login(capped.app, email)))

    const usable = await Promise.all(clients.map((client) => me(client, capped)))
    expect(usable.filter(({ status }) => status === 200)).toHaveLength(3)
  })
})

test('GET /users/me shows the current state of the user', async () => {
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
  /** The current password of a round, and the new one. */
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
  ])('%s races with %s [B8]', async (racer, what, against) => {
    let keeper = await register(t.app)
    for (const round of rounds) {
      const changes = what === 'a change of the password'
      const client = await login(t.app, keeper.email, changes ? passwordsOf(round)[0] : password)
      const one = () => racers[racer]?.(client, changes ? round : 0)
      const two = () => against(client, keeper, round)

      // The request that starts first is more likely to win, so both take turns.
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

  test('after a race of logins with logout-all, only sessions that began later are live [B8]', async () => {
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
  ])('a login whose password was checked before %s starts no session [B8]', async (_what, overtake) => {
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
