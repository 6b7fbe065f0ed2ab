import { describe, expect, test } from '@jest/globals'
import { sql } from 'drizzle-orm'
import type request from 'supertest'
import {
  type Client,
  clientOf,
  countOf,
  createTestApp,
  disable,
  expectProblem,
  login,
  logout,
  newEmail,
  otherPassword,
  type Presented,
  password,
  refresh,
  refreshCookieOf,
  register,
  rowOf,
  send,
  type TestApp,
  tryLogin,
  useTestApp,
  withoutNoise,
} from '../../../test/support/app.ts'
import { databaseName } from '../../../test/support/database.ts'
import { endingsOfLinks, mailedToken, mailsTo, newLink } from '../../../test/support/links.ts'

const t = useTestApp()
const strict = useTestApp({ REGISTRATION: 'verified' })
const limited = useTestApp({
  LIMIT_LOGIN_ACCOUNT: '3/900',
  LIMIT_LOGIN_ADDRESS: '1000/900',
  LIMIT_MAIL_RECIPIENT: '3/3600',
  REGISTRATION: 'verified',
})

const tryRegister = (email: string, on: TestApp, withPassword = password) =>
  send(on.app, 'POST /auth/register', { body: { email, password: withPassword } })
const confirm = (token: unknown, on: TestApp, withPassword: unknown = password, presented: Presented = {}) =>
  send(on.app, 'POST /auth/register/confirm', { body: { token, password: withPassword }, ...presented })
const verify = (body: object, presented: Presented = {}, on = t) =>
  send(on.app, 'POST /auth/email/verify', { body, ...presented })
const resend = (as: Client, on = t) => send(on.app, 'POST /auth/email/verification', { as })
const me = (as: Client, on = t) => send(on.app, 'GET /users/me', { as })

const isVerified = async ({ userId }: Client, on = t) => {
  const [row] = await on.db.rows(sql`SELECT email_verified_at FROM users WHERE id = ${userId}`)
  return Boolean(row?.email_verified_at)
}
const usersOf = (email: string, on: TestApp) => on.db.rows(sql`SELECT * FROM users WHERE email = ${email}`)

/** Registers where addresses are confirmed first, and returns the token in the mail. */
async function ask(email: string, on = strict, withPassword = password): Promise<string> {
  await tryRegister(email, on, withPassword).expect(202)
  return mailedToken(on, email, 'register')
}

/** An account on a server that confirms addresses first. */
async function confirmed(on = strict, email = newEmail()): Promise<Client> {
  return clientOf(await confirm(await ask(email, on), on).expect(201))
}

describe(`POST /auth/register with REGISTRATION=open on ${databaseName}`, () => {
  test('logs in at once, and queues a mail that verifies the address in the same transaction [account Routes]', async () => {
    const client = await register(t.app)

    expect(await mailsTo(t, client.email)).toMatchObject([
      {
        template: 'verify-address',
        userId: client.userId,
        link: { purpose: 'verify', userId: client.userId, email: client.email },
      },
    ])
    expect((await me(client)).body.emailVerified).toBe(false)
  })

  test('makes no link and no mail for an address that is taken', async () => {
    const client = await register(t.app)
    const before = await countOf(t, 'outbox')

    expectProblem(await tryRegister(client.email, t), 409, 'email_taken')
    expect(await countOf(t, 'outbox')).toBe(before)
  })

  test('registers without a mail beyond LIMIT_MAIL_RECIPIENT', async () => {
    const own = await createTestApp({ LIMIT_MAIL_RECIPIENT: '1/3600' })
    const client = await register(own.app)
    await own.db.rows(sql`DELETE FROM users`)

    const again = await register(own.app, client.email)
    const mails = await mailsTo(own, client.email)
    await own.close()

    expect(again.userId).not.toBe(client.userId)
    expect(mails.filter(({ userId }) => userId === again.userId)).toEqual([])
  })

  test('counts against LIMIT_MAIL_ADDRESS after the checks of the body, of which the password is one [account Settings]', async () => {
    const own = await createTestApp({ LIMIT_MAIL_ADDRESS: '2/3600' })
    const { email } = await register(own.app)
    for (let i = 0; i < 3; i++)
      expectProblem(await tryRegister(newEmail(), own, 'short'), 400, 'password_rejected')
    expectProblem(await tryRegister(email, own), 409, 'email_taken')

    const refused = await tryRegister(newEmail(), own)
    await own.close()

    expectProblem(refused, 429, 'too_many_attempts')
  })

  test.each([{ emailVerified: true }, { role: 'admin' }])(
    'refuses the unknown member %j [account 5]',
    async (more) => {
      const email = newEmail()

      const response = await send(t.app, 'POST /auth/register', { body: { email, password, ...more } })

      expectProblem(response, 400, 'invalid_request')
      expect(await usersOf(email, t)).toEqual([])
    },
  )
})

