import { describe, expect, test } from '@jest/globals'
import { sql } from 'drizzle-orm'
import type request from 'supertest'
import {
  bearer,
  type Client,
  clientOf,
  createTestApp,
  disable,
  enable,
  expectProblem,
  login,
  logout,
  newEmail,
  otherPassword,
  password,
  refresh,
  register,
  rowOf,
  send,
  type TestApp,
  tryLogin,
  useTestApp,
  withoutNoise,
} from '../../../test/support/app.ts'
import { countStatements, databaseName } from '../../../test/support/database.ts'
import { endingsOfLinks, mailedToken, mailsTo, newLink } from '../../../test/support/links.ts'
import { templates } from '../../features.ts'
import { originSentence } from '../../mail/origin.ts'
import { layout } from '../../mail/template.ts'

const t = useTestApp({ LIMIT_MAIL_RECIPIENT: 'off', LIMIT_MAIL_ADDRESS: 'off' })
const limited = useTestApp({ LIMIT_MAIL_RECIPIENT: '3/3600', LIMIT_MAIL_ADDRESS: '5/3600', TRUST_PROXY: '1' })

const ask = (as: Client, email: string, on = t) => send(on.app, 'POST /auth/email', { as, body: { email } })
const confirm = (token: string, by: { as?: Client; password?: string } = {}, on = t) =>
  send(on.app, 'POST /auth/email/confirm', {
    as: by.as,
    body: { token, ...(by.password !== undefined && { password: by.password }) },
  })
const undo = (token: string, on = t) => send(on.app, 'POST /auth/email/undo', { body: { token } })
const reset = (token: string, newPassword: string, on = t) =>
  send(on.app, 'POST /auth/password/reset', { body: { token, newPassword } })

/** Returns a mail as its recipient sees it. */
function written(name: string, link: string | undefined) {
  const template = templates[name]
  if (!template) throw new Error(`no template ${name}`)
  const params = { ip: '192.0.2.1', browser: 'Firefox' }
  const facts = { params, link, site: 'auth.example', time: '2026-11-28 12:00 UTC' }
  return layout(template({ ...facts, origin: originSentence(params) }))
}

const accountOf = async ({ userId }: Pick<Client, 'userId'>, on: TestApp = t) => {
  const [row] = await on.db.rows<{
    email: string
    email_verified_at: unknown
    password_hash: string
    session_epoch: number
  }>(sql`SELECT * FROM users WHERE id = ${userId}`)
  if (!row) throw new Error('no such user')
  return row
}

const templatesTo = async (email: string, on: TestApp = t) =>
  (await mailsTo(on, email)).map(({ template }) => template)
const linksOf = (userId: string, purpose: string) =>
  t.db.rows(sql`SELECT id FROM links WHERE user_id = ${userId} AND purpose = ${purpose} AND ended_at IS NULL`)
const eventsOf = async ({ userId }: Client) =>
  (
    await t.db.rows(
      sql`SELECT event FROM audit_events WHERE user_id = ${userId} AND event LIKE 'email%' ORDER BY id`,
    )
  ).map(({ event }) => event)

/** Registers a user whose address is verified. */
async function registerVerified(on = t): Promise<Client> {
  const client = await register(on.app)
  await on.db.rows(sql`UPDATE users SET email_verified_at = now() WHERE id = ${client.userId}`)
  return client
}

let networks = 0
/** Registers a user of the server with limits, from another network each time. */
async function registerLimited(): Promise<Client> {
  const headers = { 'X-Forwarded-For': `10.0.${++networks}.1` }
  const body = { email: newEmail(), password }
  return clientOf(await send(limited.app, 'POST /auth/register', { headers, body }).expect(201))
}

/** Changes the address of a user, and returns the new one. */
async function change(client: Client, to = newEmail(), on = t): Promise<string> {
  await ask(client, to, on).expect(202)
  await confirm(await mailedToken(on, to, 'email'), { as: client }, on).expect(204)
  return to
}

