import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals'
import { sql } from 'drizzle-orm'
import request from 'supertest'
import {
  accessSecret,
  bearer,
  type Client,
  clearsCookie,
  clientOf,
  cookie,
  createTestApp,
  forge,
  publicUrl,
  refresh,
  refreshCookieOf,
  refreshSecret,
  refreshTokenOf,
  register,
  type TestApp,
} from '../support/app.ts'
import { databaseName } from '../support/database.ts'

const day = 86_400
const idle = 7 * day
const absolute = 30 * day

// Of embedded databases on a busy machine: each takes seconds to start.
jest.setTimeout(30_000)

let t: TestApp
let graceless: TestApp
/** Whose session no request may touch that presents no good token. */
let untouched: Client
beforeAll(async () => {
  t = await createTestApp()
  graceless = await createTestApp({ REFRESH_GRACE_SECONDS: '0' })
  untouched = await register(t.app)
})
afterAll(async () => {
  await t.close()
  await graceless.close()
})

const sessionRow = async (id: string, on = t) => {
  const [row] = await on.db.rows(sql`SELECT * FROM sessions WHERE id = ${id}`)
  return row
}

const refreshOnce = async (token: string, on = t) => refreshTokenOf(await refresh(on.app, token).expect(200))

const decode = (part: string | undefined) =>
  JSON.parse(Buffer.from(part ?? '', 'base64url').toString()) as Record<string, unknown>
const claimsOf = (token: string) => decode(token.split('.')[1])

/** The same token with other header members or claims, signed anew. */
function changed(
  { refreshToken }: Client,
  change: { header?: Record<string, unknown>; claims?: Record<string, unknown> },
  secret = refreshSecret,
): string {
  const [header, claims] = refreshToken.split('.').map((part, index) => (index < 2 ? decode(part) : {}))
  return forge(secret, { ...header, ...change.header }, { ...claims, ...change.claims })
}

/** Lines of the log, since `from`, that tell of an event or are a warning or worse. */
const eventsSince = (from: number, on = t) =>
  on.log.slice(from).filter(({ event, level }) => event !== undefined || Number(level) >= 40)

async function reusedSession(client: Client, token: string, on = t) {
  const from = on.log.length
  const response = await refresh(on.app, token)

  expect(response.status).toBe(401)
  expect(response.body.code).toBe('refresh_token_reused')
  expect(clearsCookie(response)).toBe(true)
  const row = await sessionRow(client.sessionId, on)
  expect(row).toMatchObject({ end_reason: 'reuse', ended_at: expect.anything() })
  const events = eventsSince(from, on)
  expect(events).toHaveLength(1)
  expect(events[0]).toMatchObject({
    level: 40,
    event: 'refresh_token_reused',
    sid: client.sessionId,
    userId: client.userId,
    requestId: response.get('X-Request-Id'),
  })
  return row
}

/** Cuts the app off its database, until the result is called. */
function loseDatabase({ db }: TestApp): () => void {
  const { $client } = db.database.queries as unknown as { $client: Record<string, unknown> }
  const refused = async () => {
    throw Object.assign(new Error('connect ECONNREFUSED 127.0.0.1:5432'), { code: 'ECONNREFUSED' })
  }
  Object.assign($client, { query: refused, connect: refused, transaction: refused })
  return () => {
    for (const name of ['query', 'connect', 'transaction']) delete $client[name]
  }
}

interface Refused {
  cause: string
  /** Arranges the cause for a new session, and gives the Cookie header to present. */
  present: (client: Client) => string | undefined | Promise<string>
}

const missing: Refused[] = [
  { cause: 'no Cookie header', present: () => undefined },
  { cause: 'other cookies only', present: () => 'theme=dark; refresh_tokens=x' },
  { cause: 'an empty cookie', present: () => cookie('') },
]