describe(`POST /auth/register with REGISTRATION=verified on ${databaseName}`, () => {
  test('creates no account and no session, and mails a link [account 2]', async () => {
    const email = newEmail()

    const response = await tryRegister(email, strict)

    expect(response.status).toBe(202)
    expect(response.body).toEqual({})
    expect(response.get('Set-Cookie')).toBeUndefined()
    expect(await usersOf(email, strict)).toEqual([])
    expectProblem(await tryLogin(strict.app, email), 401, 'invalid_credentials')
    expect(await mailsTo(strict, email)).toMatchObject([
      { template: 'confirm-registration', userId: null, link: { purpose: 'register', userId: null, email } },
    ])
  })

  test('gives new, unverified, verified and disabled addresses the same answer, and writes as many rows [account 1]', async () => {
    const [verified, unverified, disabled] = [await confirmed(), await confirmed(), await confirmed()]
    await strict.db.rows(sql`UPDATE users SET email_verified_at = NULL WHERE id = ${unverified.userId}`)
    await disable(strict, disabled)
    const tables = ['links', 'outbox', 'audit_events', 'attempts', 'users', 'sessions']
    const counts = () => Promise.all(tables.map((table) => countOf(strict, table)))

    const answers = []
    for (const email of [newEmail(), unverified.email, verified.email, disabled.email]) {
      const before = await counts()
      const answer = withoutNoise(await tryRegister(email, strict))
      const after = await counts()
      answers.push({ answer, written: after.map((count, i) => count - (before[i] ?? 0)) })
    }

    expect(answers[0]).toMatchObject({ answer: { status: 202 }, written: [1, 1, 1, 0, 0, 0] })
    for (const other of answers) expect(other).toEqual(answers[0])
    for (const owner of [verified, unverified])
      expect((await mailsTo(strict, owner.email)).at(-1)).toMatchObject({
        template: 'already-registered',
        userId: owner.userId,
        link: { email: '', passwordHash: null },
      })
    expect((await mailsTo(strict, disabled.email)).at(-1)?.template).toBe('confirm-registration')
    expect((await mailsTo(strict, null)).at(-1)).toMatchObject({ template: 'confirm-registration' })
  })

  test('answers for a reserved address as for a taken one, and sends no mail [account 11]', async () => {
    const email = newEmail()
    await newLink(strict, 'undo', { userId: (await confirmed()).userId, email })

    const response = await tryRegister(email, strict)

    expect({ status: response.status, body: response.body }).toEqual({ status: 202, body: {} })
    expect(await mailsTo(strict, email)).toEqual([])
  })

  test('touches no session, also if a cookie is presented [account Routes]', async () => {
    const client = await confirmed()

    await tryRegister(newEmail(), strict)
      .set('Cookie', `refresh_token_3000=${client.refreshToken}`)
      .expect(202)

    await refresh(strict.app, client.refreshToken).expect(200)
  })

  test('judges the password before anything else of the account, and writes nothing for a weak one', async () => {
    const { email } = await confirmed()
    const before = await countOf(strict, 'outbox')

    expectProblem(await tryRegister(email, strict, 'short'), 400, 'password_rejected')
    expectProblem(await tryRegister(newEmail(), strict, 'short'), 400, 'password_rejected')
    expect(await countOf(strict, 'outbox')).toBe(before)
  })

  test('sends no mail beyond LIMIT_MAIL_RECIPIENT, neither a link nor that the address is taken, and the answer does not tell [account 1]', async () => {
    const owner = await confirmed(limited)
    const stranger = newEmail()
    for (const email of [owner.email, stranger]) {
      const answers = []
      for (let i = 0; i < 4; i++) answers.push(withoutNoise(await tryRegister(email, limited)))
      for (const answer of answers) expect(answer).toEqual(answers[0])
    }

    expect(await mailsTo(limited, owner.email)).toHaveLength(3)
    expect(await mailsTo(limited, stranger)).toHaveLength(3)
  })

  test('counts against LIMIT_REGISTER_ADDRESS [account 2]', async () => {
    const own = await createTestApp({ REGISTRATION: 'verified', LIMIT_REGISTER_ADDRESS: '1/3600' }, strict.db)
    await tryRegister(newEmail(), own).expect(202)

    const refused = await tryRegister(newEmail(), own)
    await own.close()

    expectProblem(refused, 429, 'too_many_attempts')
  })

  test('lets unverified accounts of before log in [account 2]', async () => {
    const open = await createTestApp({}, strict.db)
    const { email } = await register(open.app)
    await open.close()

    expect((await login(strict.app, email)).email).toBe(email)
  })
})

