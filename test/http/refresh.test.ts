import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { sql } from 'drizzle-orm'
import type request from 'supertest'
import {
  accessSecret,
  type Client,
  clearsCookie,
  clientOf,
  cookie,
  createAppWithoutKeys,
  createTestApp,
  disable,
  enable,
  expectProblem,
  expectUnavailable,
  logout,
  password,
  publicUrl,
  refresh,
  refreshCookieOf,
  refreshSecret,
  refreshTokenOf,
  register,
  rowOf,
  send,
  type TestApp,
  useTestApp,
} from '../support/app.ts'
import { databaseName, withoutDatabase } from '../support/database.ts'
import { forge, type Members, partsOf } from '../support/forgeries.ts'

const day = 86_400
const idle = 7 * day
const absolute = 30 * day

const t = useTestApp()
const graceless = useTestApp({ REFRESH_GRACE_SECONDS: '0' }, t)
/** No request without a valid token may change the session of this client. */
let untouched: Client
beforeAll(async () => {
  untouched = await register(t.app)
})

const refreshOnce = async (token: string, on = t) => refreshTokenOf(await refresh(on.app, token).expect(200))
const claimsOf = (token: string) => partsOf(token).claims

interface Change {
  header?: Members
  claims?: Members
  secret?: string
}
/** Returns the refresh token of a client with other header members or claims, signed again. */
function changed({ refreshToken }: Client, change: Change): string {
  const { header, claims } = partsOf(refreshToken)
  return forge(
    change.secret ?? refreshSecret,
    { ...header, ...change.header },
    { ...claims, ...change.claims },
  )
}

/** Returns the log lines since `from` that report an event, or are warnings or errors. */
const twoCookies = 'two cookies of the name'
const eventsSince = (from: number, on = t) =>
  on.log.slice(from).filter(({ event, level }) => event !== undefined || Number(level) >= 40)

async function expectReused(client: Client, token = client.refreshToken, on = t) {
  const from = on.log.length
  const response = await refresh(on.app, token)

  expectProblem(response, 401, 'refresh_token_reused')
  expect(clearsCookie(response)).toBe(true)
  const row = await rowOf(on, client)
  expect(row).toMatchObject({ end_reason: 'reuse', ended_at: expect.anything() })
  const requestId = response.get('X-Request-Id')
  const { sessionId: sid, userId } = client
  expect(eventsSince(from, on)).toEqual([
    expect.objectContaining({ level: 40, event: 'refresh_token_reused', sid, userId, requestId }),
  ])
  return row
}

/** A cause of refusal. The function arranges it for a new session, and returns the Cookie header. */
type Row = [cause: string, present: (client: Client) => string | undefined | Promise<string>]
const present = (cause: string, change: Change): Row => [cause, (client) => cookie(changed(client, change))]
const arrange = (cause: string, act: (client: Client) => PromiseLike<unknown>): Row => [
  cause,
  async (client) => {
    await act(client)
    return cookie(client.refreshToken)
  },
]

const missing: Row[] = [
  ['no cookie', () => undefined],
  ['other cookies only', () => 'theme=dark; refresh_tokens=x'],
  ['an empty cookie', () => cookie('')],
]

// test/auth/tokens.test.ts shows the refusals by the token itself.
const invalid: Row[] = [
  present('a signature by another key', { secret: 'x'.repeat(48) }),
  present('a signature by the access key', { secret: accessSecret }),
  ...['at+jwt', undefined].map((typ) => present(`typ ${typ}`, { header: { typ } })),
  ...['http://localhost:3001', undefined].map((iss) => present(`iss ${iss}`, { claims: { iss } })),
  ...[publicUrl, undefined].map((aud) => present(`aud ${aud}`, { claims: { aud } })),
  ...['unknown', undefined].map((kid) => present(`kid ${kid}`, { header: { kid } })),
  ...[0, '1', undefined].map((gen) => present(`gen ${JSON.stringify(gen)}`, { claims: { gen } })),
  ['text that is no token', () => cookie('garbage')],
  ['an access token', (client) => cookie(client.accessToken)],
  [twoCookies, ({ refreshToken }) => `${cookie(refreshToken)}; ${cookie(refreshToken)}`],
]