/** Returns the kinds of the statements in the longest transaction of the server with limits during an action. */
async function statementsOfLongest(action: () => PromiseLike<unknown>): Promise<string[]> {
  const { database } = limited.db
  const { transaction } = database
  let longest: string[] = []
  database.transaction = (work) =>
    transaction((tx) => {
      const seen: string[] = []
      const counting = new Proxy(tx, {
        get(target, name) {
          if (['select', 'insert', 'update', 'delete', 'execute'].includes(String(name)))
            seen.push(String(name))
          const member = Reflect.get(target, name)
          return typeof member === 'function' ? member.bind(target) : member
        },
      })
      return work(counting).finally(() => {
        if (seen.length > longest.length) longest = seen
      })
    })
  try {
    await action()
  } finally {
    database.transaction = transaction
  }
  return longest
}

const isLive = async (client: Client) => (await rowOf(t, client))?.ended_at === null
const loginWorks = async (email: string, withPassword = password) =>
  (await tryLogin(t.app, email, withPassword)).status === 200

function expectInvalid(response: request.Response) {
  expectProblem(response, 410, 'link_invalid')
}

describe(`POST /auth/email, on ${databaseName}`, () => {
  test('mails a link to the new address and a notice to the old one, and changes nothing else [account 10]', async () => {
    const client = await registerVerified()
    const before = await accountOf(client)
    const email = newEmail()

    const response = await ask(client, ` ${email.toUpperCase()} `)

    expect({ status: response.status, body: response.body }).toEqual({ status: 202, body: {} })
    expect(await accountOf(client)).toEqual(before)
    expect(await templatesTo(email)).toEqual(['confirm-address'])
    expect(await templatesTo(client.email)).toContain('change-requested')
    expect(await eventsOf(client)).toEqual(['email_change_requested'])
    await login(t.app, client.email)
    expectProblem(await tryLogin(t.app, email), 401, 'invalid_credentials')
  })

  test('until the confirmation a reset goes to the old address, and none to the new one [account 10]', async () => {
    const client = await register(t.app)
    const email = newEmail()
    await ask(client, email)

    for (const each of [client.email, email])
      await send(t.app, 'POST /auth/password/forgot', { body: { email: each } }).expect(202)

    expect((await templatesTo(client.email)).at(-1)).toBe('reset-password')
    expect(await templatesTo(email)).toEqual(['confirm-address'])
  })

  test('answers alike for a free, a taken, a reserved and the own address, and mails what each needs [account 10]', async () => {
    const [client, owner, changed] = [await register(t.app), await register(t.app), await registerVerified()]
    await change(changed)
    const free = newEmail()
    const addresses = [free, owner.email, changed.email, client.email]
    const mailsBefore = await Promise.all(addresses.map((email) => templatesTo(email)))

    const answers = []
    for (const email of addresses) answers.push(await ask(client, email))

    for (const { status, body } of answers) expect({ status, body }).toEqual({ status: 202, body: {} })
    const mails = await Promise.all(addresses.map((email) => templatesTo(email)))
    const since = mails.map((list, i) => list.slice(mailsBefore[i]?.length))
    expect(since).toEqual([
      ['confirm-address'],
      ['address-taken'],
      [],
      ['change-requested', 'change-requested', 'change-requested'],
    ])
  })

  test('runs the same statements for a free, a taken, a reserved and the own address, and beyond the limit [account 10]', async () => {
    const [client, owner, off] = [await registerLimited(), await registerLimited(), await registerLimited()]
    await disable(limited, off)
    const [free, reserved, full] = [newEmail(), newEmail(), newEmail()]
    await newLink(limited, 'undo', { userId: owner.userId, email: reserved })
    const request = (email: string, i: number) =>
      send(limited.app, 'POST /auth/email', {
        as: client,
        headers: { 'X-Forwarded-For': `10.1.${i}.1` },
        body: { email },
      }).expect(202)
    for (const i of [1, 2, 3]) await request(full, i)

    const seen = []
    for (const [i, email] of [free, owner.email, off.email, reserved, client.email, full].entries()) {
      const statements = await statementsOfLongest(() => request(email, 10 + i))
      const mails = await limited.db.rows(
        sql`SELECT user_id IS NULL AS u, link_id IS NULL AS l FROM outbox ORDER BY created_at DESC, l LIMIT 2`,
      )
      seen.push({ statements, mails })
    }

    expect(seen[0]?.statements.length).toBeGreaterThan(5)
    for (const each of seen) expect(each).toEqual(seen[0])
  })

  test('does not tell a disabled owner of a taken address [account 10]', async () => {
    const [client, owner] = [await register(t.app), await register(t.app)]
    await disable(t, owner)
    const before = await templatesTo(owner.email)

    await ask(client, owner.email).expect(202)

    expect(await templatesTo(owner.email)).toEqual(before)
  })

  test('a newer request replaces the older one, whether its address is free or taken [account 10]', async () => {
    const [client, owner] = [await register(t.app), await register(t.app)]
    for (const next of [newEmail(), owner.email]) {
      const first = newEmail()
      await ask(client, first)
      const token = await mailedToken(t, first, 'email')

      await ask(client, next)

      expectInvalid(await confirm(token, { as: client }))
    }
    expect((await accountOf(client)).email).toBe(client.email)
  })

  test('each token confirms only its own address [account 10]', async () => {
    const client = await register(t.app)
    const [first, second] = [newEmail(), newEmail()]
    await ask(client, first)
    await ask(client, second)

    await confirm(await mailedToken(t, second, 'email'), { as: client }).expect(204)

    expect((await accountOf(client)).email).toBe(second)
    expectInvalid(await confirm(await mailedToken(t, first, 'email'), { as: client }))
  })

  test('beyond the limit of a recipient it makes and replaces no link, but still tells the old address [account 10]', async () => {
    const email = newEmail()
    const clients = await Promise.all(Array.from({ length: 4 }, registerLimited))
    const from = (i: number) => ({ 'X-Forwarded-For': `198.51.100.${i}` })
    const askFrom = (i: number, to: string) =>
      send(limited.app, 'POST /auth/email', {
        as: clients[i] as Client,
        headers: from(i),
        body: { email: to },
      })
    const last = clients[3] as Client
    const other = newEmail()
    await askFrom(3, other).expect(202)
    for (const i of [0, 1, 2]) await askFrom(i, email).expect(202)

    const beyond = await askFrom(3, email)

    expect({ status: beyond.status, body: beyond.body }).toEqual({ status: 202, body: {} })
    expect(await templatesTo(email, limited)).toEqual(Array(3).fill('confirm-address'))
    const notices = (await templatesTo(last.email, limited)).filter((name) => name === 'change-requested')
    expect(notices).toHaveLength(2)
    const token = await mailedToken(limited, other, 'email')
    await send(limited.app, 'POST /auth/email/confirm', { as: last, body: { token } }).expect(204)
  })

  test('beyond the limit of a recipient the owner of a taken address is not told again [account 10]', async () => {
    const [client, owner] = [await registerLimited(), await registerLimited()]
    const askFrom = (network: number) =>
      send(limited.app, 'POST /auth/email', {
        as: client,
        headers: { 'X-Forwarded-For': `203.0.113.${network}` },
        body: { email: owner.email },
      })

    for (const network of [1, 2, 3, 4]) await askFrom(network).expect(202)

    const told = (await templatesTo(owner.email, limited)).filter((name) => name === 'address-taken')
    expect(told).toHaveLength(3)
  })

  test('needs a recent proof of identity, and counts the request of a stale session too [account 21]', async () => {
    const client = await registerLimited()
    await limited.pass(301)
    const headers = { 'X-Forwarded-For': '192.0.2.77' }
    const request = (as: Client) =>
      send(limited.app, 'POST /auth/email', { as, headers, body: { email: newEmail() } })
    const mails = await limited.db.rows(sql`SELECT id FROM outbox`)

    for (let i = 0; i < 5; i++) {
      const stale = await request(client)
      expectProblem(stale, 401, 'reauthentication_required')
      expect(stale.body.methods).toEqual(['password'])
    }
    await logout(limited.app, client.refreshToken)

    expectProblem(await request(client), 429, 'too_many_attempts')
    expect(await limited.db.rows(sql`SELECT id FROM outbox`)).toHaveLength(mails.length)
  })

  test('answers session_ended before the freshness of the session [account 21]', async () => {
    const client = await register(t.app)
    await t.pass(301)
    await logout(t.app, client.refreshToken)

    expectProblem(await ask(client, newEmail()), 401, 'session_ended')
  })
})

