import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals'
import { sql } from 'drizzle-orm'
import type request from 'supertest'
import { createLogin } from '../../src/auth/login.ts'
import { createPasswords } from '../../src/auth/password.ts'
import { createThrottle } from '../../src/auth/throttle.ts'
import { createAttemptStore } from '../../src/store/attempts.ts'
import { createUserStore } from '../../src/store/users.ts'
import {
  type Client,
  createTestApp,
  deviceCookieName,
  disable,
  enable,
  expectProblem,
  expectUnavailable,
  login,
  newEmail,
  otherPassword,
  password,
  refresh,
  register,
  send,
  type TestApp,
  tryLogin,
  useTestApp,
} from '../support/app.ts'
import { databaseName, withoutDatabase } from '../support/database.ts'
import { notUnderTest, someDevice } from '../support/fakes.ts'

const limit = 10
const t = useTestApp({ LIMIT_LOGIN_ACCOUNT: `${limit}/900`, TRUST_PROXY: '1' })
const addressed = useTestApp(
  { LIMIT_LOGIN_ACCOUNT: `${limit}/900`, LIMIT_LOGIN_ADDRESS: '20/900', TRUST_PROXY: '1' },
  t,
)
const apps: TestApp[] = []
afterEach(async () => {
  // Close the last app first, because it may use the database of an earlier one.
  for (let app = apps.pop(); app; app = apps.pop()) await app.close()
})

/** Creates a server with other limits. */
async function limited(environment: Record<string, string>): Promise<TestApp> {
  const app = await createTestApp({ TRUST_PROXY: '1', ...environment })
  apps.push(app)
  return app
}

const guess = (email: string, { to = t, from = '198.51.100.1', device = '', guessed = otherPassword } = {}) =>
  tryLogin(to.app, email, guessed)
    .set('X-Forwarded-For', from)
    .set(device ? { Cookie: `${deviceCookieName}=${device}` } : {})

const times = <T>(count: number, action: (index: number) => T) =>
  Array.from({ length: count }, (_, i) => action(i))

/** Returns the number of answers of each status. */
function tally(responses: request.Response[]) {
  const statuses: Record<number, number> = {}
  for (const { status } of responses) statuses[status] = (statuses[status] ?? 0) + 1
  return statuses
}

/** Returns the device token that an answer sets. */
const deviceOf = (response: request.Response) =>
  /^device_3000=([^;]+)/m.exec(response.get('Set-Cookie')?.join('\n') ?? '')?.[1] ?? ''

const hex = (number: number) => number.toString(16).padStart(2, '0')

/**
 * An IPv4 address in all forms: plain, mapped, translated, behind NAT64, and as the owner of tunnels (6to4, Teredo).
 */
const inIPv6 = (i: number) =>
  [
    '192.0.2.1',
    '::ffff:192.0.2.1',
    '::ffff:0:c000:201',
    '64:ff9b::c000:201',
    `2002:c000:201:${hex(i)}::1`,
    `2001:0:4136:${hex(i)}:8000:63bf:3fff:fdfe`,
  ][i % 6] as string

const failedLogins = async (userId: string) => {
  const [row] = await t.db.rows<{ count: number }>(
    sql`SELECT count(*)::int AS count FROM audit_events WHERE event = 'login_failed' AND user_id = ${userId}`,
  )
  return row?.count
}