const ended: Row[] = [
  present('an unknown session', { claims: { sid: 'A'.repeat(22) } }),
  [
    'the session of another user',
    async (client) => cookie(changed(client, { claims: { sub: (await register(t.app)).userId } })),
  ],
  arrange('a session that was logged out', ({ refreshToken }) => logout(t.app, refreshToken)),
  arrange('the idle limit passed', () => t.pass(idle)),
  [
    'the absolute limit passed, in use all the time',
    async ({ refreshToken }) => {
      let token = refreshToken
      for (let passed = 0; passed < absolute; passed += 6 * day) {
        token = await refreshOnce(token)
        await t.pass(6 * day)
      }
      return cookie(token)
    },
  ],
  arrange('the user disabled', (client) => disable(t, client)),
  arrange('the user disabled and enabled again', (client) =>
    disable(t, client).then(() => enable(t, client)),
  ),
  arrange('the user deleted', ({ userId }) => t.db.rows(sql`DELETE FROM users WHERE id = ${userId}`)),
  arrange('the predecessor within the grace window, of a session that has ended', async ({ refreshToken }) =>
    logout(t.app, await refreshOnce(refreshToken)).expect(204),
  ),
  [
    'a generation never issued, of a session that has ended',
    async (client) => {
      await logout(t.app, client.refreshToken).expect(204)
      return cookie(changed(client, { claims: { gen: 9 } }))
    },
  ],
]

describe(`the refresh state table on ${databaseName}`, () => {
  describe.each([
    { code: 'refresh_token_missing', rows: missing },
    { code: 'refresh_token_invalid', rows: invalid },
    { code: 'session_ended', rows: ended },
  ])('401 $code, cookie cleared, no effect:', ({ code, rows }) => {
    test.each(rows)('%s', async (cause, present) => {
      const client = code === 'session_ended' ? await register(t.app) : untouched
      const Cookie = await present(client)
      const headers = Cookie === undefined ? {} : { Cookie }
      const before = await rowOf(t, client)
      const from = t.log.length

      const response = await send(t.app, 'POST /auth/refresh', { headers })

      expectProblem(response, 401, code)
      expect(response.body).not.toHaveProperty('accessToken')
      expect(clearsCookie(response)).toBe(true)
      expect(response.get('WWW-Authenticate')).toBeUndefined()
      expect(await rowOf(t, client)).toEqual(before)
      const logged = cause === twoCookies ? ['refresh_cookie_twice'] : []
      expect(eventsSince(from).map(({ event }) => event)).toEqual(logged)
    })
  })

  test('generation = current: 200, a token of generation + 1, one update of the row', async () => {
    const client = await register(t.app)
    const before = await rowOf(t, client)
    const from = t.log.length

    const response = await refresh(t.app, client.refreshToken)

    expect(response.status).toBe(200)
    expect(claimsOf(refreshTokenOf(response))).toMatchObject({ sid: client.sessionId, gen: 2 })
    const after = await rowOf(t, client)
    expect(after).toEqual({ ...before, generation: 2, rotated_at: after?.rotated_at })
    expect(Number(new Date(String(after?.rotated_at)))).toBeGreaterThanOrEqual(
      Number(new Date(String(before?.rotated_at))),
    )
    expect(eventsSince(from)).toEqual([])
    await send(t.app, 'GET /users/me', { as: clientOf(response) }).expect(200)
  })

  test('generation = current - 1 in the grace window: 200, the same successor word for word, no update of the row [B3]', async () => {
    const client = await register(t.app)
    const successor = await refreshOnce(client.refreshToken)
    const before = await rowOf(t, client)
    await t.pass(9)
    const from = t.log.length

    const response = await refresh(t.app, client.refreshToken)

    expect(response.status).toBe(200)
    expect(refreshTokenOf(response)).toBe(successor)
    expect(await rowOf(t, client)).toEqual(before)
    expect(eventsSince(from)).toEqual([expect.objectContaining({ level: 30, event: 'refresh_graced' })])
    await send(t.app, 'GET /users/me', { as: clientOf(response) }).expect(200)
  })

  test('generation = current - 1 after the grace window: 401 refresh_token_reused, session ended [B2]', async () => {
    const client = await register(t.app)
    await refreshOnce(client.refreshToken)
    await t.pass(10)

    await expectReused(client)
  })

  test.each([
    ['within the grace time of the last rotation', 0],
    ['long after', 3600],
  ])('generation < current - 1, %s: 401 refresh_token_reused [B2]', async (_when, seconds) => {
    const client = await register(t.app)
    await refreshOnce(await refreshOnce(client.refreshToken))
    await t.pass(seconds)

    await expectReused(client)
  })

  test.each([2, 9, 2 ** 31 - 1])(
    'generation %d, newer than current: 401 refresh_token_reused [B2]',
    async (gen) => {
      const client = await register(t.app)

      await expectReused(client, changed(client, { claims: { gen } }))
    },
  )

  test('the successors of a reused token also fail, and the security event is logged once [B2]', async () => {
    const client = await register(t.app)
    const second = clientOf(await refresh(t.app, client.refreshToken))
    const third = clientOf(await refresh(t.app, second.refreshToken))
    const row = await expectReused(client)
    const from = t.log.length

    for (const holder of [third, second, client]) {
      expectProblem(await refresh(t.app, holder.refreshToken), 401, 'session_ended')
      expectProblem(await send(t.app, 'GET /users/me', { as: holder }), 401, 'session_ended')
    }
    expect(await rowOf(t, client)).toEqual(row)
    expect(eventsSince(from)).toEqual([])
  })
})