describe(`POST /auth/register/confirm on ${databaseName}`, () => {
  test('creates a verified account and its first session, as a login does [account Routes]', async () => {
    const email = newEmail()
    const token = await ask(email)
    const visitor = await confirmed()

    const response = await confirm(token, strict, password, { token: visitor.refreshToken })

    expect(response.status).toBe(201)
    expect(response.body).toMatchObject({
      accessToken: expect.any(String),
      tokenType: 'Bearer',
      user: { email, emailVerified: true, role: 'user' },
    })
    expect(refreshCookieOf(response)?.value).toBeTruthy()
    expect(response.get('Set-Cookie')?.some((line) => line.startsWith('device_3000='))).toBe(true)
    expect(await rowOf(strict, visitor)).toMatchObject({ end_reason: 'login' })
    await login(strict.app, email)
  })

  test('asks for the password again, and a wrong one does not use the link up [account 2]', async () => {
    const email = newEmail()
    const token = await ask(email)

    expectProblem(await confirm(token, strict, otherPassword), 401, 'invalid_credentials')
    expectProblem(
      await send(strict.app, 'POST /auth/register/confirm', { body: { token } }),
      400,
      'invalid_request',
    )
    expectProblem(await confirm(token, strict, null), 400, 'invalid_request')

    expect(await usersOf(email, strict)).toEqual([])
    await confirm(token, strict).expect(201)
  })

  test('is limited like a login, by the address of the link [account 2]', async () => {
    const email = newEmail()
    const token = await ask(email, limited)
    for (let i = 0; i < 3; i++)
      expectProblem(await confirm(token, limited, otherPassword), 401, 'invalid_credentials')

    expectProblem(await confirm(token, limited), 429, 'too_many_attempts')
    expectProblem(await tryLogin(limited.app, email), 429, 'too_many_attempts')
    await limited.pass(901)
    await confirm(token, limited).expect(201)
  })

  test('judges the limit by network, then the link, then the password [account Links]', async () => {
    const own = await createTestApp({ REGISTRATION: 'verified', LIMIT_LOGIN_ADDRESS: '1/900' })
    const token = await ask(newEmail(), own)
    const order = [
      await confirm('no token', own, null),
      await confirm('no token', own, otherPassword),
      await confirm(token, own, otherPassword),
      await confirm('no token', own, otherPassword),
    ]
    await own.close()

    const [malformed, dead, wrong, tooMany] = order as [
      request.Response,
      request.Response,
      request.Response,
      request.Response,
    ]
    expectProblem(malformed, 400, 'invalid_request')
    expectProblem(dead, 410, 'link_invalid')
    expectProblem(wrong, 401, 'invalid_credentials')
    expectProblem(tooMany, 429, 'too_many_attempts')
  })

  test('links of one address stand side by side, each with its own password; confirming one ends the others [account Links]', async () => {
    const email = newEmail()
    const first = await ask(email)
    const second = await ask(email, strict, otherPassword)

    expectProblem(await confirm(second, strict, password), 401, 'invalid_credentials')
    await confirm(first, strict, password).expect(201)

    expectProblem(await confirm(second, strict, otherPassword), 410, 'link_invalid')
    expectProblem(await confirm(first, strict, password), 410, 'link_invalid')
    expect(await usersOf(email, strict)).toHaveLength(1)
  })

  test('refuses an address that was taken in the meantime, whatever the password [account 2]', async () => {
    const email = newEmail()
    const token = await ask(email)
    const open = await createTestApp({}, strict.db)
    await register(open.app, email)
    await open.close()

    expectProblem(await confirm(token, strict), 410, 'link_invalid')
    expectProblem(await confirm(token, strict, otherPassword), 410, 'link_invalid')
  })

  test('has effect once in 50 parallel uses [account Links]', async () => {
    const email = newEmail()
    const token = await ask(email)

    const answers = await Promise.all(Array.from({ length: 50 }, () => confirm(token, strict)))

    expect(answers.filter(({ status }) => status === 201)).toHaveLength(1)
    const others = answers.filter(({ status }) => status !== 201).map(({ body }) => body.code)
    expect(['link_invalid', 'overloaded']).toEqual(expect.arrayContaining(others))
    expect(await usersOf(email, strict)).toHaveLength(1)
    const [client] = answers.filter(({ status }) => status === 201).map(clientOf)
    const live = sql`SELECT id FROM sessions WHERE user_id = ${client?.userId} AND ended_at IS NULL`
    expect(await strict.db.rows(live)).toHaveLength(1)
  })

  test('is good for 24 hours, and its hash is deleted then [account 2]', async () => {
    const email = newEmail()
    const [early, token] = [await ask(newEmail()), await ask(email)]
    const hashes = () =>
      strict.db.rows(sql`SELECT id FROM links WHERE email = ${email} AND password_hash IS NOT NULL`)
    expect(await hashes()).toHaveLength(1)

    await strict.db.pass(24 * 3600 - 60)
    await confirm(early, strict).expect(201)
    await strict.db.pass(61)
    await strict.purge()

    expectProblem(await confirm(token, strict), 410, 'link_invalid')
    expect(await hashes()).toEqual([])
    await strict.db.rows(sql`UPDATE test_clock.skew SET by = interval '0'`)
  })

  test('deletes the hash at its use, and those of the other links [account 2]', async () => {
    const email = newEmail()
    const token = await ask(email)
    await ask(email)

    await confirm(token, strict).expect(201)

    const rows = await strict.db.rows(sql`SELECT password_hash, ended_at FROM links WHERE email = ${email}`)
    expect(rows).toHaveLength(2)
    for (const row of rows) expect(row).toEqual({ password_hash: null, ended_at: expect.anything() })
  })

  test('refuses a link if all sessions of an account with its address ended in the meantime [account Links]', async () => {
    const email = newEmail()
    const token = await ask(email)
    const owner = await confirmed(strict)
    await strict.db.rows(sql`UPDATE users SET email = ${email} WHERE id = ${owner.userId}`)
    await send(strict.app, 'POST /auth/logout-all', { as: owner }).expect(204)
    await strict.db.rows(sql`UPDATE users SET email = ${owner.email} WHERE id = ${owner.userId}`)

    expectProblem(await confirm(token, strict), 410, 'link_invalid')
  })
})