describe(`by account, on ${databaseName} [D3]`, () => {
  test('hashes as many of 200 parallel wrong guesses as the limit, and answers 429 to the rest [D3]', async () => {
    const passwords = createPasswords({ cost: 4, minLength: 15, context: [] })
    const verify = jest.fn(passwords.verify)
    const tryOnce = createLogin({
      ...notUnderTest,
      users: createUserStore(t.db),
      sessions: { start: jest.fn() } as never,
      throttle: createThrottle({
        attempts: createAttemptStore(t.db),
        limits: {
          loginAccount: { attempts: limit, seconds: 900 },
          loginAddress: undefined,
          registerAddress: undefined,
          mailAddress: undefined,
          mailRecipient: undefined,
        },
        addressDigest: (email) => email,
      }),
      passwords: { ...passwords, verify },
      prepareDeviceGrant: () => () => ({}) as never,
      newSessionFor: async () => ({}) as never,
    })
    const { email } = await register(t.app)

    const outcomes = await Promise.allSettled(times(200, () => tryOnce(email, otherPassword, someDevice)))
    await passwords.close()

    expect(verify).toHaveBeenCalledTimes(limit)
    const codes = outcomes.map((outcome) => outcome.status === 'rejected' && outcome.reason.code)
    expect(codes.filter((code) => code === 'invalid_credentials')).toHaveLength(limit)
    expect(codes.filter((code) => code === 'too_many_attempts')).toHaveLength(200 - limit)
  })

  test('two instances share the limit, and a restart does not empty it [D6]', async () => {
    const other = await createTestApp({ LIMIT_LOGIN_ACCOUNT: `${limit}/900`, TRUST_PROXY: '1' }, t.db)
    const { email, userId } = await register(t.app)

    const answers = await Promise.all(times(40, (i) => guess(email, { to: i % 2 ? t : other })))

    expect(tally(answers)).toEqual({ 401: limit, 429: 30 })
    expect(await failedLogins(userId)).toBe(limit)
  })

  test('answers 429 also to the right password above the limit, until Retry-After has passed', async () => {
    const { email } = await register(t.app)
    await Promise.all(times(limit, () => guess(email)))
    await t.pass(100)

    const refused = await guess(email, { guessed: password })

    expectProblem(refused, 429, 'too_many_attempts')
    expect(Number(refused.get('Retry-After'))).toBeGreaterThan(790)
    expect(Number(refused.get('Retry-After'))).toBeLessThanOrEqual(800)
    expect(refused.get('Set-Cookie')).toBeUndefined()
    await t.pass(801)
    expect((await guess(email, { guessed: password })).status).toBe(200)
  })

  test('a right password takes its own attempt back, and no other', async () => {
    const { email } = await register(t.app)
    await Promise.all(times(limit - 1, () => guess(email)))

    for (let times = 0; times < 5; times++)
      expect((await guess(email, { guessed: password })).status).toBe(200)

    expect((await guess(email)).status).toBe(401)
    expect((await guess(email, { guessed: password })).status).toBe(429)
  })

  test('an attempt that was not a wrong guess leaves no row [D6]', async () => {
    const rows = () => t.db.rows(sql`SELECT key FROM attempts`)
    const before = await rows()

    await Promise.all(times(5, async () => guess((await register(t.app)).email, { guessed: password })))

    expect(await rows()).toEqual(before)
  })

  test('a wrong guess that cannot be audited stays counted', async () => {
    const { email } = await register(t.app)
    await t.db.rows(sql`ALTER TABLE audit_events RENAME TO gone`)
    const unaudited = await Promise.all(times(limit, () => guess(email)))
    await t.db.rows(sql`ALTER TABLE gone RENAME TO audit_events`)

    expect(tally(unaudited)).toEqual({ 500: limit })
    expect((await guess(email, { guessed: password })).status).toBe(429)
  })

  test('parallel logins with the right password leave no row, also those above the limit', async () => {
    const { email } = await register(t.app)

    const answers = await Promise.all(times(3 * limit, () => guess(email, { guessed: password })))

    expect(Object.keys(tally(answers)).every((status) => ['200', '429'].includes(status))).toBe(true)
    expect(tally(await Promise.all(times(limit, () => guess(email))))).toEqual({ 401: limit })
  })

  test('throttles unknown addresses in the same way, in any spelling [D3]', async () => {
    const email = newEmail()

    const answers = await Promise.all(
      times(limit + 5, (i) => guess(i % 2 ? email : ` ${email.toUpperCase()} `)),
    )

    expect(tally(answers)).toEqual({ 401: limit, 429: 5 })
  })

  test('429 has the same body and headers for known, unknown and disabled accounts [D6]', async () => {
    const known = await register(t.app)
    const disabled = await register(t.app)
    await t.db.rows(sql`UPDATE users SET disabled_at = now() WHERE id = ${disabled.userId}`)

    const answers: unknown[] = []
    for (const email of [known.email, disabled.email, newEmail()]) {
      await Promise.all(times(limit, () => guess(email)))
      const { body, headers } = await guess(email)
      const { requestId, ...problem } = body
      const { 'x-request-id': _id, date, 'retry-after': retryAfter, ...rest } = headers
      answers.push({ problem, rest, retry: Number(retryAfter) > 890 })
    }

    expect(answers[1]).toEqual(answers[0])
    expect(answers[2]).toEqual(answers[0])
    expect(answers[0]).toMatchObject({ problem: { status: 429 }, retry: true })
  })

  const newPassphrase = 'a brand new passphrase'
  const change = (as: Client, currentPassword: string, headers = {}) =>
    send(t.app, 'POST /auth/password', { as, body: { currentPassword, newPassword: newPassphrase }, headers })

  test('a wrong currentPassword counts as a failed login', async () => {
    const client = await register(t.app)
    await Promise.all(times(limit - 1, () => guess(client.email)))

    expectProblem(await change(client, otherPassword), 403, 'wrong_password')

    expectProblem(await guess(client.email, { guessed: password }), 429, 'too_many_attempts')
  })

  test('a wrong currentPassword on a known device counts as a failed login of the device', async () => {
    const client = await register(t.app)
    const known = deviceOf(await guess(client.email, { guessed: password }))
    await Promise.all(times(limit - 1, () => guess(client.email, { device: known })))

    const Cookie = `${deviceCookieName}=${known}`
    expectProblem(await change(client, otherPassword, { Cookie }), 403, 'wrong_password')

    expectProblem(await guess(client.email, { guessed: password, device: known }), 429, 'too_many_attempts')
    expect((await guess(client.email, { guessed: password })).status).toBe(200)
  })

  test.each([
    ['of strangers', {}],
    ['from the same address', { 'X-Forwarded-For': '198.51.100.1' }],
  ])(
    'a session changes the password after more wrong guesses %s than there may be [D4]',
    async (_by, headers) => {
      const client = await register(addressed.app)
      await Promise.all(times(limit + 5, () => guess(client.email, { to: addressed })))
      const rest = times(15, () => guess(newEmail(), { to: addressed }))
      await Promise.all(rest)
      expectProblem(await guess(client.email, { to: addressed, guessed: password }), 429, 'too_many_attempts')

      const changed = await send(addressed.app, 'POST /auth/password', {
        as: client,
        body: { currentPassword: password, newPassword: newPassphrase },
        headers,
      })

      expect(changed.status).toBe(200)
    },
  )

  test('a session has a budget of its own for wrong guesses, and other sessions keep theirs [D4]', async () => {
    const client = await register(t.app)
    const other = await login(t.app, client.email)

    const answers = await Promise.all(times(limit + 5, () => change(client, otherPassword)))

    expect(tally(answers)).toEqual({ 403: limit, 429: 5 })
    expectProblem(await change(client, password), 429, 'too_many_attempts')
    await send(t.app, 'POST /auth/logout', { token: client.refreshToken })
    expectProblem(await change(client, password), 429, 'too_many_attempts')
    expect((await change(other, password)).status).toBe(200)
  })

  test('a password change of a session that has ended answers 401 and counts nothing', async () => {
    const client = await register(t.app)
    await send(t.app, 'POST /auth/logout', { token: client.refreshToken })

    // Attempts count while they are in progress, so more than the limit at once may be 429.
    for (let round = 0; round < 2; round++)
      expect(tally(await Promise.all(times(limit, () => change(client, otherPassword))))).toEqual({
        401: limit,
      })
    expect((await guess(client.email, { guessed: password })).status).toBe(200)
  })

  test('a rejected new password and a change that succeeds count nothing', async () => {
    const client = await register(t.app)
    const change = (currentPassword: string, newPassword: string) =>
      send(t.app, 'POST /auth/password', { as: client, body: { currentPassword, newPassword } })

    for (let i = 0; i < limit + 1; i++)
      expectProblem(await change(password, 'short'), 400, 'password_rejected')
    expect((await change(password, otherPassword)).status).toBe(200)
    const answers = await Promise.all(times(limit, () => guess(client.email, { guessed: password })))

    expect(tally(answers)).toEqual({ 401: limit })
  })

  test('answers 503 to everybody if the counters are unavailable [D6]', async () => {
    const { email } = await register(t.app)

    const answer = await withoutDatabase(t.db, () => guess(email, { guessed: password }))

    expectUnavailable(answer)
  })
})

