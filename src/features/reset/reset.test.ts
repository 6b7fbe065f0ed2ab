import { describe, expect, test } from '@jest/globals'
import { sql } from 'drizzle-orm'
import {
  type Client,
  countOf,
  createTestApp,
  disable,
  expectProblem,
  login,
  newEmail,
  otherPassword,
  password,
  refresh,
  register,
  send,
  tryLogin,
  useTestApp,
  withoutNoise,
} from '../../../test/support/app.ts'
import { databaseName } from '../../../test/support/database.ts'
import { publicUrl } from '../../../test/support/environment.ts'
import { endingsOfLinks, mailedToken, mailsTo, newLink } from '../../../test/support/links.ts'
import { features } from '../../features.ts'

const t = useTestApp()
const limited = useTestApp({
  LIMIT_LOGIN_ACCOUNT: '3/900',
  LIMIT_LOGIN_ADDRESS: '1000/900',
  LIMIT_MAIL_RECIPIENT: '3/3600',
})

const forgot = (email: string, on = t) => send(on.app, 'POST /auth/password/forgot', { body: { email } })
const reset = (token: unknown, newPassword = otherPassword, on = t) =>
  send(on.app, 'POST /auth/password/reset', { body: { token, newPassword } })
const me = (as: Client, on = t) => send(on.app, 'GET /users/me', { as })

/** Asks for a link and returns its token. */
async function askForLink({ email }: Pick<Client, 'email'>, on = t): Promise<string> {
  await forgot(email, on).expect(202)
  return mailedToken(on, email, 'reset')
}

const rowOfUser = async ({ userId }: Client, on = t) => {
  const [row] = await on.db.rows(sql`SELECT * FROM users WHERE id = ${userId}`)
  return row
}
const eventsOf = async ({ userId }: Client, on = t) =>
  (
    await on.db.rows<{ event: string }>(
      sql`SELECT event FROM audit_events WHERE user_id = ${userId} ORDER BY id`,
    )
  ).map(({ event }) => event)

async function verified(on = t): Promise<Client> {
  const client = await register(on.app)
  await on.db.rows(sql`UPDATE users SET email_verified_at = now() WHERE id = ${client.userId}`)
  return client
}