const invalid: Refused[] = [
  {
    cause: 'a signature by another key',
    present: (client) => cookie(changed(client, {}, 'x'.repeat(48))),
  },
  { cause: 'a signature by the access key', present: (client) => cookie(changed(client, {}, accessSecret)) },
  {
    cause: 'the signature of another payload',
    present: (client) => {
      const [header, , signature] = client.refreshToken.split('.')
      const payload = Buffer.from(JSON.stringify({ ...claimsOf(client.refreshToken), gen: 2 }))
      return cookie(`${header}.${payload.toString('base64url')}.${signature}`)
    },
  },
  ...['JWT', 'at+jwt', 'RT+JWT', undefined].map((typ) => ({
    cause: `typ ${typ}`,
    present: (client: Client) => cookie(changed(client, { header: { typ } })),
  })),
  ...['http://localhost:3001', `${publicUrl}/`, [publicUrl], undefined].map((iss) => ({
    cause: `iss ${JSON.stringify(iss)}`,
    present: (client: Client) => cookie(changed(client, { claims: { iss } })),
  })),
  ...[publicUrl, [`${publicUrl}/auth/refresh`], undefined].map((aud) => ({
    cause: `aud ${JSON.stringify(aud)}`,
    present: (client: Client) => cookie(changed(client, { claims: { aud } })),
  })),
  ...['unknown', '', '__proto__', undefined].map((kid) => ({
    cause: `kid ${JSON.stringify(kid)}`,
    present: (client: Client) => cookie(changed(client, { header: { kid } })),
  })),
  ...[0, -1, 1.5, '1', null, undefined].map((gen) => ({
    cause: `gen ${JSON.stringify(gen)}`,
    present: (client: Client) => cookie(changed(client, { claims: { gen } })),
  })),
  { cause: 'text that is no token', present: () => cookie('garbage') },
  { cause: 'three parts that are no token', present: () => cookie('a.b.c') },
  { cause: 'an access token', present: (client) => cookie(client.accessToken) },
  {
    cause: 'two cookies of the name',
    present: ({ refreshToken }) => `${cookie(refreshToken)}; ${cookie(refreshToken)}`,
  },
  {
    cause: 'two cookies, the second empty',
    present: ({ refreshToken }) => `${cookie(refreshToken)}; ${cookie('')}`,
  },
]

const sql1 = async (statement: ReturnType<typeof sql>) => void (await t.db.rows(statement))

const ended: Refused[] = [
  {
    cause: 'an unknown session',
    present: (client) => cookie(changed(client, { claims: { sid: 'A'.repeat(22) } })),
  },
  {
    cause: 'the session of another user',
    present: async (client) => {
      const { userId } = await register(t.app)
      return cookie(changed(client, { claims: { sub: userId } }))
    },
  },
  {
    cause: 'a session that was logged out',
    present: async ({ refreshToken }) => {
      await request(t.app).post('/auth/logout').set('Cookie', cookie(refreshToken)).expect(204)
      return cookie(refreshToken)
    },
  },
  {
    cause: 'the idle limit passed',
    present: async ({ refreshToken }) => {
      await t.pass(idle)
      return cookie(refreshToken)
    },
  },
  {
    cause: 'the absolute limit passed, in use all the time',
    present: async ({ refreshToken }) => {
      let token = refreshToken
      for (let passed = 0; passed < absolute; passed += 6 * day) {
        token = await refreshOnce(token)
        await t.pass(6 * day)
      }
      return cookie(token)
    },
  },
  {
    cause: 'the user disabled',
    present: async ({ userId, refreshToken }) => {
      await sql1(sql`UPDATE users SET disabled_at = now() WHERE id = ${userId}`)
      return cookie(refreshToken)
    },
  },
  {
    cause: 'the user disabled and enabled again',
    present: async ({ userId, refreshToken }) => {
      await sql1(sql`UPDATE users SET disabled_at = now() WHERE id = ${userId}`)
      await sql1(sql`UPDATE users SET disabled_at = NULL WHERE id = ${userId}`)
      return cookie(refreshToken)
    },
  },
  {
    cause: 'the user deleted',
    present: async ({ userId, refreshToken }) => {
      await sql1(sql`DELETE FROM users WHERE id = ${userId}`)
      return cookie(refreshToken)
    },
  },
  {
    cause: 'the predecessor within the grace window, of a session that has ended',
    present: async ({ refreshToken }) => {
      const successor = await refreshOnce(refreshToken)
      await request(t.app).post('/auth/logout').set('Cookie', cookie(successor)).expect(204)
      return cookie(refreshToken)
    },
  },
  {
    cause: 'a generation never issued, of a session that has ended',
    present: async (client) => {
      await request(t.app).post('/auth/logout').set('Cookie', cookie(client.refreshToken)).expect(204)
      return cookie(changed(client, { claims: { gen: 9 } }))
    },
  },
]