describe('REGISTRATION=closed', () => {
  const closed = useTestApp({ REGISTRATION: 'closed' })

  test.each(['POST /auth/register', 'POST /auth/register/confirm'])(
    '%s: 403 after the cross-site check and before the body [account Settings]',
    async (route) => {
      const crossSite = await send(closed.app, route, {
        headers: { Origin: 'https://evil.example' },
        body: '{',
      })
      const refused = await send(closed.app, route, { body: '{' })

      expectProblem(crossSite, 403, 'cross_site_request')
      expectProblem(refused, 403, 'registration_closed')
    },
  )
})

describe(`POST /auth/email/verification on ${databaseName}`, () => {
  test('mails a new link, and the older one ends [account Links]', async () => {
    const client = await register(t.app)
    const older = await mailedToken(t, client.email, 'verify')

    const response = await resend(client)

    expect(response.status).toBe(202)
    expect(response.body).toEqual({})
    expectProblem(await verify({ token: older }, { as: client }), 410, 'link_invalid')
    await verify({ token: await mailedToken(t, client.email, 'verify') }, { as: client }).expect(204)
  })

  test('answers 409 if the address is verified', async () => {
    const client = await register(t.app)
    await verify({ token: await mailedToken(t, client.email, 'verify') }, { as: client }).expect(204)

    expectProblem(await resend(client), 409, 'already_verified')
  })

  test('answers 401 after a logout, and mails nothing', async () => {
    const client = await register(t.app)
    await send(t.app, 'POST /auth/logout', { token: client.refreshToken }).expect(204)

    expectProblem(await resend(client), 401, 'session_ended')
    expect(await mailsTo(t, client.email)).toHaveLength(1)
  })

  test.each<[what: string, overtake: (client: Client) => PromiseLike<unknown>, status: number, code: string]>(
    [
      [
        'the session confirms another address, and goes on',
        ({ userId }) =>
          t.db.rows(
            sql`UPDATE users SET session_epoch = session_epoch + 1, email_verified_at = now() WHERE id = ${userId}`,
          ),
        409,
        'already_verified',
      ],
      ['a logout', (client) => logout(t.app, client.refreshToken).expect(204), 401, 'session_ended'],
      ['disabling the user', (client) => disable(t, client), 401, 'session_ended'],
    ],
  )(
    'is judged by the session and the address at the time of the link, after %s',
    async (_what, overtake, status, code) => {
      const client = await register(t.app)
      const { database } = t.db
      const { transaction } = database
      database.transaction = async (work) => {
        database.transaction = transaction
        await overtake(client)
        return transaction(work)
      }

      expectProblem(await resend(client), status, code)

      expect(await mailsTo(t, client.email)).toHaveLength(1)
    },
  )

  test('is limited by network before the session is looked at [account Settings]', async () => {
    const own = await createTestApp({ LIMIT_MAIL_ADDRESS: '2/3600' })
    const client = await register(own.app)
    await resend(client, own).expect(202)
    await send(own.app, 'POST /auth/logout-all', { as: client }).expect(204)

    const refused = await resend(client, own)
    await own.close()

    expectProblem(refused, 429, 'too_many_attempts')
  })

  test('replaces no link beyond LIMIT_MAIL_RECIPIENT [account Mail]', async () => {
    const own = await createTestApp({ LIMIT_MAIL_RECIPIENT: '2/3600' })
    const client = await register(own.app)
    await resend(client, own).expect(202)
    const token = await mailedToken(own, client.email, 'verify')

    await resend(client, own).expect(202)

    const mails = await mailsTo(own, client.email)
    const done = await verify({ token }, { as: client }, own)
    await own.close()
    expect(mails).toHaveLength(2)
    expect(done.status).toBe(204)
  })
})