describe('the grace window', () => {
  test('the grace window never slides [B3]', async () => {
    const client = await register(t.app)
    await refreshOnce(client.refreshToken)
    await t.pass(6)
    await refreshOnce(client.refreshToken)
    await t.pass(6)

    await expectReused(client)
  })

  test('the grace window holds for the immediate predecessor only, also after a graced refresh [B3]', async () => {
    const client = await register(t.app)
    const second = await refreshOnce(client.refreshToken)
    const third = await refreshOnce(second)
    expect(await refreshOnce(second)).toBe(third)

    await expectReused(client)
  })

  test('the successor of a graced refresh rotates like any other [B3]', async () => {
    const client = await register(t.app)
    await refreshOnce(client.refreshToken)
    const again = await refreshOnce(client.refreshToken)

    expect(claimsOf(await refreshOnce(again)).gen).toBe(3)
  })

  test('REFRESH_GRACE_SECONDS=0 turns the grace window off [B3]', async () => {
    const client = await register(graceless.app)
    await refreshOnce(client.refreshToken, graceless)

    await expectReused(client, client.refreshToken, graceless)
  })
})

describe('parallel refreshes', () => {
  const refresh50 = (on: typeof t, { refreshToken }: Client) =>
    Promise.all(Array.from({ length: 50 }, () => refresh(on.app, refreshToken)))

  test('50 parallel refreshes with one token: one rotation, one successor [B1]', async () => {
    const client = await register(t.app)

    const responses = await refresh50(t, client)

    expect(responses.map(({ status }) => status)).toEqual(Array(50).fill(200))
    expect(new Set(responses.map(refreshTokenOf)).size).toBe(1)
    expect(await rowOf(t, client)).toMatchObject({ generation: 2, ended_at: null })
  })

  test('50 parallel refreshes with one token and no grace: one successor at most, and it is not usable [B1]', async () => {
    const client = await register(graceless.app)

    const responses = await refresh50(graceless, client)

    const won = responses.filter(({ status }) => status === 200)
    const codes = responses.map(({ body }) => body.code)
    expect(won).toHaveLength(1)
    expect(codes.filter((code) => code === 'refresh_token_reused')).toHaveLength(1)
    expect(codes.filter((code) => code === 'session_ended')).toHaveLength(48)
    expect(await rowOf(graceless, client)).toMatchObject({ generation: 2, end_reason: 'reuse' })
    const successor = refreshTokenOf(won[0] as request.Response)
    expectProblem(await refresh(graceless.app, successor), 401, 'session_ended')
  })
})