describe('POST /auth/email/confirm', () => {
  test('changes the address, ends the other sessions, and the session that confirms goes on [account 11]', async () => {
    const client = await registerVerified()
    const other = await login(t.app, client.email)
    const before = await accountOf(client)
    const email = newEmail()
    await ask(client, email)

    const response = await confirm(await mailedToken(t, email, 'email'), { as: client })

    expect({ status: response.status, text: response.text }).toEqual({ status: 204, text: '' })
    const after = await accountOf(client)
    expect(after).toMatchObject({ email, session_epoch: before.session_epoch + 1 })
    expect(after.email_verified_at).not.toBeNull()
    expect(after.password_hash).toBe(before.password_hash)
    expect(await rowOf(t, other)).toMatchObject({ end_reason: 'email_changed' })
    expect(await isLive(client)).toBe(true)
    const refreshed = await refresh(t.app, client.refreshToken).expect(200)
    expect(refreshed.body.user).toMatchObject({ email, emailVerified: true })
    expect(await loginWorks(email)).toBe(true)
    expectProblem(await tryLogin(t.app, client.email), 401, 'invalid_credentials')
    expect(await eventsOf(client)).toEqual(['email_change_requested', 'email_changed'])
  })

  test('with the password and without a session ends all sessions [account 11]', async () => {
    const client = await register(t.app)
    const email = newEmail()
    await ask(client, email)

    await confirm(await mailedToken(t, email, 'email'), { password }).expect(204)

    expect((await accountOf(client)).email).toBe(email)
    expect(await isLive(client)).toBe(false)
  })

  test('demands the account: refuses other accounts, wrong passwords, none, and ended sessions, and keeps the link [account 11]', async () => {
    const [client, other] = [await register(t.app), await register(t.app)]
    const ended = await login(t.app, client.email)
    await logout(t.app, ended.refreshToken)
    const email = newEmail()
    await ask(client, email)
    const token = await mailedToken(t, email, 'email')

    expectInvalid(await confirm(token, { as: other, password }))
    expectProblem(await confirm(token, { password: otherPassword }), 401, 'invalid_credentials')
    expectProblem(await confirm(token), 401, 'invalid_credentials')
    expectProblem(await confirm(token, { as: ended }), 401, 'session_ended')
    const headers = { Authorization: `${bearer(client)}x` }
    const broken = await send(t.app, 'POST /auth/email/confirm', { headers, body: { token, password } })
    expectProblem(broken, 401, 'access_token_invalid')

    expect((await accountOf(client)).email).toBe(client.email)
    await confirm(token, { as: client }).expect(204)
  })

  test('of 20 parallel confirmations one has effect [account 11]', async () => {
    const client = await registerVerified()
    const email = newEmail()
    await ask(client, email)
    const token = await mailedToken(t, email, 'email')

    const answers = await Promise.all(Array.from({ length: 20 }, () => confirm(token, { as: client })))

    expect(answers.map(({ status }) => status).sort()).toEqual([204, ...Array(19).fill(410)])
    expect((await templatesTo(client.email)).filter((name) => name === 'address-changed')).toHaveLength(1)
  })

  test('refuses an address that was taken in the meantime, and changes nothing [account 11]', async () => {
    const client = await registerVerified()
    const email = newEmail()
    await ask(client, email)
    const token = await mailedToken(t, email, 'email')
    await register(t.app, email)
    const before = await accountOf(client)

    expectInvalid(await confirm(token, { as: client }))

    expect(await accountOf(client)).toEqual(before)
    expect(await linksOf(client.userId, 'undo')).toEqual([])
    expect(await isLive(client)).toBe(true)
  })

  test('of two accounts that confirm one address at the same time, one gets it [account 11]', async () => {
    const [one, two] = [await register(t.app), await register(t.app)]
    const email = newEmail()
    const tokens = []
    for (const client of [one, two]) tokens.push(await newLink(t, 'email', { userId: client.userId, email }))

    const answers = await Promise.all([
      confirm(tokens[0] ?? '', { as: one }),
      confirm(tokens[1] ?? '', { as: two }),
    ])

    expect(answers.map(({ status }) => status).sort()).toEqual([204, 410])
  })

  test('gives a former address that was never verified no undo link, and reserves it for no user [account 11]', async () => {
    const client = await register(t.app)

    await change(client)

    const last = (await mailsTo(t, client.email)).at(-1)
    expect(last).toMatchObject({ template: 'address-changed', link: null })
    await register(t.app, client.email)
  })

  test('takes links for 24 hours by the clock of the database [account Links]', async () => {
    const client = await register(t.app)
    const email = newEmail()
    await ask(client, email)
    const token = await mailedToken(t, email, 'email')

    await t.pass(24 * 60 * 60 - 60)

    await confirm(token, { password }).expect(204)
    expect((await accountOf(client)).email).toBe(email)
  })

  const endings: typeof endingsOfLinks = { ...endingsOfLinks, '24 hours': () => t.pass(24 * 60 * 60 + 1) }
  test.each(Object.entries(endings))('refuses a link after %s [account Links]', async (_what, end) => {
    const client = await register(t.app)
    const email = newEmail()
    await ask(client, email)
    const token = await mailedToken(t, email, 'email')

    await end(t, client)

    for (const each of [password, otherPassword]) expectInvalid(await confirm(token, { password: each }))
    expect((await accountOf(client)).email).toBe(client.email)
  })
})