describe(`POST /auth/email/verify on ${databaseName}`, () => {
  /** An account, and the token of its link. */
  async function unverified(on = t): Promise<[Client, string]> {
    const client = await register(on.app)
    return [client, await mailedToken(on, client.email, 'verify')]
  }

  test('verifies the address with the token and the session, and logs nobody in [account 3]', async () => {
    const [client, token] = await unverified()

    const response = await verify({ token }, { as: client })

    expect(response.status).toBe(204)
    expect(response.get('Set-Cookie')).toBeUndefined()
    expect((await me(client)).body.emailVerified).toBe(true)
    await refresh(t.app, client.refreshToken).expect(200)
  })

  test('verifies the address with the token and the password [account 3]', async () => {
    const [client, token] = await unverified()

    const response = await verify({ token, password })

    expect(response.status).toBe(204)
    expect(response.get('Set-Cookie')).toBeUndefined()
    expect(await isVerified(client)).toBe(true)
  })

  test('the owner of an address, who has the token alone, does not verify the account of a squatter [account 3]', async () => {
    const [squatter, token] = await unverified()
    const owner = await register(t.app)

    expectProblem(await verify({ token }), 401, 'invalid_credentials')
    expectProblem(await verify({ token, password: otherPassword }), 401, 'invalid_credentials')
    expectProblem(await verify({ token }, { as: owner }), 410, 'link_invalid')
    expect(await isVerified(squatter)).toBe(false)
    expect(await isVerified(owner)).toBe(false)
    await verify({ token }, { as: squatter }).expect(204)
  })

  test('an Authorization header decides alone, also against a right password [account Links]', async () => {
    const [client, token] = await unverified()
    const other = await register(t.app)
    const ended = await login(t.app, client.email)
    await send(t.app, 'POST /auth/logout', { token: ended.refreshToken }).expect(204)

    expectProblem(await verify({ token, password }, { as: other }), 410, 'link_invalid')
    expectProblem(await verify({ token, password }, { as: ended }), 401, 'session_ended')
    const malformed = await verify({ token, password }, { headers: { Authorization: 'Bearer a.b.c' } })
    expectProblem(malformed, 401, 'access_token_invalid')
    expect(malformed.get('WWW-Authenticate')).toBe('Bearer error="invalid_token"')
    const basic = await verify({ token, password }, { headers: { Authorization: 'Basic YTpi' } })
    expectProblem(basic, 401, 'access_token_missing')
    expect(await isVerified(client)).toBe(false)
    await verify({ token, password: otherPassword }, { as: client }).expect(204)
  })

  test('judges the body, then the access token, then the link, then the password [account Links]', async () => {
    const [client] = await unverified()
    const ended = await login(t.app, client.email)
    await send(t.app, 'POST /auth/logout', { token: ended.refreshToken }).expect(204)

    expectProblem(await verify({ token: '' }, { as: ended }), 400, 'invalid_request')
    expectProblem(await verify({ token: 'no token', password: 1 }, { as: ended }), 400, 'invalid_request')
    expectProblem(await verify({ token: 'no token' }, { as: ended }), 401, 'session_ended')
    expectProblem(await verify({ token: 'no token' }, { as: client }), 410, 'link_invalid')
    expectProblem(await verify({ token: 'no token' }), 410, 'link_invalid')
    expectProblem(await verify({ token: 'no token', password: otherPassword }), 410, 'link_invalid')
  })

  test('refuses the id or the address of an account under attack like any other text [account Links]', async () => {
    const own = await createTestApp({ LIMIT_LOGIN_ACCOUNT: '2/900' })
    const [client] = await unverified(own)
    const unknown = newEmail()
    for (const email of [client.email, unknown])
      for (let i = 0; i < 2; i++) await tryLogin(own.app, email, otherPassword).expect(401)

    const answers = []
    for (const token of [client.userId, unknown]) {
      answers.push(await verify({ token, password }, {}, own))
      answers.push(await confirm(token, own))
    }
    await own.close()

    for (const answer of answers) expectProblem(answer, 410, 'link_invalid')
  })

  test('counts wrong passwords as failed logins, and no dead links [account Links]', async () => {
    const own = await createTestApp({ LIMIT_LOGIN_ACCOUNT: '2/900' })
    const [client, token] = await unverified(own)
    const attempt = (body: object) => verify(body, {}, own)
    for (let i = 0; i < 3; i++)
      expectProblem(await attempt({ token: 'no token', password }), 410, 'link_invalid')
    expectProblem(await attempt({ token }), 401, 'invalid_credentials')
    for (let i = 0; i < 2; i++)
      expectProblem(await attempt({ token, password: otherPassword }), 401, 'invalid_credentials')

    const refused = [await attempt({ token, password }), await tryLogin(own.app, client.email)]
    const bySession = await verify({ token }, { as: client }, own)
    await own.close()

    for (const answer of refused) expectProblem(answer, 429, 'too_many_attempts')
    expect(bySession.status).toBe(204)
  })

  test.each([{ emailVerified: true }, { role: 'admin' }])(
    'refuses the unknown member %j [account 5]',
    async (more) => {
      const [client, token] = await unverified()

      expectProblem(await verify({ token, ...more }, { as: client }), 400, 'invalid_request')
      expect(await isVerified(client)).toBe(false)
    },
  )

  test('has effect once in 50 parallel uses [account Links]', async () => {
    const [client, token] = await unverified()

    const answers = await Promise.all(Array.from({ length: 50 }, () => verify({ token }, { as: client })))

    expect(answers.filter(({ status }) => status === 204)).toHaveLength(1)
    expect(answers.filter(({ status }) => status === 410)).toHaveLength(49)
    const events = sql`SELECT id FROM audit_events WHERE event = 'email_verified' AND user_id = ${client.userId}`
    expect(await t.db.rows(events)).toHaveLength(1)
  })

  const endings: typeof endingsOfLinks = {
    ...endingsOfLinks,
    '24 hours': async () => t.db.pass(24 * 3600 + 1),
  }
  test.each(Object.entries(endings))('refuses a link after %s [account Links]', async (_what, end) => {
    const [client, token] = await unverified()

    await end(t, client)

    const answers = [await verify({ token, password }), await verify({ token, password: otherPassword })]
    await t.db.rows(sql`UPDATE test_clock.skew SET by = interval '0'`)
    for (const answer of answers) expectProblem(answer, 410, 'link_invalid')
    expect(await isVerified(client)).toBe(false)
  })

  test('is good for 24 hours by the clock of the database [account Links]', async () => {
    const [client, token] = await unverified()

    await t.db.pass(24 * 3600 - 60)

    await verify({ token, password }).expect(204)
    await t.db.rows(sql`UPDATE test_clock.skew SET by = interval '0'`)
    expect(await isVerified(client)).toBe(true)
  })

  test('refuses the link of a disabled account [account 29]', async () => {
    const client = await register(t.app)
    await disable(t, client)

    const token = await newLink(t, 'verify', client)

    expectProblem(await verify({ token, password }), 410, 'link_invalid')
    expectProblem(await verify({ token }, { as: client }), 401, 'session_ended')
  })
})

test('in production without SMTP_URL, the routes are 404, and registering queues no mail [account Settings]', async () => {
  const own = await createTestApp({
    NODE_ENV: 'production',
    PUBLIC_URL: 'https://auth.example.com',
    BCRYPT_COST: '10',
    LIMIT_MAIL_ADDRESS: '1/3600',
  })
  const answers = [
    await confirm('token', own),
    await send(own.app, 'POST /auth/email/verification'),
    await verify({ token: 'token' }, {}, own),
  ]
  const registered = [await tryRegister(newEmail(), own), await tryRegister(newEmail(), own)]
  const queued = await countOf(own, 'outbox')
  const { paths } = (await send(own.app, 'GET /openapi.json')).body ?? {}
  await own.close()

  for (const answer of answers) expectProblem(answer, 404, 'not_found')
  expect(registered.map(({ status }) => status)).toEqual([201, 201])
  expect(queued).toBe(0)
  expect(Object.keys(paths ?? {}).filter((path) => /confirm|email/.test(path))).toEqual([])
})