describe(`the refresh state table on ${databaseName}`, () => {
  describe.each([
    { code: 'refresh_token_missing', rows: missing },
    { code: 'refresh_token_invalid', rows: invalid },
    { code: 'session_ended', rows: ended },
  ])('401 $code, cookie cleared, no effect:', ({ code, rows }) => {
    test.each(rows)('$cause', async ({ present }) => {
      const client = code === 'session_ended' ? await register(t.app) : untouched
      const header = await present(client)
      const before = await sessionRow(client.sessionId)
      const from = t.log.length

      const response = await request(t.app)
        .post('/auth/refresh')
        .set(header === undefined ? {} : { Cookie: header })

      expect(response.status).toBe(401)
      expect(response.body).toMatchObject({ status: 401, code })
      expect(response.body).not.toHaveProperty('accessToken')
      expect(clearsCookie(response)).toBe(true)
      expect(response.get('WWW-Authenticate')).toBeUndefined()
      expect(await sessionRow(client.sessionId)).toEqual(before)
      expect(eventsSince(from)).toEqual([])
    })
  })

  test('generation = current: 200, token of generation + 1, one update of the row', async () => {
    const client = await register(t.app)
    const before = await sessionRow(client.sessionId)
    const from = t.log.length

    const response = await refresh(t.app, client.refreshToken)

    expect(response.status).toBe(200)
    expect(response.body).toEqual({
      accessToken: expect.any(String),
      tokenType: 'Bearer',
      expiresIn: 900,
      user: {
        id: client.userId,
        email: client.email,
        role: 'user',
        emailVerified: false,
        createdAt: expect.any(String),
      },
    })
    const successor = claimsOf(refreshTokenOf(response))
    expect(successor).toMatchObject({
      iss: publicUrl,
      aud: `${publicUrl}/auth/refresh`,
      sub: client.userId,
      sid: client.sessionId,
      gen: 2,
      jti: `${client.sessionId}.2`,
    })
    const after = await sessionRow(client.sessionId)
    expect(after).toEqual({ ...before, generation: 2, rotated_at: after?.rotated_at })
    expect(Date.parse(String(after?.rotated_at))).toBeGreaterThanOrEqual(
      Date.parse(String(before?.rotated_at)),
    )
    expect(eventsSince(from)).toEqual([])
    await request(t.app)
      .get('/users/me')
      .set('Authorization', bearer(clientOf(response)))
      .expect(200)
  })

  test('generation = current - 1 in the grace window: 200, the same successor word for word, row untouched', async () => {
    const client = await register(t.app)
    const first = await refresh(t.app, client.refreshToken)
    const before = await sessionRow(client.sessionId)
    await t.pass(9)
    const from = t.log.length

    const second = await refresh(t.app, client.refreshToken)

    expect(second.status).toBe(200)
    expect(refreshTokenOf(second)).toBe(refreshTokenOf(first))
    expect(await sessionRow(client.sessionId)).toEqual(before)
    const events = eventsSince(from)
    expect(events).toHaveLength(1)
    expect(events[0]).toMatchObject({ level: 30, event: 'refresh_graced' })
    await request(t.app)
      .get('/users/me')
      .set('Authorization', bearer(clientOf(second)))
      .expect(200)
  })

  test('B2 generation = current - 1 after the grace window: 401 refresh_token_reused, session ended', async () => {
    const client = await register(t.app)
    await refreshOnce(client.refreshToken)
    await t.pass(10)

    await reusedSession(client, client.refreshToken)
  })

  test('B2 older than the predecessor, within the grace time of the last rotation: 401 refresh_token_reused', async () => {
    const client = await register(t.app)
    const second = await refreshOnce(client.refreshToken)
    await refreshOnce(second)

    await reusedSession(client, client.refreshToken)
  })

  test('B2 older than the predecessor, long after: 401 refresh_token_reused', async () => {
    const client = await register(t.app)
    const second = await refreshOnce(client.refreshToken)
    await refreshOnce(second)
    await t.pass(3600)

    await reusedSession(client, client.refreshToken)
  })

  test.each([2, 9, 2 ** 31 - 1])(
    'B2 generation %d, newer than current: 401 refresh_token_reused',
    async (gen) => {
      const client = await register(t.app)

      await reusedSession(client, changed(client, { claims: { gen } }))
    },
  )

  test.each([
    { gen: 2 ** 31 },
    { gen: Number.MAX_SAFE_INTEGER },
    { sub: 'no uuid' },
    { sid: 'NUL\0' },
    { sid: '\ud800' },
  ])('validly signed, with a claim that no row can hold, %j: 401, cookie cleared', async (claims) => {
    const client = await register(t.app)

    const response = await refresh(t.app, changed(client, { claims }))

    expect(response.status).toBe(401)
    expect(['refresh_token_reused', 'refresh_token_invalid', 'session_ended']).toContain(response.body.code)
    expect(clearsCookie(response)).toBe(true)
    expect(await sessionRow(client.sessionId)).toMatchObject({ generation: 1 })
  })

  test('B2 the successors of a reused token fail too, and the security event is logged once', async () => {
    const client = await register(t.app)
    const second = clientOf(await refresh(t.app, client.refreshToken))
    const third = clientOf(await refresh(t.app, second.refreshToken))
    const row = await reusedSession(client, client.refreshToken)
    const from = t.log.length

    for (const token of [third.refreshToken, second.refreshToken, client.refreshToken]) {
      const response = await refresh(t.app, token)
      expect(response.status).toBe(401)
      expect(response.body.code).toBe('session_ended')
    }
    for (const holder of [client, second, third]) {
      const response = await request(t.app).get('/users/me').set('Authorization', bearer(holder))
      expect(response.status).toBe(401)
      expect(response.body.code).toBe('session_ended')
    }
    expect(await sessionRow(client.sessionId)).toEqual(row)
    expect(eventsSince(from)).toEqual([])
  })
})