describe('a verified former address', () => {
  test('gets an undo link, and is reserved for every account while the link lives [account 11]', async () => {
    const [client, other] = [await registerVerified(), await register(t.app)]
    const older = await newLink(t, 'email', { userId: other.userId, email: client.email })

    await change(client)

    expect((await mailsTo(t, client.email)).at(-1)?.link).toMatchObject({ purpose: 'undo' })
    const body = { email: client.email, password }
    expectProblem(await send(t.app, 'POST /auth/register', { body }), 409, 'email_taken')
    expectInvalid(await confirm(older, { as: other }))
    const before = await templatesTo(client.email)
    for (const asker of [other, client]) await ask(asker, client.email).expect(202)
    expect(await templatesTo(client.email)).toEqual(before)
    const users = await t.db.rows(sql`SELECT id FROM users WHERE email = ${client.email}`)
    expect(users).toEqual([])
  })

  test('is refused like a taken one: alike, before the hashing, after as many statements, without counting a mail [account 11]', async () => {
    const [owner, taken] = [await registerLimited(), await registerLimited()]
    const reserved = newEmail()
    await newLink(limited, 'undo', { userId: owner.userId, email: reserved })
    await limited.mails() // The worker's statements would be counted too.
    const counts = await limited.db.rows(sql`SELECT key FROM attempts WHERE key LIKE 'mail-recipient:%'`)

    const seen: { answer?: ReturnType<typeof withoutNoise>; statements: number }[] = []
    for (const [i, email] of [reserved, taken.email].entries()) {
      const headers = { 'X-Forwarded-For': `192.0.2.${i}` }
      const tryIt = () => send(limited.app, 'POST /auth/register', { headers, body: { email, password } })
      let refused: request.Response | undefined
      const statements = await countStatements(limited.db, async () => {
        refused = await tryIt()
      })
      seen.push({ statements, ...(refused && { answer: withoutNoise(refused) }) })
    }

    expect(seen[0]?.answer).toMatchObject({ status: 409, body: { code: 'email_taken' } })
    expect(seen[1]).toEqual(seen[0])
    const after = await limited.db.rows(sql`SELECT key FROM attempts WHERE key LIKE 'mail-recipient:%'`)
    expect(after).toHaveLength(counts.length)
  })

  test('is refused also to a registration that was hashing its password while the change was confirmed [account 11]', async () => {
    const { userId } = await register(t.app)
    const email = newEmail()
    const { database } = t.db
    const { transaction } = database
    database.transaction = async (work) => {
      database.transaction = transaction
      await newLink(t, 'undo', { userId, email })
      return transaction(work)
    }

    expectProblem(await send(t.app, 'POST /auth/register', { body: { email, password } }), 409, 'email_taken')

    expect(await t.db.rows(sql`SELECT id FROM users WHERE email = ${email}`)).toEqual([])
    expect(await mailsTo(t, email)).toEqual([])
  })

  test('is reserved for 72 hours, as long as its undo link works, and free afterwards [account 11]', async () => {
    const [early, late] = [await registerVerified(), await registerVerified()]
    for (const client of [early, late]) await change(client)
    const tokens = await Promise.all([early, late].map(({ email }) => mailedToken(t, email, 'undo')))

    await t.pass(72 * 60 * 60 - 60)
    const body = { email: late.email, password }
    expectProblem(await send(t.app, 'POST /auth/register', { body }), 409, 'email_taken')
    await undo(tokens[0] ?? '').expect(204)
    await t.pass(61)

    expectInvalid(await undo(tokens[1] ?? ''))
    await register(t.app, late.email)
  })
})