describe('limits', () => {
  const maxAgeOf = (response: request.Response) =>
    Number(/Max-Age=(\d+)/.exec(refreshCookieOf(response)?.attributes.join() ?? '')?.[1])
  const databaseNow = async () => {
    const [row] = await t.db.rows<{ now: string }>(sql`SELECT extract(epoch FROM now()) AS now`)
    return Number(row?.now)
  }

  test('a session that is used lives longer than the idle timeout [B4]', async () => {
    const client = await register(t.app)
    await t.pass(idle - 60)
    const successor = await refreshOnce(client.refreshToken)
    await t.pass(idle - 60)

    await refreshOnce(successor)

    expect(await rowOf(t, client)).toMatchObject({ generation: 3, ended_at: null })
  })

  test('Max-Age and exp never pass the absolute timeout [B4]', async () => {
    const client = await register(t.app)
    const row = await rowOf(t, client)
    const limit = Date.parse(String(row?.expires_at)) / 1000
    expect(limit - Date.parse(String(row?.created_at)) / 1000).toBe(absolute)
    let token = client.refreshToken
    const ages: number[] = []

    for (const days of [6, 6, 6, 6, 5, 0]) {
      const response = await refresh(t.app, token).expect(200)
      token = refreshTokenOf(response)
      ages.push(maxAgeOf(response))
      expect(claimsOf(token).exp).toBeLessThanOrEqual(limit)
      await t.pass(days * day)
    }

    expect(ages.slice(0, 4)).toEqual([idle, idle, idle, idle])
    for (const [index, left] of [[4, 6 * day] as const, [5, day] as const]) {
      expect(ages[index]).toBeGreaterThan(left - 30)
      expect(ages[index]).toBeLessThanOrEqual(left)
    }
    expect(claimsOf(token).exp).toBe(Math.floor(limit))
  })

  test('the cookie ends with its token: Max-Age = exp - now, after a rotation and in grace [B4]', async () => {
    const client = await register(t.app)
    for (const seconds of [0, 9]) {
      await t.pass(seconds)
      const response = await refresh(t.app, client.refreshToken)
      const left = claimsOf(refreshTokenOf(response)).exp - (await databaseNow())
      expect(Math.abs(maxAgeOf(response) - left)).toBeLessThan(2)
    }
  })

  test("the database's clock decides, whatever exp and the server's clock say [B4, G6]", async () => {
    const client = await register(t.app)
    const { exp } = claimsOf(client.refreshToken)
    await t.db.pass(idle)

    const response = await refresh(t.app, changed(client, { claims: { exp: exp + 10 * absolute } }))
    await t.db.pass(-idle)

    expectProblem(response, 401, 'session_ended')
  })
})