describe('the grace window', () => {
  test('B3 grace never slides', async () => {
    const client = await register(t.app)
    await refreshOnce(client.refreshToken)
    await t.pass(6)
    await refreshOnce(client.refreshToken)
    await t.pass(6)

    await reusedSession(client, client.refreshToken)
  })

  test('B3 grace holds for the immediate predecessor only: a graced token does not bring its own predecessor back', async () => {
    const client = await register(t.app)
    const second = await refreshOnce(client.refreshToken)
    const third = await refreshOnce(second)
    expect(await refreshOnce(second)).toBe(third)

    await reusedSession(client, client.refreshToken)
  })

  test('B3 a successor that was got by grace rotates like any other', async () => {
    const client = await register(t.app)
    await refreshOnce(client.refreshToken)
    const again = await refreshOnce(client.refreshToken)

    const response = await refresh(t.app, again)

    expect(response.status).toBe(200)
    expect(claimsOf(refreshTokenOf(response)).gen).toBe(3)
  })

  test('B3 REFRESH_GRACE_SECONDS=0 turns it off', async () => {
    const client = await register(graceless.app)
    await refreshOnce(client.refreshToken, graceless)

    await reusedSession(client, client.refreshToken, graceless)
  })
})

describe('parallel refreshes', () => {
  test('B1 50 with one token: one rotation, one successor', async () => {
    const client = await register(t.app)

    const responses = await Promise.all(Array.from({ length: 50 }, () => refresh(t.app, client.refreshToken)))

    expect(responses.map(({ status }) => status)).toEqual(Array(50).fill(200))
    expect(new Set(responses.map(refreshTokenOf)).size).toBe(1)
    expect(await sessionRow(client.sessionId)).toMatchObject({ generation: 2, ended_at: null })
  })

  test('B1 50 with one token and no grace: one successor at most, and none that is usable', async () => {
    const client = await register(graceless.app)

    const responses = await Promise.all(
      Array.from({ length: 50 }, () => refresh(graceless.app, client.refreshToken)),
    )

    const won = responses.filter(({ status }) => status === 200)
    expect(won).toHaveLength(1)
    expect(responses.filter(({ body }) => body.code === 'refresh_token_reused')).toHaveLength(1)
    expect(responses.filter(({ body }) => body.code === 'session_ended')).toHaveLength(48)
    expect(await sessionRow(client.sessionId, graceless)).toMatchObject({
      generation: 2,
      end_reason: 'reuse',
    })
    const response = await refresh(graceless.app, refreshTokenOf(won[0] as request.Response))
    expect(response.body.code).toBe('session_ended')
  })
})

