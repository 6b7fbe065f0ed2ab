import { describe, expect, test } from '@jest/globals'
import { sql } from 'drizzle-orm'
import jwt from 'jsonwebtoken'
import { pino } from 'pino'
import type request from 'supertest'
import { createApp } from '../../src/app.ts'
import { problems } from '../../src/features.ts'
import { accessToken, liveSession } from '../../src/http/bearer.ts'
import { noBody } from '../../src/http/body.ts'
import { sameSite } from '../../src/http/cross-site.ts'
import { fresh } from '../../src/http/fresh.ts'
import { requestLog } from '../../src/http/request-log.ts'
import { bind, type CheckServices, route } from '../../src/http/route.ts'
import { createSessionStore } from '../../src/store/sessions.ts'
import {
  type Client,
  clientOf,
  cookie,
  disable,
  expectProblem,
  expectUnavailable,
  login,
  logout,
  otherPassword,
  password,
  publicUrl,
  refresh,
  refreshCookieOf,
  refreshTokenOf,
  register,
  rowOf,
  send,
  tryLogin,
  useTestApp,
} from '../support/app.ts'
import { databaseName, withoutDatabase } from '../support/database.ts'

const limit = 5
const freshSeconds = 300
const t = useTestApp({ LIMIT_LOGIN_ACCOUNT: `${limit}/900` })
const unlimited = useTestApp()

const reauthenticate = (as: Client, body: object = { password }, on = t) =>
  send(on.app, 'POST /auth/reauthenticate', { as, body })

const sensitive = route({
  method: 'post',
  path: '/sensitive',
  checks: [sameSite, accessToken, noBody, liveSession, fresh],
  name: 'sensitive',
  group: 'Test',
  summary: 'Do what needs a recent proof of identity',
  answers: { 204: { description: 'Done.' } },
  handler: () => (_req, res) => void res.status(204).end(),
})

/** Sends a request to a route with the check `fresh`, on the same sessions. */
function actOn(client: Pick<Client, 'accessToken'>) {
  const services = {
    isAllowedOrigin: () => true,
    accessTokens: {
      verify: async (token: string) => {
        const { sub: userId = '', sid: sessionId } = jwt.decode(token) as jwt.JwtPayload
        return { userId, sessionId, role: 'user' }
      },
    },
    sessions: createSessionStore({
      ...t.db,
      limits: { idleSeconds: 604800, absoluteSeconds: 2592000, graceSeconds: 10, perUser: 20 },
    }),
    freshSeconds,
  } as unknown as CheckServices
  const app = createApp({
    publicUrl,
    corsOrigins: [],
    hstsIncludeSubdomains: false,
    trustProxy: undefined,
    warnOfUnknownProxy: false,
    requestLog: requestLog(pino({ level: 'silent' }), { draining: () => false }),
    measure: (_req, _res, next) => next(),
    draining: () => false,
    routes: bind([sensitive], services),
    problems,
    freshSeconds,
  })
  return send(app, 'POST /sensitive', { as: client })
}

/** The proof of identity of a session, and its generation. */
const proofOf = async (client: Client) => {
  const row = await rowOf(t, client)
  return { at: row?.authenticated_at, amr: row?.amr, generation: row?.generation }
}

const claimsOf = (response: request.Response) => jwt.decode(response.body.accessToken) as jwt.JwtPayload

const lastEvent = async ({ userId }: Client) => {
  const [last] = await t.db.rows(
    sql`SELECT event, session_id FROM audit_events WHERE user_id = ${userId} ORDER BY id DESC LIMIT 1`,
  )
  return last
}

describe(`a route with the check fresh, on ${databaseName}`, () => {
  test('serves a session whose login is not older than FRESH_SECONDS, and refuses an older one [account 21] [B11]', async () => {
    const client = await register(t.app)

    await t.pass(freshSeconds - 5)
    const before = await actOn(client)
    await t.pass(6)
    const after = await actOn(client)

    expect(before.status).toBe(204)
    expectProblem(after, 401, 'reauthentication_required')
    expect(after.body.methods).toEqual(['password'])
    expect(after.get('WWW-Authenticate')).toBe('Bearer error="insufficient_user_authentication", max_age=300')
    expect(after.get('Set-Cookie')).toBeUndefined()
  })

  test('serves an older token of a session that was reauthenticated, because the row decides [account 21] [B11]', async () => {
    const client = await register(t.app)
    await t.pass(freshSeconds + 1)
    expectProblem(await actOn(client), 401, 'reauthentication_required')

    await reauthenticate(client).expect(200)

    await actOn(client).expect(204)
    await t.pass(freshSeconds + 1)
    expectProblem(await actOn(client), 401, 'reauthentication_required')
  })

  test('refuses a token that a refresh has made, because a refresh proves no identity [account 21] [B11]', async () => {
    const client = await register(t.app)
    await t.pass(freshSeconds + 1)
    const before = await proofOf(client)

    const refreshed = await refresh(t.app, client.refreshToken).expect(200)

    expectProblem(await actOn(clientOf(refreshed)), 401, 'reauthentication_required')
    const { at, amr, generation } = await proofOf(client)
    expect({ at, amr }).toEqual({ at: before.at, amr: before.amr })
    expect(generation).toBe(Number(before.generation) + 1)
    expect(claimsOf(refreshed).auth_time).toBe(Math.floor(new Date(String(before.at)).getTime() / 1000))
  })

  test('answers session_ended for a session that has ended, whether it was fresh or not [account 21] [B11]', async () => {
    for (const age of [0, freshSeconds + 1]) {
      const client = await register(t.app)
      await t.pass(age)
      await logout(t.app, client.refreshToken)

      expectProblem(await actOn(client), 401, 'session_ended')
    }
  })
})