describe('a token past its own end', () => {
  /** A server with a shorter idle timeout, on the database of a server whose idle timeout was raised. */
  const short = useTestApp({ SESSION_IDLE_SECONDS: '30', REFRESH_GRACE_SECONDS: '60' }, t)
  let raised: TestApp
  beforeAll(async () => {
    raised = await createTestApp({ REFRESH_GRACE_SECONDS: '60' }, short.db)
  })
  afterAll(() => raised.close())

  test.each<[what: string, present: (client: Client) => Promise<string>]>([
    ['the current one', async ({ refreshToken }) => refreshToken],
    [
      'the predecessor within the grace window',
      async ({ refreshToken }) => {
        await short.pass(10)
        await refreshOnce(refreshToken, short)
        return refreshToken
      },
    ],
    [
      'one of an older generation, of a session that goes on',
      async ({ refreshToken }) => {
        await refreshOnce(await refreshOnce(refreshToken, short), short)
        return refreshToken
      },
    ],
  ])(
    '%s: 401 session_ended, although the idle timeout was raised in the meantime [B4]',
    async (_what, present) => {
      const client = await register(short.app)
      const token = await present(client)
      await short.pass(31)
      const before = await rowOf(short, client)

      const response = await refresh(raised.app, token)

      expectProblem(response, 401, 'session_ended')
      expect(clearsCookie(response)).toBe(true)
      expect(await rowOf(short, client)).toEqual(before)
    },
  )
})

describe('a token from the future', () => {
  const fromTheFuture = (client: Client, seconds: number) => {
    const { iat, exp } = claimsOf(client.refreshToken)
    return changed(client, { claims: { iat: iat + seconds, exp: exp + seconds } })
  }

  test.each([
    ['refresh', refresh],
    ['logout', logout],
  ])('%s: 503 unavailable, cookie kept, no effect [G6]', async (_name, request) => {
    const client = await register(t.app)
    const before = await rowOf(t, client)

    for (const seconds of [120, 10 * absolute])
      expectUnavailable(await request(t.app, fromTheFuture(client, seconds)))

    expect(await rowOf(t, client)).toEqual(before)
    await refreshOnce(client.refreshToken)
  })

  test('from a database whose clock is ahead: 503 until the clocks agree [G6]', async () => {
    await t.db.pass(120)
    const client = await register(t.app)
    const refused = [await refresh(t.app, client.refreshToken), await logout(t.app, client.refreshToken)]
    await t.db.pass(-120)

    for (const response of refused) expectUnavailable(response)
    await t.pass(120)
    await refreshOnce(client.refreshToken)
  })

  test('is invalid if it has another key, another issuer or no session [A1]', async () => {
    const ahead = { iat: claimsOf(untouched.refreshToken).iat + 120 }

    for (const change of [
      { secret: 'x'.repeat(48), claims: ahead },
      { claims: { ...ahead, iss: 'http://localhost:3001' } },
      { claims: { ...ahead, sid: 'x' } },
    ])
      expectProblem(await refresh(t.app, changed(untouched, change)), 401, 'refresh_token_invalid')
  })

  test('does not prevent a login', async () => {
    const client = await register(t.app)
    const body = { email: client.email, password }

    await send(t.app, 'POST /auth/login', { token: fromTheFuture(client, 120), body }).expect(200)
  })
})

describe('if the database or the keys are unavailable', () => {
  test('database unavailable: 503 unavailable, cookie kept, no effect; the token is valid afterwards [G2]', async () => {
    const client = await register(t.app)
    const before = await rowOf(t, client)

    const response = await withoutDatabase(t.db, async () => refresh(t.app, client.refreshToken))

    expectUnavailable(response)
    expect(await rowOf(t, client)).toEqual(before)
    await refreshOnce(client.refreshToken)
  })

  test('unknown kid while the last load of the keys failed, and keys too old: 503 unavailable, cookie kept', async () => {
    const u = await createAppWithoutKeys(t.db)
    const client = await register(u.app)

    const unknownKid = await refresh(u.app, changed(client, { header: { kid: 'unknown' } }))
    const successor = await refreshOnce(client.refreshToken, u)
    await u.pass(86_401)
    const stale = await refresh(u.app, successor)
    const row = await rowOf(u, client)
    await u.close()

    expectUnavailable(unknownKid)
    expectUnavailable(stale)
    expect(row).toMatchObject({ generation: 2, ended_at: null })
  })
})
