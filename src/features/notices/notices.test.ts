import { describe, expect, test } from '@jest/globals'
import { sql } from 'drizzle-orm'
import {
  createTestApp,
  login,
  newEmail,
  otherPassword,
  password,
  register,
  send,
  type TestApp,
  useTestApp,
} from '../../../test/support/app.ts'
import { databaseName } from '../../../test/support/database.ts'
import { deviceCookieName } from '../../../test/support/environment.ts'
import { startSmtp } from '../../../test/support/smtp.ts'

const t = useTestApp()
// Without those that have a link, such as the mail of a registration.
const mailsTo = async (app: TestApp, email: string) =>
  (await app.mails()).filter(({ to, text }) => to === email && !text.includes('/account#'))

/** Registers a user whose address is verified. */
async function registerVerified(on = t) {
  const client = await register(on.app)
  await on.db.rows(sql`UPDATE users SET email_verified_at = now() WHERE id = ${client.userId}`)
  return client
}

const firefox = 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0 <b>evil.example</b>'
const tryLogin = (email: string, headers: Record<string, string> = {}, withPassword = password) =>
  send(t.app, 'POST /auth/login', { body: { email, password: withPassword }, headers })
const changePassword = (as: { accessToken: string }, currentPassword = password, headers = {}) =>
  send(t.app, 'POST /auth/password', {
    as,
    headers,
    body: { currentPassword, newPassword: otherPassword },
  })

describe(`notices on ${databaseName}`, () => {
  test('a change of the password is told to the owner: what, when, from where, and what to do [account 9]', async () => {
    const ada = await register(t.app)

    await changePassword(ada, password, { 'User-Agent': firefox }).expect(200)

    const [mail, ...more] = await mailsTo(t, ada.email)
    expect(more).toEqual([])
    expect(mail).toMatchObject({ subject: 'Your password was changed' })
    for (const part of [mail?.text, mail?.html]) {
      expect(part).toMatch(
        /The password of your account at localhost:3000 was changed on 2\d{3}-\d\d-\d\d \d\d:\d\d UTC/,
      )
      expect(part).toMatch(/from Firefox, network address (::1|127\.0\.0\.1)\./)
      expect(part).toMatch(/If it was not you/)
      expect(part).not.toMatch(/140|evil|Gecko/)
    }
  })

  test('a change of the password that fails sends no mail', async () => {
    const ada = await register(t.app)

    await changePassword(ada, 'not the right one').expect(403)

    expect(await mailsTo(t, ada.email)).toEqual([])
  })

  test('a mail that waits goes to the address that the account had when it was queued', async () => {
    const smtp = await startSmtp()
    const withSmtp = await createTestApp({
      SMTP_URL: `smtp://127.0.0.1:${smtp.port}`,
      MAIL_FROM: 'auth@example.com',
    })
    const ada = await registerVerified(withSmtp)
    await withSmtp.mails()
    smtp.mails.length = 0
    smtp.react = () => 421
    await login(withSmtp.app, ada.email)
    await withSmtp.mails()

    await withSmtp.db.rows(sql`UPDATE users SET email = ${newEmail()} WHERE id = ${ada.userId}`)
    smtp.react = () => 'ok'
    await withSmtp.pass(10)
    await withSmtp.mails()

    expect(smtp.mails.map(({ to_ }) => to_)).toEqual([[ada.email]])
    await withSmtp.close()
    await smtp.close()
  })

  test('a request does not wait for the SMTP server, and its commit wakes the worker', async () => {
    const smtp = await startSmtp()
    const withSmtp = await createTestApp({
      SMTP_URL: `smtp://127.0.0.1:${smtp.port}`,
      MAIL_FROM: 'auth@example.com',
    })
    smtp.react = (stage) => (stage === 'rcpt' ? 'hang' : 'ok')
    const { email } = await registerVerified(withSmtp)
    await login(withSmtp.app, email)
    smtp.react = () => 'ok'
    await login(withSmtp.app, email)
    await smtp.taken(1)

    expect(smtp.mails.map(({ to_ }) => to_)).toEqual([[email]])
    await smtp.close()
    await withSmtp.close()
  })

  test('a notice is queued in the transaction of the change: with neither or both', async () => {
    const ada = await register(t.app)
    await t.db.rows(sql`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
      $$ BEGIN RAISE 'no mail'; END $$`)
    await t.db.rows(sql`CREATE TRIGGER refuse BEFORE INSERT ON outbox EXECUTE FUNCTION refuse()`)

    const changed = await changePassword(ada)
    await t.db.rows(sql`DROP TRIGGER refuse ON outbox`)
    await t.db.rows(sql`DROP FUNCTION refuse`)

    expect(changed.status).toBe(500)
    await send(t.app, 'GET /users/me', { as: ada }).expect(200)
    await tryLogin(ada.email).expect(200)
  })

  test('a login from a new device is told to the owner, one from a known device is not [account 9]', async () => {
    const { email } = await registerVerified()
    const first = await tryLogin(email, { 'User-Agent': firefox }).expect(200)
    const device = first
      .get('Set-Cookie')
      ?.find((line) => line.startsWith(`${deviceCookieName}=`))
      ?.split(';')[0]

    await tryLogin(email, { Cookie: device ?? '' }).expect(200)
    await tryLogin(email, {}, 'not the right one').expect(401)

    const mails = await mailsTo(t, email)
    expect(mails.map(({ subject }) => subject)).toEqual(['New login to your account'])
    expect(mails[0]?.text).toMatch(/It came from Firefox, network address/)
  })

  test('a login from a new device is not told to an address that was never verified, which another person may own', async () => {
    const { email } = await register(t.app)

    for (let i = 0; i < 3; i++) await tryLogin(email).expect(200)

    expect(await mailsTo(t, email)).toEqual([])
  })

  test('a registration is no login from a new device', async () => {
    const { email } = await register(t.app)

    expect(await mailsTo(t, email)).toEqual([])
  })

  test('NOTICE_NEW_DEVICE=false tells of changes of the password only', async () => {
    const quiet = await createTestApp({ NOTICE_NEW_DEVICE: 'false' })
    const { email } = await registerVerified(quiet)
    const ada = await login(quiet.app, email)
    const body = { currentPassword: password, newPassword: otherPassword }
    await send(quiet.app, 'POST /auth/password', { as: ada, body }).expect(200)

    expect((await mailsTo(quiet, email)).map(({ subject }) => subject)).toEqual(['Your password was changed'])
    await quiet.close()
  })

  test('production without SMTP_URL drops notices, and says so once at the start', async () => {
    const bare = await createTestApp({
      NODE_ENV: 'production',
      BCRYPT_COST: '10',
      PUBLIC_URL: 'https://auth.example.com',
    })
    const email = newEmail()
    const body = { email, password }
    await send(bare.app, 'POST /auth/register', { body }).expect(201)
    await send(bare.app, 'POST /auth/login', { body }).expect(200)

    expect(await bare.db.rows(sql`SELECT FROM outbox`)).toEqual([])
    expect(bare.log.filter(({ event }) => event === 'no_mail')).toHaveLength(1)
    await bare.close()
  })
})