describe('POST /auth/reauthenticate', () => {
  test('continues the session with new tokens, and records when its user proved their identity [account 19, 22] [B12]', async () => {
    const client = await register(t.app)
    const before = await proofOf(client)
    await t.pass(100)

    const response = await reauthenticate(client)

    expect(response.status).toBe(200)
    expect(Object.keys(response.body).sort()).toEqual(['accessToken', 'expiresIn', 'tokenType', 'user'])
    expect(clientOf(response)).toMatchObject({ userId: client.userId, sessionId: client.sessionId })
    expect(response.get('Set-Cookie')).toHaveLength(1)
    const { at, amr, generation } = await proofOf(client)
    const proven = new Date(String(at)).getTime()
    expect(proven - new Date(String(before.at)).getTime()).toBeGreaterThanOrEqual(99_000)
    expect({ amr, generation }).toEqual({ amr: ['pwd'], generation: 2 })
    expect(claimsOf(response)).toMatchObject({ auth_time: Math.floor(proven / 1000), amr: ['pwd'] })
    expect(await lastEvent(client)).toEqual({ event: 'reauthenticated', session_id: client.sessionId })
    await refresh(t.app, refreshTokenOf(response)).expect(200)
  })

  test('adds the password to the methods of a session that began with a passkey [account 19] [B12]', async () => {
    const client = await register(t.app)
    await t.db.rows(sql`UPDATE sessions SET amr = '{hwk,user,mfa}' WHERE id = ${client.sessionId}`)

    const first = await reauthenticate(client)
    const second = await reauthenticate(client)

    for (const response of [first, second])
      expect(claimsOf(response).amr).toEqual(['hwk', 'user', 'mfa', 'pwd'])
    expect((await proofOf(client)).amr).toEqual(['hwk', 'user', 'mfa', 'pwd'])
  })

  test('makes no other session of the user fresh [account 22] [B12]', async () => {
    const client = await register(t.app)
    const other = await login(t.app, client.email)
    await t.pass(freshSeconds + 1)
    const before = await rowOf(t, other)

    await reauthenticate(client).expect(200)

    await actOn(client).expect(204)
    expectProblem(await actOn(other), 401, 'reauthentication_required')
    expect(await rowOf(t, other)).toEqual(before)
  })

  test('leaves the predecessor of the new refresh token its grace window [account 22] [B12]', async () => {
    const client = await register(t.app)
    const proven = refreshTokenOf(await reauthenticate(client))

    const graced = await refresh(t.app, client.refreshToken)

    expect(graced.status).toBe(200)
    expect(refreshTokenOf(graced)).toBe(proven)
    await t.pass(11)
    expectProblem(await refresh(t.app, client.refreshToken), 401, 'refresh_token_reused')
  })

  test.each<[what: string, header: (other: Client) => string]>([
    ['of another user', ({ refreshToken }) => cookie(refreshToken)],
    ['that is no token', () => cookie('garbage')],
    ['that is there twice', ({ refreshToken }) => `${cookie(refreshToken)}; ${cookie('garbage')}`],
  ])('does not look at a refresh cookie %s [account 22] [B12]', async (_what, header) => {
    const [client, other] = [await register(t.app), await register(t.app)]
    const before = await rowOf(t, other)

    const response = await reauthenticate(client).set('Cookie', header(other))

    expect(response.status).toBe(200)
    expect(clientOf(response).sessionId).toBe(client.sessionId)
    expect(await rowOf(t, other)).toEqual(before)
  })

  test('changes nothing with a wrong password, and records the failure [account 22] [B12]', async () => {
    const client = await register(t.app)
    const before = await rowOf(t, client)

    for (const wrong of [otherPassword, '']) {
      const response = await reauthenticate(client, { password: wrong })

      expectProblem(response, 403, 'wrong_password')
      expect(refreshCookieOf(response)).toBeUndefined()
      expect(await lastEvent(client)).toEqual({
        event: 'reauthentication_failed',
        session_id: client.sessionId,
      })
    }
    expect(await rowOf(t, client)).toEqual(before)
  })

  test.each<[what: string, end: (client: Client) => PromiseLike<unknown>]>([
    ['has ended', ({ refreshToken }) => logout(t.app, refreshToken)],
    ['belongs to a disabled user', (client) => disable(t, client)],
  ])(
    'answers session_ended for a session that %s, and counts no guess [account 22] [B12]',
    async (_what, end) => {
      const client = await register(t.app)
      await end(client)
      const before = await rowOf(t, client)

      for (let i = 0; i < limit + 1; i++)
        expectProblem(await reauthenticate(client, { password: otherPassword }), 401, 'session_ended')

      expect((await reauthenticate(client)).get('WWW-Authenticate')).toBe('Bearer error="invalid_token"')
      expect(await rowOf(t, client)).toEqual(before)
    },
  )

  test('counts wrong passwords as failed logins, and right ones not [account 22] [B12]', async () => {
    const client = await register(t.app)
    for (let i = 0; i < limit + 1; i++) await reauthenticate(client).expect(200)
    const other = await login(t.app, client.email)

    const guesses = Array.from({ length: limit + 3 }, () =>
      reauthenticate(client, { password: otherPassword }),
    )
    const statuses = (await Promise.all(guesses)).map(({ status }) => status).sort()

    expect(statuses).toEqual([...Array(limit).fill(403), ...Array(3).fill(429)])
    expectProblem(await reauthenticate(client), 429, 'too_many_attempts')
    const body = { currentPassword: password, newPassword: otherPassword }
    expectProblem(await send(t.app, 'POST /auth/password', { as: client, body }), 429, 'too_many_attempts')
    expectProblem(await tryLogin(t.app, client.email), 429, 'too_many_attempts')
    await reauthenticate(other).expect(200)
  })

  test('without the database answers 503 and keeps the cookie [B12]', async () => {
    const client = await register(t.app)

    expectUnavailable(await withoutDatabase(t.db, async () => await reauthenticate(client)))
  })
})

