import { describe, expect, test } from '@jest/globals'
import { sql } from 'drizzle-orm'
import {
  type Client,
  clientOf,
  disable,
  login,
  logout,
  newEmail,
  otherPassword,
  password,
  refresh,
  register,
  rowOf,
  send,
  tryLogin,
  useTestApp,
} from '../support/app.ts'
import { databaseName, withoutDatabase } from '../support/database.ts'

const t = useTestApp({ SESSIONS_PER_USER: '2', AUDIT_DAYS: '30' })

const eventsOf = ({ userId }: Pick<Client, 'userId'>) =>
  t.db.rows(
    sql`SELECT event, reason, session_id, ip, user_agent FROM audit_events WHERE user_id = ${userId} ORDER BY id`,
  )
const from = { ip: expect.stringMatching(/127\.0\.0\.1$/), user_agent: null }
const event = (name: string, reason: string | null, client: { sessionId: string | null }) => ({
  event: name,
  reason,
  session_id: client.sessionId,
  ...from,
})

describe(`audit_events, on ${databaseName}`, () => {
  test('records the user, session and address of a registration, login and logout', async () => {
    const first = await register(t.app)
    const second = await login(t.app, first.email)
    await logout(t.app, second.refreshToken)

    expect(await eventsOf(first)).toEqual([
      event('registered', null, first),
      event('login', null, second),
      event('session_ended', 'logout', second),
    ])
  })

  test('records the kid and source of a key that begins to sign, and no part of the key [E6]', async () => {
    const rows = await t.db.rows(
      sql`SELECT event, reason, secret, kid, source, user_id FROM audit_events WHERE event LIKE 'key%' ORDER BY id LIMIT 3`,
    )

    const nothing = { reason: null, user_id: null }
    const signing = { event: 'key_signing', kid: expect.stringMatching(/^[\w-]{16}$/), source: 'environment' }
    expect(rows).toEqual([
      { ...nothing, event: 'keys_loaded', secret: null, kid: null, source: null },
      { ...nothing, ...signing, secret: 'JWT_ACCESS_SECRET' },
      { ...nothing, ...signing, secret: 'JWT_REFRESH_SECRET' },
    ])
  })

  test('records up to 256 characters of the User-Agent header', async () => {
    const { userId, email } = await register(t.app)

    await tryLogin(t.app, email).set('User-Agent', 'x'.repeat(1000)).expect(200)

    expect((await eventsOf({ userId })).at(-1)).toMatchObject({ user_agent: 'x'.repeat(256) })
  })

  test('records failed logins: wrong, disabled, and unknown without the e-mail address', async () => {
    const client = await register(t.app)
    const unknown = newEmail()
    const before = await t.db.rows(sql`SELECT id FROM audit_events WHERE user_id IS NULL`)

    await tryLogin(t.app, client.email, otherPassword).expect(401)
    await disable(t, client)
    await tryLogin(t.app, client.email).expect(401)
    await tryLogin(t.app, unknown).expect(401)

    expect((await eventsOf(client)).slice(1)).toEqual([
      event('login_failed', null, { sessionId: null }),
      { ...event('session_ended', 'user_disabled', client), ip: null },
      event('login_failed', null, { sessionId: null }),
    ])
    const after = await t.db.rows(sql`SELECT * FROM audit_events WHERE user_id IS NULL`)
    expect(after).toHaveLength(before.length + 1)
    expect(
      JSON.stringify(after, (_key, value) => (typeof value === 'bigint' ? `${value}` : value)),
    ).not.toContain(unknown)
  })

  test('records the reuse of a refresh token, with the address that presented it [B2]', async () => {
    const client = await register(t.app)
    const second = await refresh(t.app, client.refreshToken)
    await refresh(t.app, second.get('Set-Cookie')?.[0]?.match(/=([^;]+)/)?.[1] ?? '')
    await t.pass(60)

    await refresh(t.app, client.refreshToken).expect(401)

    expect((await eventsOf(client)).at(-1)).toEqual(event('session_ended', 'reuse', client))
  })

  test('records a password change, the sessions that it ends and starts, and a failed change', async () => {
    const client = await register(t.app)
    const other = await login(t.app, client.email)
    const change = (currentPassword: string) =>
      send(t.app, 'POST /auth/password', {
        as: client,
        body: { currentPassword, newPassword: otherPassword },
      })

    await change(otherPassword).expect(403)
    const renewed = clientOf(await change(password).expect(200))

    const [failed, changed, ...ended] = (await eventsOf(client)).slice(2)
    expect([failed, changed, ended.pop()]).toEqual([
      event('password_change_failed', null, client),
      event('password_changed', null, client),
      event('login', null, renewed),
    ])
    expect(ended).toHaveLength(2)
    expect(ended).toEqual(
      expect.arrayContaining([client, other].map((each) => event('session_ended', 'password_changed', each))),
    )
  })

  test('records sessions that end by revocation, logout-all, a login that replaces them, and the cap', async () => {
    const first = await register(t.app)
    const second = await login(t.app, first.email)
    const third = await login(t.app, first.email)
    const fourth = await send(t.app, 'POST /auth/login', {
      token: third.refreshToken,
      body: { email: first.email, password },
    })
    await send(t.app, `DELETE /auth/sessions/${second.sessionId}`, { as: second }).expect(204)
    await send(t.app, 'POST /auth/logout-all', { as: fourth.body }).expect(204)

    const ended = (await eventsOf(first)).filter((row) => row.event === 'session_ended')
    expect(ended.map(({ reason }) => reason)).toEqual(['too_many', 'login', 'revoked', 'logout_all'])
    expect(ended.slice(0, 3).map(({ session_id }) => session_id)).toEqual(
      [first, third, second].map(({ sessionId }) => sessionId),
    )
  })

  test('writes the audit event in the transaction of the change [E6]', async () => {
    const client = await register(t.app)
    await t.db.rows(sql`ALTER TABLE audit_events ADD CONSTRAINT broken CHECK (reason <> 'logout') NOT VALID`)

    const answer = await logout(t.app, client.refreshToken)
    await t.db.rows(sql`ALTER TABLE audit_events DROP CONSTRAINT broken`)

    expect(answer.status).toBe(500)
    expect(await rowOf(t, client)).toMatchObject({ ended_at: null })
    expect((await refresh(t.app, client.refreshToken)).status).toBe(200)
  })

  test('contains no secret and no e-mail address', async () => {
    const client = await register(t.app)
    await tryLogin(t.app, client.email, otherPassword)
    await logout(t.app, client.refreshToken)

    const rows = JSON.stringify(await eventsOf(client))

    for (const text of [client.email, password, otherPassword, client.refreshToken, client.accessToken])
      expect(rows).not.toContain(text)
  })
})