describe(`POST /auth/password/forgot on ${databaseName}`, () => {
  test('mails a link that works, and changes nothing before its use: the session lives, the password works [account 6]', async () => {
    const client = await register(t.app)
    const before = await rowOfUser(client)

    const response = await forgot(` ${client.email.toUpperCase()} `).set(
      'User-Agent',
      'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0 <b>win a prize</b>',
    )

    expect(response.status).toBe(202)
    expect(response.body).toEqual({})
    expect(response.get('Set-Cookie')).toBeUndefined()
    expect(await rowOfUser(client)).toEqual(before)
    await me(client).expect(200)
    await refresh(t.app, client.refreshToken).expect(200)
    await login(t.app, client.email)
    const mail = (await mailsTo(t, client.email)).find(({ template }) => template === 'reset-password')
    expect(mail).toMatchObject({
      template: 'reset-password',
      userId: client.userId,
      params: { ip: '127.0.0.1', browser: 'Firefox' },
      link: { purpose: 'reset', userId: client.userId, email: client.email },
    })
    await reset(await mailedToken(t, client.email, 'reset')).expect(204)
  })

  test('mails a link to ACCOUNT_URL, whatever host the request names [account Links]', async () => {
    const client = await register(t.app)
    const host = 'evil.example'
    await forgot(client.email)
      .set({ Host: host, 'X-Forwarded-Host': host, Forwarded: `host=${host}` })
      .expect(202)

    const mail = (await t.mails()).find(({ to, text }) => to === client.email && text.includes('#reset='))

    expect(mail?.text).toContain(`${publicUrl}/account#reset=`)
    expect(JSON.stringify(mail)).not.toContain(host)
  })

  test('gives known, unknown, disabled and unverified addresses the same answer, and writes as many rows [account 6]', async () => {
    const [known, unverified, disabled] = [await verified(), await register(t.app), await register(t.app)]
    await disable(t, disabled)
    const tables = ['links', 'outbox', 'audit_events', 'attempts', 'users', 'sessions']
    const counts = () => Promise.all(tables.map((table) => countOf(t, table)))

    const answers = []
    for (const email of [known.email, unverified.email, disabled.email, newEmail()]) {
      const before = await counts()
      const answer = withoutNoise(await forgot(email))
      const after = await counts()
      answers.push({ answer, written: after.map((count, i) => count - (before[i] ?? 0)) })
    }

    expect(answers[0]?.written).toEqual([1, 1, 1, 0, 0, 0])
    for (const other of answers) expect(other).toEqual(answers[0])
    expect((await mailsTo(t, disabled.email)).map(({ template }) => template)).not.toContain('reset-password')
    const decoys = await mailsTo(t, null)
    expect(decoys.slice(-2)).toMatchObject([
      { template: 'reset-password', link: { userId: null, email: '' } },
      { template: 'reset-password', link: { userId: null, email: '' } },
    ])
  })

  test('sends no mail and replaces no link beyond LIMIT_MAIL_RECIPIENT, and the answer does not tell [account Mail]', async () => {
    const client = await register(limited.app)
    const sent = []
    for (let i = 0; i < 3; i++) sent.push(withoutNoise(await forgot(client.email, limited)))
    const token = await mailedToken(limited, client.email, 'reset')
    const mails = await mailsTo(limited, client.email)

    const held = withoutNoise(await forgot(client.email, limited))

    expect(held).toEqual(sent[0])
    expect(await mailsTo(limited, client.email)).toEqual(mails)
    await reset(token, otherPassword, limited).expect(204)
  })

  test('is limited by network, whatever the address, and after the checks of the body [account Settings]', async () => {
    const own = await createTestApp({ LIMIT_MAIL_ADDRESS: '2/3600' }, t.db)
    await send(own.app, 'POST /auth/password/forgot', { body: { email: 'no address' } }).expect(400)
    await forgot(newEmail(), own).expect(202)
    await forgot(newEmail(), own).expect(202)

    const refused = await forgot(newEmail(), own)
    await own.close()

    expectProblem(refused, 429, 'too_many_attempts')
    await t.db.rows(sql`DELETE FROM attempts`)
  })

  test.each([
    ['no address', { email: 'ada' }],
    ['an unknown member', { email: 'ada@example.com', emailVerified: true }],
    ['a role', { email: 'ada@example.com', role: 'admin' }],
  ])('refuses %s and writes nothing [account 5]', async (_what, body) => {
    const before = await countOf(t, 'outbox')

    expectProblem(await send(t.app, 'POST /auth/password/forgot', { body }), 400, 'invalid_request')
    expect(await countOf(t, 'outbox')).toBe(before)
  })
})

// A fork may delete the feature that sends this mail.
const hasNotices = features.some(({ name }) => name === 'notices')
const testWithNotices = hasNotices ? test : test.skip
const noticesTo = async (client: Client) =>
  (await mailsTo(t, client.email)).filter(({ template }) => template === 'password-reset')