describe('a known device [D4]', () => {
  let owner: Client
  let device: string
  beforeAll(async () => {
    owner = await register(t.app)
    device = deviceOf(await guess(owner.email, { guessed: password }))
    await Promise.all(times(50, (i) => guess(owner.email, { from: `203.0.113.${i}` })))
  })

  test('logs in while 50 addresses attack, even from one of theirs, and other devices do not [D4]', async () => {
    expect((await guess(owner.email, { guessed: password })).status).toBe(429)
    expect((await guess(owner.email, { guessed: password, device })).status).toBe(200)
    expect((await guess(owner.email, { guessed: password, device, from: '203.0.113.7' })).status).toBe(200)
  })

  test('changes the password in the meantime', async () => {
    const client = await register(t.app)
    const known = deviceOf(await guess(client.email, { guessed: password }))
    await Promise.all(times(limit, () => guess(client.email)))

    const changed = await send(t.app, 'POST /auth/password', {
      as: client,
      body: { currentPassword: password, newPassword: otherPassword },
      headers: { Cookie: `${deviceCookieName}=${known}` },
    })

    expect(changed.status).toBe(200)
  })

  const newPassword = 'my fish is called bob'
  const change = (as: Client, cookies = '') =>
    send(t.app, 'POST /auth/password', {
      as,
      body: { currentPassword: password, newPassword },
      headers: { Cookie: cookies },
    })

  test.each<[ending: string, end: (client: Client) => Promise<string>]>([
    ['a password change', (as) => change(as).then(() => newPassword)],
    ['a logout everywhere', (as) => send(t.app, 'POST /auth/logout-all', { as }).then(() => password)],
    [
      'disabling and enabling the account',
      async (as) => {
        await disable(t, as)
        await enable(t, as)
        return password
      },
    ],
  ])('is unknown after %s: its guesses count as those of a stranger [D4]', async (_ending, end) => {
    const client = await register(t.app)
    const collected = deviceOf(await guess(client.email, { guessed: password }))
    const guessed = await end(client)
    const own = deviceOf(await guess(client.email, { guessed }))

    const answers = await Promise.all(times(limit + 1, () => guess(client.email, { device: collected })))

    expect(tally(answers)).toEqual({ 401: limit, 429: 1 })
    expect((await guess(client.email, { guessed })).status).toBe(429)
    expect((await guess(client.email, { guessed, device: own })).status).toBe(200)
  })

  test('gets a new token with the password change it asks for, and keeps its budget [D4]', async () => {
    const client = await register(t.app)
    const known = deviceOf(await guess(client.email, { guessed: password }))
    await Promise.all(times(limit - 1, () => guess(client.email, { device: known })))

    const changed = await change(client, `${deviceCookieName}=${known}`)
    const renewed = deviceOf(changed)

    expect(changed.status).toBe(200)
    expect((await guess(client.email, { device: renewed })).status).toBe(401)
    expect((await guess(client.email, { device: renewed })).status).toBe(429)
    expect((await guess(client.email, { guessed: newPassword })).status).toBe(200)
  })

  test('has a budget of its own that can be used up [D4]', async () => {
    const { email } = await register(t.app)
    const known = deviceOf(await guess(email, { guessed: password }))

    const answers = await Promise.all(times(limit + 5, () => guess(email, { device: known })))

    expect(tally(answers)).toEqual({ 401: limit, 429: 5 })
    expect((await guess(email, { guessed: password })).status).toBe(200)
  })

  test.each<[string, (own: string) => Promise<string>]>([
    [
      'of another account',
      async () => deviceOf(await guess((await register(t.app)).email, { guessed: password })),
    ],
    ['that is forged', async (own) => `${own.slice(0, -4)}AAAA`],
    ['that is an access token', async () => (await register(t.app)).accessToken],
    ['that is a refresh token', async () => (await register(t.app)).refreshToken],
    ['that is doubled', async (own) => `${own}; ${deviceCookieName}=${own}`],
    [
      'of a key that nobody has',
      async () =>
        `${Buffer.from('{"alg":"HS256","typ":"device+jwt","kid":"x"}').toString('base64url')}.e30.AAAA`,
    ],
  ])('is not known by a cookie %s', async (_what, forged) => {
    const { email } = await register(t.app)
    const known = deviceOf(await guess(email, { guessed: password }))
    const presented = await forged(known)
    await Promise.all(times(limit, () => guess(email)))

    expectProblem(await guess(email, { guessed: password, device: presented }), 429, 'too_many_attempts')
    expect((await guess(email, { guessed: password, device: known })).status).toBe(200)
  })

  test('is forgotten after a year', async () => {
    const app = await limited({ LIMIT_LOGIN_ACCOUNT: `${limit}/900` })
    const { email } = await register(app.app)
    const known = deviceOf(await guess(email, { to: app, guessed: password }))
    await app.pass(366 * 24 * 3600)
    await Promise.all(times(limit, () => guess(email, { to: app })))

    expect((await guess(email, { to: app, guessed: password, device: known })).status).toBe(429)
  })

  test('its cookie: HttpOnly, SameSite=Strict, one year, after login and registration only, and logout leaves it', async () => {
    const registered = await send(t.app, 'POST /auth/register', { body: { email: newEmail(), password } })
    const loggedIn = await guess(owner.email, { guessed: password, device })
    const attributes = (response: request.Response) =>
      response
        .get('Set-Cookie')
        ?.find((line) => line.startsWith(`${deviceCookieName}=`))
        ?.split('; ')
        .slice(1)
        .sort()

    for (const response of [registered, loggedIn])
      expect(attributes(response)?.filter((attribute) => !attribute.startsWith('Expires='))).toEqual([
        'HttpOnly',
        'Max-Age=31536000',
        'Path=/',
        'SameSite=Strict',
      ])
    const { refreshToken } = await register(t.app)
    const refreshed = await refresh(t.app, refreshToken)
    expect(deviceOf(refreshed)).toBe('')
    const loggedOut = await send(t.app, 'POST /auth/logout', { token: refreshToken })
    expect(loggedOut.get('Set-Cookie')?.join()).not.toContain('device')
  })

  test('its token is not accepted anywhere else [A5]', async () => {
    const as = { accessToken: device }

    expectProblem(await send(t.app, 'GET /users/me', { as }), 401, 'access_token_invalid')
    expectProblem(await refresh(t.app, device), 401, 'refresh_token_invalid')
  })
})