describe('purge', () => {
  test('deletes audit events older than AUDIT_DAYS and sessions past their absolute timeout, and nothing else', async () => {
    const old = await register(t.app)
    await t.pass(29 * 24 * 3600)
    const young = await register(t.app)
    await t.pass(2 * 24 * 3600)

    await t.purge()

    expect(await eventsOf(old)).toEqual([])
    expect(await rowOf(t, old)).toBeUndefined()
    expect(await eventsOf(young)).toHaveLength(1)
    expect(await rowOf(t, young)).toMatchObject({ ended_at: null })
  })

  test.each(['a refresh', 'a replay', 'a logout', 'a request with the access token'])(
    'takes ended sessions at once, and %s by their tokens is answered as before',
    async (name) => {
      const answerTo = async ({ refreshToken, accessToken }: Client, replayed: string) => {
        if (name === 'a refresh') return refresh(t.app, refreshToken)
        if (name === 'a replay') return refresh(t.app, replayed)
        if (name === 'a logout') return logout(t.app, refreshToken)
        return send(t.app, 'GET /users/me', { as: { accessToken } })
      }
      const first = await register(t.app)
      const rotated = clientOf(await refresh(t.app, first.refreshToken).expect(200))
      const live = await login(t.app, first.email)
      await logout(t.app, rotated.refreshToken).expect(204)
      const before = await answerTo(rotated, first.refreshToken)

      await t.purge()

      expect(await rowOf(t, rotated)).toBeUndefined()
      expect(await rowOf(t, live)).toMatchObject({ ended_at: null })
      const after = await answerTo(rotated, first.refreshToken)
      expect([after.status, after.body.code]).toEqual([before.status, before.body.code])
      expect(after.status).toBe(name === 'a logout' ? 204 : 401)
      expect(await eventsOf(first)).toContainEqual(event('session_ended', 'logout', rotated))
    },
  )

  test('deletes all rows, also if there are more than one step deletes', async () => {
    await t.db.rows(
      sql`INSERT INTO attempts SELECT 'old:' || n, 1, now() - interval '1 second' FROM generate_series(1, 2500) n`,
    )

    await t.purge()

    expect(await t.db.rows(sql`SELECT 1 FROM attempts WHERE key LIKE 'old:%'`)).toEqual([])
  })

  test('throws an error for the log if the database is unavailable', async () => {
    await expect(withoutDatabase(t.db, () => t.purge())).rejects.toMatchObject({ code: 'unavailable' })
  })
})