describe(`POST /auth/password/reset on ${databaseName}`, () => {
  test('sets the password, ends all sessions, verifies the address, and starts no session [account 7]', async () => {
    const client = await register(t.app)
    const other = await login(t.app, client.email)
    const token = await askForLink(client)

    const response = await reset(token)

    expect(response.status).toBe(204)
    expect(response.text).toBe('')
    expect(response.get('Set-Cookie')).toBeUndefined()
    for (const ended of [client, other]) {
      expectProblem(await me(ended), 401, 'session_ended')
      expectProblem(await refresh(t.app, ended.refreshToken), 401, 'session_ended')
    }
    expectProblem(await tryLogin(t.app, client.email), 401, 'invalid_credentials')
    const back = await tryLogin(t.app, client.email, otherPassword)
    expect(back.body.user).toMatchObject({ id: client.userId, emailVerified: true })
    expect(await eventsOf(client)).toEqual(
      expect.arrayContaining(['password_reset_requested', 'password_reset']),
    )
  })

  testWithNotices('is told to the owner [account 9]', async () => {
    const client = await register(t.app)

    await reset(await askForLink(client)).expect(204)

    const notices = await noticesTo(client)
    expect(notices).toMatchObject([{ userId: client.userId, params: { ip: '127.0.0.1' }, link: null }])
  })

  test('keeps the time at which a verified address was verified', async () => {
    const client = await verified()
    const before = await rowOfUser(client)
    await t.pass(60)

    await reset(await askForLink(client)).expect(204)

    expect((await rowOfUser(client))?.email_verified_at).toEqual(before?.email_verified_at)
  })

  test('makes device cookies void, and clears the failed logins of the account [account Routes]', async () => {
    const registered = await send(limited.app, 'POST /auth/register', {
      body: { email: newEmail(), password },
    })
    const { email } = registered.body.user
    const device = registered.get('Set-Cookie')?.find((line) => line.startsWith('device_3000='))
    const Cookie = device?.split(';')[0] ?? ''
    const fail = () => tryLogin(limited.app, email, 'not my password at all')
    for (let i = 0; i < 3; i++) expectProblem(await fail(), 401, 'invalid_credentials')
    expectProblem(await fail(), 429, 'too_many_attempts')
    expectProblem(await fail().set({ Cookie }), 401, 'invalid_credentials')
    const token = await askForLink({ email }, limited)

    await reset(token, otherPassword, limited).expect(204)

    await tryLogin(limited.app, email, otherPassword).expect(200)
    for (let i = 0; i < 3; i++) expectProblem(await fail().set({ Cookie }), 401, 'invalid_credentials')
    expectProblem(await fail(), 429, 'too_many_attempts')
    expectProblem(await fail().set({ Cookie }), 429, 'too_many_attempts')
  })

  test('refuses the current password, does not use the link up, and counts a failed login [account 9]', async () => {
    const client = await register(limited.app)
    const token = await askForLink(client, limited)

    const refused = await reset(token, password, limited)

    expectProblem(refused, 400, 'password_rejected')
    expect(refused.body.errors).toEqual([
      { path: 'newPassword', message: 'is the current one. Choose another one' },
    ])
    expect(await eventsOf(client, limited)).toContain('password_reset_failed')
    const fail = () => tryLogin(limited.app, client.email, 'not my password at all')
    expectProblem(await fail(), 401, 'invalid_credentials')
    expectProblem(await fail(), 401, 'invalid_credentials')
    expectProblem(await fail(), 429, 'too_many_attempts')
    await me(client, limited).expect(200)
    await reset(token, otherPassword, limited).expect(204)
  })

  test('is never refused by LIMIT_LOGIN_ACCOUNT [account 9]', async () => {
    const client = await register(limited.app)
    for (let i = 0; i < 4; i++) await tryLogin(limited.app, client.email, 'not my password at all')
    expectProblem(await tryLogin(limited.app, client.email), 429, 'too_many_attempts')
    const token = await askForLink(client, limited)
    for (let i = 0; i < 5; i++) expectProblem(await reset(token, password, limited), 400, 'password_rejected')

    await reset(token, otherPassword, limited).expect(204)

    await tryLogin(limited.app, client.email, otherPassword).expect(200)
  })

  test('is limited by network before the link is looked at [account Links]', async () => {
    const own = await createTestApp({ LIMIT_LOGIN_ADDRESS: '2/900' })
    const client = await register(own.app)
    const token = await askForLink(client, own)
    for (let i = 0; i < 2; i++) expectProblem(await reset(token, password, own), 400, 'password_rejected')

    const answers = [await reset(token, otherPassword, own), await reset('no token', otherPassword, own)]
    await own.close()

    for (const answer of answers) expectProblem(answer, 429, 'too_many_attempts')
  })

  test('does not use a link up for a password that is too weak [account Links]', async () => {
    const client = await register(t.app)
    const token = await askForLink(client)

    expectProblem(await reset(token, 'short'), 400, 'password_rejected')
    expectProblem(await reset(token, client.email), 400, 'password_rejected')

    await me(client).expect(200)
    await reset(token).expect(204)
  })

  test('has effect once in 50 parallel uses [account Links]', async () => {
    const client = await register(t.app)
    const token = await askForLink(client)

    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, i) => reset(token, `${otherPassword} number ${i}`)),
    )

    const done = answers.flatMap(({ status }, i) => (status === 204 ? [i] : []))
    expect(done).toHaveLength(1)
    // A full queue of passwords refuses some. They use nothing up.
    const others = answers.filter(({ status }) => status !== 204).map(({ body }) => body.code)
    expect(['link_invalid', 'overloaded']).toEqual(expect.arrayContaining(others))
    await tryLogin(t.app, client.email, `${otherPassword} number ${done[0]}`).expect(200)
    expect((await eventsOf(client)).filter((event) => event === 'password_reset')).toHaveLength(1)
    expect(await noticesTo(client)).toHaveLength(hasNotices ? 1 : 0)
  })

  test('ends the older link when a newer one is asked for [account Links]', async () => {
    const client = await register(t.app)
    const older = await askForLink(client)
    const newer = await askForLink(client)

    expect(newer).not.toBe(older)
    expectProblem(await reset(older), 410, 'link_invalid')
    await reset(newer).expect(204)
  })

  test('is good for 30 minutes by the clock of the database [account Links]', async () => {
    const [early, late] = [await register(t.app), await register(t.app)]
    const tokens = [await askForLink(early), await askForLink(late)]

    await t.db.pass(1790)
    await reset(tokens[0]).expect(204)
    await t.db.pass(11)
    expectProblem(await reset(tokens[1]), 410, 'link_invalid')
    await t.db.rows(sql`UPDATE test_clock.skew SET by = interval '0'`)
  })

  const endings: typeof endingsOfLinks = {
    ...endingsOfLinks,
    'its use': async (_t, client) => reset(await mailedToken(t, client.email, 'reset')).expect(204),
    'a change of the address': (_t, { userId }) =>
      t.db.rows(
        sql`UPDATE users SET email = ${newEmail()}, session_epoch = session_epoch + 1 WHERE id = ${userId}`,
      ),
    'the deletion of the user': (_t, { userId }) => t.db.rows(sql`DELETE FROM users WHERE id = ${userId}`),
  }
  test.each(Object.entries(endings))('refuses a link after %s [account Links]', async (_what, end) => {
    const client = await register(t.app)
    const token = await askForLink(client)

    await end(t, client)

    const before = await rowOfUser(client)
    expectProblem(await reset(token, 'my hamster is called bob'), 410, 'link_invalid')
    expect(await rowOfUser(client)).toEqual(before)
  })

  test('refuses the link of a disabled account [account 29]', async () => {
    const client = await register(t.app)
    await disable(t, client)

    expectProblem(await reset(await newLink(t, 'reset', client)), 410, 'link_invalid')
  })

  test('refuses a link whose address is no longer that of the account', async () => {
    const client = await register(t.app)
    const token = await askForLink(client)
    await t.db.rows(sql`UPDATE users SET email = ${newEmail()} WHERE id = ${client.userId}`)

    expectProblem(await reset(token), 410, 'link_invalid')
  })

  test.each([
    ['empty', ''],
    ['null', null],
    ['a number', 1],
    ['with NUL', 'a\0b'],
    ['missing', undefined],
  ])('answers 400 to a token that is %s [account Links]', async (_what, token) => {
    expectProblem(await reset(token), 400, 'invalid_request')
  })
})

test('in production without SMTP_URL, the routes are 404 and not in the OpenAPI document [account Settings]', async () => {
  const own = await createTestApp({
    NODE_ENV: 'production',
    PUBLIC_URL: 'https://auth.example.com',
    BCRYPT_COST: '10',
  })
  const answers = [await forgot('ada@example.com', own), await reset('token', otherPassword, own)]
  const { paths } = (await send(own.app, 'GET /openapi.json')).body ?? {}
  await own.close()

  for (const answer of answers) expectProblem(answer, 404, 'not_found')
  expect(Object.keys(paths ?? {}).filter((path) => /forgot|reset/.test(path))).toEqual([])
})