describe('by address', () => {
  const t = useTestApp({ LIMIT_LOGIN_ADDRESS: '5/900', TRUST_PROXY: '1' }, addressed)
  const tight = useTestApp({ LIMIT_LOGIN_ADDRESS: '1/900', TRUST_PROXY: '1' }, addressed)

  // Send a few at a time. A full hash queue would refuse the others, and refused ones are taken back.
  async function spray(to: TestApp, from: (i: number) => string, count: number) {
    const answers: request.Response[] = []
    while (answers.length < count) {
      const done = answers.length
      answers.push(...(await Promise.all(times(5, (i) => guess(newEmail(), { to, from: from(done + i) })))))
    }
    return tally(answers)
  }

  test('one password that is tried on many accounts reaches the limit; other addresses are not affected [D3]', async () => {
    expect(await spray(t, () => '198.51.100.9', 50)).toEqual({ 401: 5, 429: 45 })
    expect((await guess(newEmail(), { to: t, from: '198.51.100.10' })).status).toBe(401)
  })

  test.each<[string, (i: number) => string, number]>([
    ['one IPv4 address, however IPv6 writes it, has one budget', (i) => inIPv6(i), 1],
    ['an IPv4 address has one budget, whatever port is behind it', (i) => `192.0.2.77:${1000 + i}`, 1],
    ['an IPv6 address has one budget, whatever port is behind it', (i) => `[2001:db8:7::1]:${1000 + i}`, 1],
    ['addresses of one /64 share its budget', (i) => `2001:db8:1:2::${i.toString(16)}`, 1],
    ['a /56 has the budget of four /64s', (i) => `2001:db8:2:${i.toString(16)}::1`, 4],
    ['a /48 has the budget of four /56s', (i) => `2001:db8:3:${(i * 256).toString(16)}::1`, 16],
    ['the next /48 has a budget of its own', (i) => `2001:db8:${(i + 256).toString(16)}::1`, 20],
    ['the next IPv4 address has a budget of its own', (i) => `203.0.113.${i}`, 20],
    ['clients behind NAT64 have budgets by their IPv4 addresses', (i) => `64:ff9b::c612:${hex(i)}`, 20],
    ["clients behind an operator's own NAT64 have budgets each", (i) => `64:ff9b:1::c633:64${hex(i)}`, 20],
  ])('counts by network: %s [D5]', async (_what, from, expected) => {
    const answers = await spray(tight, from, 20)

    expect(answers).toEqual(expected === 20 ? { 401: 20 } : { 401: expected, 429: 20 - expected })
  })

  test.each([
    ['unknown', 'unknown'],
    ['no address', 'not-an-address'],
    ['an obfuscated name', '_hidden'],
    ['an address with text behind it', '192.0.2.1; DROP TABLE'],
    ['an address that a range follows', '192.0.2.1/32'],
    ['a number, which is an address to some parsers', '3221225985'],
    ['8,000 characters', 'x'.repeat(8000)],
    ['an address with a zone of 8,000 characters', `fe80::1%${'x'.repeat(8000)}`],
  ])('counts the address of the proxy if X-Forwarded-For is %s [D5]', async (_what, header) => {
    await tight.db.rows(sql`DELETE FROM attempts`)

    expect(await spray(tight, () => header, 5)).toEqual({ 401: 1, 429: 4 })

    const [event] = await tight.db.rows(sql`SELECT ip FROM audit_events ORDER BY id DESC LIMIT 1`)
    expect(event).toEqual({ ip: '127.0.0.1' })
    const of = sql`SELECT DISTINCT substring(key FROM 'address:(.*)') AS of FROM attempts WHERE key LIKE '%address:%'`
    expect(await tight.db.rows(of)).toEqual([{ of: '127.0.0.1' }])
  })

  test('counts the nearest proxy that wrote an address if the farthest wrote none [D5]', async () => {
    const t = await limited({ LIMIT_LOGIN_ADDRESS: '5/900', TRUST_PROXY: '2' })

    expect(await spray(t, (i) => `unknown, 192.0.2.${i % 2}`, 15)).toEqual({ 401: 10, 429: 5 })
  })

  test.each([
    ['192.0.2.1', '192.0.2.1'],
    ['192.0.2.1:4711', '192.0.2.1'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['::ffff:c000:201', '192.0.2.1'],
    ['::ffff:0:c000:201', '192.0.2.1'],
    ['64:ff9b::c000:201', '192.0.2.1'],
    ['[2001:DB8:0:0::1]:4711', '2001:db8::1'],
    ['fe80::1%eth0', 'fe80::1'],
  ])('stores the address %s in its plain form [D5]', async (header, plain) => {
    await send(t.app, 'POST /auth/register', {
      body: { email: newEmail(), password },
      headers: { 'X-Forwarded-For': header },
    }).expect(201)

    const [session] = await t.db.rows(sql`SELECT ip FROM sessions ORDER BY created_at DESC LIMIT 1`)
    const [event] = await t.db.rows(sql`SELECT ip FROM audit_events ORDER BY id DESC LIMIT 1`)
    expect([session, event]).toEqual([{ ip: plain }, { ip: plain }])
  })

  test('ignores the part of X-Forwarded-For that the client wrote before one proxy [D5]', async () => {
    expect(await spray(t, (i) => `192.0.2.${i}, 198.51.100.20`, 25)).toEqual({ 401: 5, 429: 20 })
  })

  test('ignores X-Forwarded-For without TRUST_PROXY [D5]', async () => {
    const app = await limited({ LIMIT_LOGIN_ADDRESS: '5/900', TRUST_PROXY: '' })

    expect(await spray(app, (i) => `192.0.2.${i}`, 25)).toEqual({ 401: 5, 429: 20 })
  })

  test('allows ten times as many logins of an address in total, also right ones and those of known devices [D3]', async () => {
    const app = await limited({ LIMIT_LOGIN_ADDRESS: '2/900' })
    const { email } = await register(app.app)
    const device = deviceOf(await guess(email, { to: app, guessed: password, from: '203.0.113.5' }))
    const right = (i: number) => guess(email, { to: app, guessed: password, device: i % 2 ? device : '' })

    const answers: request.Response[] = []
    while (answers.length < 24) answers.push(await right(answers.length))

    expect(tally(answers)).toEqual({ 200: 20, 429: 4 })
    expect((await guess(email, { to: app, guessed: password, from: '203.0.113.5' })).status).toBe(200)
    await app.pass(901)
    expect((await right(0)).status).toBe(200)
  })

  test('wrong guesses over the limit leave the budget of all logins to known devices of the address [D4]', async () => {
    const app = await limited({ LIMIT_LOGIN_ACCOUNT: '2/900', LIMIT_LOGIN_ADDRESS: '2/900' })
    const { email } = await register(app.app)
    const device = deviceOf(await guess(email, { to: app, guessed: password }))

    expect(await spray(app, () => '198.51.100.1', 40)).toEqual({ 401: 2, 429: 38 })

    expect((await guess(email, { to: app, guessed: password, device })).status).toBe(200)
  })

  test('known devices have the budget of their address if accounts have none [D4]', async () => {
    const app = await limited({ LIMIT_LOGIN_ACCOUNT: 'off', LIMIT_LOGIN_ADDRESS: '3/900' })
    const { email } = await register(app.app)
    const device = deviceOf(await guess(email, { to: app, guessed: password }))

    const answers: request.Response[] = []
    while (answers.length < 10) answers.push(await guess(email, { to: app, device }))

    expect(tally(answers)).toEqual({ 401: 3, 429: 7 })
  })

  test('a change of the password has that budget as well if accounts have none [D4]', async () => {
    const app = await limited({ LIMIT_LOGIN_ACCOUNT: 'off', LIMIT_LOGIN_ADDRESS: '3/900' })
    const client = await register(app.app)
    const known = deviceOf(await guess(client.email, { to: app, guessed: password }))
    const body = { currentPassword: otherPassword, newPassword: 'a brand new passphrase' }
    const headers = { Cookie: `${deviceCookieName}=${known}`, 'X-Forwarded-For': '198.51.100.1' }

    const answers: request.Response[] = []
    while (answers.length < 6)
      answers.push(await send(app.app, 'POST /auth/password', { as: client, body, headers }))

    expect(tally(answers)).toEqual({ 403: 3, 429: 3 })
  })

  test('an account over its limit costs the address nothing', async () => {
    const app = await limited({ LIMIT_LOGIN_ACCOUNT: '2/900', LIMIT_LOGIN_ADDRESS: '5/900' })
    const email = newEmail()

    expect(tally(await Promise.all(times(20, () => guess(email, { to: app }))))).toEqual({ 401: 2, 429: 18 })
    expect(await spray(app, () => '198.51.100.1', 25)).toEqual({ 401: 3, 429: 22 })
  })

  test('an address over its limit costs the account nothing', async () => {
    const app = await limited({ LIMIT_LOGIN_ACCOUNT: '3/900', LIMIT_LOGIN_ADDRESS: '1/900' })
    const { email } = await register(app.app)

    await Promise.all(times(20, () => guess(email, { to: app })))

    expect((await guess(email, { to: app, from: '203.0.113.5', guessed: password })).status).toBe(200)
  })

  test('counts all registrations, before the hashing', async () => {
    const app = await limited({ LIMIT_REGISTER_ADDRESS: '4/3600' })
    const taken = await register(app.app, 'ada@example.com')
    const tryRegister = (email: string, text = password) =>
      send(app.app, 'POST /auth/register', { body: { email, password: text } })

    expectProblem(await tryRegister(taken.email), 409, 'email_taken')
    expectProblem(await tryRegister(newEmail(), 'short'), 400, 'password_rejected')
    expect((await tryRegister(newEmail())).status).toBe(201)
    const refused = await tryRegister(newEmail())

    expectProblem(refused, 429, 'too_many_attempts')
    expect(Number(refused.get('Retry-After'))).toBeGreaterThan(3500)
    await app.pass(3601)
    expect((await tryRegister(newEmail())).status).toBe(201)
  })
})

describe(`the audit of a throttled attack, on ${databaseName}`, () => {
  const throttled = ({ db }: TestApp) =>
    db.rows(sql`SELECT reason, user_id, ip FROM audit_events WHERE event = 'throttled' ORDER BY id`)

  test('has one event for each budget and window, from two instances at once [D6]', async () => {
    const environment = { LIMIT_LOGIN_ACCOUNT: '3/900', TRUST_PROXY: '1' }
    const app = await limited(environment)
    const other = await createTestApp(environment, app.db)
    apps.push(other)
    const { email, userId } = await register(app.app)
    const event = { reason: 'login-account', user_id: userId, ip: '198.51.100.1' }

    const attack = () => Promise.all(times(60, (i) => guess(email, { to: i % 2 ? app : other })))
    expect(tally(await attack())).toEqual({ 401: 3, 429: 57 })
    expect(await throttled(app)).toEqual([event])

    await app.pass(901)
    expect(tally(await attack())).toEqual({ 401: 3, 429: 57 })
    expect(await throttled(app)).toEqual([event, event])
  })

  test('names the network, the device or the account, and nothing of an unknown account [D6]', async () => {
    const app = await limited({
      LIMIT_LOGIN_ACCOUNT: '2/900',
      LIMIT_LOGIN_ADDRESS: '3/900',
      LIMIT_REGISTER_ADDRESS: '2/900',
    })
    const { email, userId } = await register(app.app)
    const device = deviceOf(await guess(email, { to: app, guessed: password, from: '203.0.113.1' }))
    const unknown = newEmail()
    for (let i = 0; i < 3; i++) {
      await guess(email, { to: app, from: '203.0.113.2', device })
      await guess(unknown, { to: app, from: '203.0.113.3' })
      await send(app.app, 'POST /auth/register', { body: { email: newEmail(), password } })
    }
    for (let i = 0; i < 20; i++) await guess(newEmail(), { to: app, from: `2001:db8::${i}` })

    expect(await throttled(app)).toEqual([
      { reason: 'register-address 127.0.0.1', user_id: null, ip: '127.0.0.1' },
      { reason: 'login-device', user_id: userId, ip: '203.0.113.2' },
      { reason: 'login-account', user_id: null, ip: '203.0.113.3' },
      { reason: 'login-address 2001:db8::/64', user_id: null, ip: '2001:db8::3' },
    ])
    expect(JSON.stringify(await app.db.rows(sql`SELECT * FROM audit_events`))).not.toContain(unknown)
  })

  test('refuses, and counts nothing twice, if the event cannot be written [D6]', async () => {
    const app = await limited({ LIMIT_LOGIN_ACCOUNT: '1/900' })
    const { email } = await register(app.app)
    await guess(email, { to: app })
    await app.db.rows(sql`ALTER TABLE audit_events RENAME TO gone`)
    const unaudited = await guess(email, { to: app, guessed: password })
    await app.db.rows(sql`ALTER TABLE gone RENAME TO audit_events`)

    expect(unaudited.status).toBe(500)
    expect((await guess(email, { to: app, guessed: password })).status).toBe(429)
    expect(await throttled(app)).toHaveLength(1)
  })
})

test('purges windows that are over, and keeps the others [D6]', async () => {
  const app = await limited({ LIMIT_LOGIN_ACCOUNT: '3/900' })
  await guess(newEmail(), { to: app })
  await app.pass(800)
  await guess(newEmail(), { to: app })
  await app.pass(101)

  await app.purge()

  expect(await app.db.rows(sql`SELECT count FROM attempts`)).toEqual([{ count: 1 }])
})

test('charges a client that resets the connection to its address [D5]', async () => {
  const app = await limited({ LIMIT_REGISTER_ADDRESS: '4/3600', TRUST_PROXY: '' })
  const server = createServer(app.app).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  // The request has begun, and its body is not read yet.
  server.prependOnceListener('request', () => process.nextTick(() => socket.resetAndDestroy()))
  const body = JSON.stringify({ email: newEmail(), password })

  socket.write('POST /auth/register HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n')
  socket.write(`Content-Length: ${body.length}\r\n\r\n${body}`)
  await once(socket, 'close')
  const counted = () => app.db.rows(sql`SELECT key FROM attempts`)
  for (let tries = 0; (await counted()).length === 0 && tries < 200; tries++) await delay(20)
  server.close()

  expect(await counted()).toEqual([{ key: 'register-address:127.0.0.1' }])
})