describe('races', () => {
  const inTurns = <T>(round: number, starts: (() => PromiseLike<T>)[]) =>
    Promise.all((round % 2 === 0 ? starts : starts.toReversed()).map((start) => start()))

  test('20 parallel reauthentications of one session rotate it 20 times, and end nothing [account 22] [B12]', async () => {
    const client = await register(unlimited.app)

    const responses = await Promise.all(
      Array.from({ length: 20 }, () => reauthenticate(client, { password }, unlimited)),
    )

    expect(responses.map(({ status }) => status)).toEqual(Array(20).fill(200))
    const generationOf = (token: string) => (jwt.decode(token) as jwt.JwtPayload).gen
    const tokens = responses.map(refreshTokenOf).sort((a, b) => generationOf(a) - generationOf(b))
    expect(tokens.map(generationOf)).toEqual(Array.from({ length: 20 }, (_, i) => i + 2))
    const [predecessor = '', last = ''] = tokens.slice(-2)
    expect(refreshTokenOf(await refresh(unlimited.app, predecessor).expect(200))).toBe(last)
    await refresh(unlimited.app, last).expect(200)
  })

  test('a reauthentication and a refresh of one token keep the session alive, whichever comes first [account 22] [B12]', async () => {
    for (let round = 0; round < 8; round++) {
      const client = await register(t.app)

      const [one, two] = await inTurns(round, [
        () => reauthenticate(client),
        () => refresh(t.app, client.refreshToken),
      ])

      expect([one?.status, two?.status]).toEqual([200, 200])
      await actOn(client).expect(204)
      const { generation } = await proofOf(client)
      const current = [one, two].map((each) => refreshTokenOf(each as request.Response))
      const newest = current.find((token) => (jwt.decode(token) as jwt.JwtPayload).gen === generation)
      await refresh(t.app, newest ?? '').expect(200)
    }
  })

  test.each<[what: string, end: (client: Client, keeper: Client) => PromiseLike<request.Response>]>([
    ['logout-all', (_client, keeper) => send(t.app, 'POST /auth/logout-all', { as: keeper })],
    [
      'a change of the password',
      (_client, keeper) =>
        send(t.app, 'POST /auth/password', {
          as: keeper,
          body: { currentPassword: password, newPassword: otherPassword },
        }),
    ],
    ['a logout', ({ refreshToken }) => logout(t.app, refreshToken)],
  ])('a reauthentication that races %s revives no session [account 22] [B12]', async (_what, end) => {
    for (let round = 0; round < 8; round++) {
      const keeper = await register(t.app)
      const client = await login(t.app, keeper.email)

      const responses = await inTurns(round, [() => reauthenticate(client), () => end(client, keeper)])

      const [proven, ended] = round % 2 === 0 ? responses : responses.toReversed()
      expect([200, 401]).toContain(proven?.status)
      expect(ended?.ok).toBe(true)
      const row = await rowOf(t, client)
      expect(row?.ended_at).not.toBeNull()
      const tokens = proven?.status === 200 ? [client, clientOf(proven)] : [client]
      for (const { accessToken, refreshToken } of tokens) {
        expectProblem(await actOn({ accessToken }), 401, 'session_ended')
        expectProblem(await refresh(t.app, refreshToken), 401, 'session_ended')
      }
    }
  })
})