describe('limits', () => {
  const maxAgeOf = (response: request.Response) =>
    Number(
      refreshCookieOf(response)
        ?.attributes.find((attribute) => attribute.startsWith('Max-Age='))
        ?.slice('Max-Age='.length),
    )
  const databaseNow = async () => {
    const [row] = await t.db.rows<{ now: string }>(sql`SELECT extract(epoch FROM now()) AS now`)
    return Number(row?.now)
  }

  test('B4 a session in use goes on past the idle limit', async () => {
    const client = await register(t.app)
    await t.pass(idle - 60)
    const successor = await refreshOnce(client.refreshToken)
    await t.pass(idle - 60)

    const response = await refresh(t.app, successor)

    expect(response.status).toBe(200)
    expect(await sessionRow(client.sessionId)).toMatchObject({ generation: 3, ended_at: null })
  })

  test('B4 Max-Age and exp shrink towards the absolute limit, and never pass it', async () => {
    const client = await register(t.app)
    const row = await sessionRow(client.sessionId)
    const limit = Date.parse(String(row?.expires_at)) / 1000
    expect(limit - Date.parse(String(row?.created_at)) / 1000).toBe(absolute)
    let token = client.refreshToken
    const ages: number[] = []

    for (let passed = 0; passed < absolute; passed += 6 * day) {
      const response = await refresh(t.app, token).expect(200)
      token = refreshTokenOf(response)
      ages.push(maxAgeOf(response))
      expect(claimsOf(token).exp).toBeLessThanOrEqual(limit)
      await t.pass(passed + 6 * day < absolute ? 6 * day : 5 * day)
    }
    const last = await refresh(t.app, token).expect(200)

    expect(ages.slice(0, 4)).toEqual([idle, idle, idle, idle])
    expect(ages[4]).toBeGreaterThan(6 * day - 30)
    expect(ages[4]).toBeLessThanOrEqual(6 * day)
    expect(maxAgeOf(last)).toBeGreaterThan(day - 30)
    expect(maxAgeOf(last)).toBeLessThanOrEqual(day)
    expect(claimsOf(refreshTokenOf(last)).exp).toBe(Math.floor(limit))
  })

  test('B4 the cookie ends with its token: Max-Age = exp - now, at rotation and in grace', async () => {
    const client = await register(t.app)
    const rotated = await refresh(t.app, client.refreshToken)
    const atRotation = await databaseNow()
    await t.pass(9)
    const graced = await refresh(t.app, client.refreshToken)
    const atGrace = await databaseNow()

    const exp = Number(claimsOf(refreshTokenOf(rotated)).exp)
    expect(Math.abs(maxAgeOf(rotated) - (exp - atRotation))).toBeLessThan(2)
    expect(Math.abs(maxAgeOf(graced) - (exp - atGrace))).toBeLessThan(2)
  })

  test("B4 the database's clock decides, whatever exp and the server's clock say", async () => {
    const client = await register(t.app)
    const late = changed(client, {
      claims: { exp: Number(claimsOf(client.refreshToken).exp) + 10 * absolute },
    })
    await t.db.pass(idle)

    const response = await refresh(t.app, late)
    await t.db.pass(-idle)

    expect(response.status).toBe(401)
    expect(response.body.code).toBe('session_ended')
  })
})

describe('database or keys out of reach', () => {
  function expectUnavailable(response: request.Response) {
    expect(response.status).toBe(503)
    expect(response.body.code).toBe('unavailable')
    expect(Number(response.get('Retry-After'))).toBeGreaterThan(0)
    expect(response.get('Set-Cookie')).toBeUndefined()
  }

  test('G2 the database: 503 unavailable, cookie kept, no effect; afterwards the token is as good as before', async () => {
    const client = await register(t.app)
    const before = await sessionRow(client.sessionId)

    const restore = loseDatabase(t)
    const response = await refresh(t.app, client.refreshToken)
    restore()

    expectUnavailable(response)
    expect(await sessionRow(client.sessionId)).toEqual(before)
    await refresh(t.app, client.refreshToken).expect(200)
  })

  test('an unknown kid while the last load of the keys failed, and keys too old: 503 unavailable, cookie kept', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'auth-secrets-'))
    const file = join(folder, 'refresh')
    writeFileSync(file, refreshSecret)
    const u = await createTestApp({ JWT_REFRESH_SECRET: '', JWT_REFRESH_SECRET_FILE: file })
    const client = await register(u.app)
    const before = await sessionRow(client.sessionId, u)
    rmSync(folder, { recursive: true })

    const unknownKid = await refresh(u.app, changed(client, { header: { kid: 'unknown' } }))
    const knownKid = await refresh(u.app, client.refreshToken)
    await u.pass(86_401)
    const stale = await refresh(u.app, refreshTokenOf(knownKid))
    const after = await sessionRow(client.sessionId, u)
    await u.close()

    expectUnavailable(unknownKid)
    expect(knownKid.status).toBe(200)
    expectUnavailable(stale)
    expect(after).toMatchObject({ generation: 2, ended_at: null, expires_at: before?.expires_at })
  })
})