describe('POST /auth/email/undo', () => {
  test('gives the address back, ends all sessions, and makes the password unusable until a reset [account 11]', async () => {
    const client = await registerVerified()
    const email = await change(client)
    const other = await login(t.app, email)
    const before = await accountOf(client)

    const response = await undo(await mailedToken(t, client.email, 'undo'))

    expect({ status: response.status, text: response.text }).toEqual({ status: 204, text: '' })
    expect(response.get('Set-Cookie')).toBeUndefined()
    const after = await accountOf(client)
    expect(after).toMatchObject({ email: client.email, session_epoch: before.session_epoch + 1 })
    expect(after.email_verified_at).not.toBeNull()
    for (const ended of [client, other])
      expect(await rowOf(t, ended)).toMatchObject({ end_reason: 'email_changed' })
    expect(await loginWorks(client.email)).toBe(false)
    expect(await loginWorks(email)).toBe(false)
    expect((await templatesTo(client.email)).at(-1)).toBe('address-restored')
    expect((await templatesTo(email)).at(-1)).toBe('change-undone')
    expect(await eventsOf(client)).toContain('email_change_undone')

    await reset(await mailedToken(t, client.email, 'reset'), otherPassword).expect(204)
    expect(await loginWorks(client.email, otherPassword)).toBe(true)
  })

  test('tells the address that lost the account when, but not where the owner is: it may be a thief who reads that [account 11]', async () => {
    const client = await registerVerified()
    const email = await change(client)

    await undo(await mailedToken(t, client.email, 'undo')).expect(204)

    const last = (await mailsTo(t, email)).at(-1)
    expect([last?.template, last?.params]).toEqual(['change-undone', {}])
    const mail = written('change-undone', undefined)
    for (const part of [mail.text, mail.html]) {
      expect(part).toContain('2026-11-28 12:00 UTC')
      expect(part).toContain('auth.example')
      expect(part).not.toContain('network address')
    }
  })

  test('stores a hash that takes as long to verify as any other one [account 11]', async () => {
    const client = await registerVerified()
    await change(client)

    await undo(await mailedToken(t, client.email, 'undo')).expect(204)

    expect((await accountOf(client)).password_hash).toMatch(/^\$2b\$04\$.{53}$/)
  })

  test('works once, and of 20 parallel uses one has effect [account 11]', async () => {
    const client = await registerVerified()
    await change(client)
    const token = await mailedToken(t, client.email, 'undo')

    const answers = await Promise.all(Array.from({ length: 20 }, () => undo(token)))

    expect(answers.map(({ status }) => status).sort()).toEqual([204, ...Array(19).fill(410)])
    expect((await templatesTo(client.email)).filter((name) => name === 'address-restored')).toHaveLength(1)
  })

  test('ends the later links of the account, such as those that the new address got [account 11]', async () => {
    const client = await registerVerified()
    const email = await change(client)
    const purposes = ['reset', 'verify', 'email'] as const
    for (const purpose of purposes) await newLink(t, purpose, { userId: client.userId, email })
    const before = await Promise.all(purposes.map((purpose) => linksOf(client.userId, purpose)))

    await undo(await mailedToken(t, client.email, 'undo')).expect(204)

    const after = await Promise.all(purposes.map((purpose) => linksOf(client.userId, purpose)))
    expect(before.map((links) => links.length)).toEqual([1, 1, 1])
    expect(after.map((links) => links.length)).toEqual([1, 0, 0]) // The reset of the undo lives.
    expect(after[0]).not.toEqual(before[0])
  })

  test('of a chain of changes each former address has its own undo, the newest first [account 11]', async () => {
    const client = await registerVerified()
    const second = await change(client)
    await t.pass(1)
    const third = await change(client)
    const [undoFirst, undoSecond] = [
      await mailedToken(t, client.email, 'undo'),
      await mailedToken(t, second, 'undo'),
    ]

    await undo(undoSecond).expect(204)
    expect((await accountOf(client)).email).toBe(second)
    await undo(undoFirst).expect(204)

    expect((await accountOf(client)).email).toBe(client.email)
    await register(t.app, third)
    await register(t.app, second)
  })

  test('of a chain of changes the undo of the oldest ends those of the later ones [account 11]', async () => {
    const client = await registerVerified()
    const second = await change(client)
    await t.pass(1)
    await change(client)
    const [undoFirst, undoSecond] = [
      await mailedToken(t, client.email, 'undo'),
      await mailedToken(t, second, 'undo'),
    ]

    await undo(undoFirst).expect(204)

    expectInvalid(await undo(undoSecond))
    expect((await accountOf(client)).email).toBe(client.email)
    expect(await linksOf(client.userId, 'undo')).toEqual([])
    await register(t.app, second)
  })

  test('an undo that ends a later undo link does not hold back the notice with it: it goes without the link [account Mail]', async () => {
    const client = await registerVerified()
    const second = await change(client)
    await t.pass(1)
    await change(client)
    await t.mails()
    // As if the SMTP server had told it to come back later.
    await t.db.rows(sql`UPDATE outbox SET done_at = NULL, due_at = now() + interval '1 minute'
      WHERE recipient = ${second} AND template = 'address-changed'`)

    await undo(await mailedToken(t, client.email, 'undo')).expect(204)

    await t.pass(61)
    const mail = (await t.mails()).find(
      ({ to, subject }) => to === second && subject.startsWith('The e-mail address of your account'),
    )
    expect(mail?.text).toContain('was changed on')
    expect(mail?.text).not.toContain('#undo')
  })

  test('mails the undo link and the reset after the undo, although the limit of their recipient is used up [account Mail]', async () => {
    const own = await createTestApp({ LIMIT_MAIL_RECIPIENT: '1/3600' })
    const client = await registerVerified(own)
    const forgot = { body: { email: client.email } }
    for (let i = 0; i < 2; i++) await send(own.app, 'POST /auth/password/forgot', forgot).expect(202)

    await change(client, newEmail(), own)
    await undo(await mailedToken(own, client.email, 'undo'), own).expect(204)
    await reset(await mailedToken(own, client.email, 'reset'), otherPassword, own).expect(204)
    await change(await login(own.app, client.email, otherPassword), newEmail(), own)

    const mails = (await mailsTo(own, client.email)).map(({ template, link }) => [template, link?.purpose])
    await own.close()
    const ofTemplate = (name: string) => mails.filter(([template]) => template === name)
    expect(ofTemplate('reset-password')).toHaveLength(1)
    expect(ofTemplate('address-restored')).toEqual([['address-restored', 'reset']])
    expect(ofTemplate('address-changed')).toEqual(Array(2).fill(['address-changed', 'undo']))
  })

  test('is refused for a disabled account, and works when the account is enabled again [account 11]', async () => {
    const client = await registerVerified()
    const email = await change(client)
    const token = await mailedToken(t, client.email, 'undo')
    await disable(t, client)

    expectInvalid(await undo(token))
    expect((await accountOf(client)).email).toBe(email)

    await enable(t, client)
    await undo(token).expect(204)
  })

  test('works after a change of the password, a logout everywhere and a reset, which do not end its link [account 11]', async () => {
    const client = await registerVerified()
    const email = await change(client)
    const token = await mailedToken(t, client.email, 'undo')
    const body = { currentPassword: password, newPassword: otherPassword }
    const changed = await send(t.app, 'POST /auth/password', { as: client, body }).expect(200)
    await send(t.app, 'POST /auth/logout-all', { as: changed.body }).expect(204)
    await reset(await newLink(t, 'reset', { userId: client.userId, email }), password).expect(204)

    await undo(token).expect(204)

    expect((await accountOf(client)).email).toBe(client.email)
  })

  test('refuses everything else alike: no token, a token of another purpose, a used one [account 11]', async () => {
    const client = await registerVerified()
    const email = newEmail()
    await ask(client, email)
    const emailToken = await mailedToken(t, email, 'email')
    await confirm(emailToken, { as: client }).expect(204)
    const used = await mailedToken(t, client.email, 'undo')
    await undo(used).expect(204)

    const answers = []
    for (const token of ['x', 'a.b.c', emailToken, used, client.accessToken, client.refreshToken])
      answers.push(await undo(token))

    for (const answer of answers) {
      expectInvalid(answer)
      expect({ ...answer.body, requestId: '' }).toEqual({ ...answers[0]?.body, requestId: '' })
    }
  })
})

describe('the mails', () => {
  const names = [
    'confirm-address',
    'change-requested',
    'address-taken',
    'address-changed',
    'address-restored',
  ]

  test.each(names)('%s says what happened, when and from where, in both parts', (name) => {
    const mail = written(name, 'https://auth.example/account#undo=t')

    for (const part of [mail.text, mail.html]) {
      expect(part).toContain('2026-11-28 12:00 UTC')
      expect(part).toContain('192.0.2.1')
      expect(part).toContain('Firefox')
      expect(part).toContain('auth.example')
    }
  })

  test('address-taken shows no link, although its row has one', () => {
    const mail = written('address-taken', 'https://auth.example/account#email=t')

    for (const part of [mail.text, mail.html]) expect(part).not.toContain('#email')
  })

  test('address-changed has a link only if the former address was verified', () => {
    const withLink = written('address-changed', 'https://auth.example/account#undo=t')
    const without = written('address-changed', undefined)

    expect(withLink.text).toContain('#undo=t')
    expect(without.text).not.toContain('undo')
    expect(without.html).not.toContain('<a ')
  })
})
