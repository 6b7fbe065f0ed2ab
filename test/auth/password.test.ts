import { createHmac, randomUUID } from 'node:crypto'
import http from 'node:http'
import { Worker } from 'node:worker_threads'
import { afterAll, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals'
import bcrypt from 'bcrypt'
import { sql } from 'drizzle-orm'
import request from 'supertest'
import { AuthError } from '../../src/auth/errors.ts'
import { createLogin } from '../../src/auth/login.ts'
import { createPasswords, type HashedPassword, type Passwords } from '../../src/auth/password.ts'
import { createSessionStore, type SessionState } from '../../src/store/sessions.ts'
import { type Credentials, createUserStore, type UserStore } from '../../src/store/users.ts'
import {
  bearer,
  type Client,
  createTestApp,
  newEmail,
  password,
  register,
  type TestApp,
} from '../support/app.ts'

let t: TestApp
let server: http.Server

beforeAll(async () => {
  t = await createTestApp()
  server = http.createServer(t.app)
  await new Promise<void>((done) => void server.listen(0, '127.0.0.1', done))
})
afterAll(async () => {
  server.close()
  await t.close()
})

const post = (path: string, body: object | string) => request(server).post(path).type('json').send(body)
const tryLogin = (email: string, withPassword: string) =>
  post('/auth/login', { email, password: withPassword })
const tryRegister = (withPassword: string, email = newEmail()) =>
  post('/auth/register', { email, password: withPassword })
const tryChange = (client: Client, newPassword: string, currentPassword = password) =>
  post('/auth/password', { currentPassword, newPassword }).set('Authorization', bearer(client))

interface UserRow {
  password_hash: string
  password_scheme: number
}
async function userRow(email: string): Promise<UserRow | undefined> {
  const [row] = await t.db.rows<UserRow>(
    sql`SELECT password_hash, password_scheme FROM users WHERE email = ${email}`,
  )
  return row
}
const sessionCount = async (email: string) => {
  const [row] = await t.db.rows<{ count: number }>(
    sql`SELECT count(*)::int AS count FROM sessions JOIN users ON users.id = user_id WHERE email = ${email}`,
  )
  return row?.count
}

/** What scheme 1 gives to bcrypt. Hashes in databases depend on it: to change it is to begin scheme 2. */
const prepared = (text: string) =>
  createHmac('sha384', 'express-auth-server password 1').update(text.normalize('NFC')).digest('base64')

const text64 = 'the quick brown fox jumps over the lazy dog & 0123456789 others!'
const text1000 = `${text64.repeat(16).slice(0, 999)}?`
const emoji15 = '🐶🍕🚀🎸🌵🦊🍩🏀🎲🧊🛶🪁🥝🦉🌋'

/** Passwords that are to be taken, and ones just beside them that are not the same. */
const allowed: [string, string, string[]][] = [
  ['15 code points', 'xkcd horse stap', ['xkcd horse sta', 'xkcd horse stapl', 'Xkcd horse stap']],
  ['15 emoji', emoji15, [emoji15.slice(0, -2)]],
  ['letters only', 'correcthorsestaple', []],
  ['upper case only', 'CORRECTHORSESTAPLE', ['correcthorsestaple']],
  ['digits only', '839201746582937', []],
  ['punctuation only', '!$%&/()=?*+#-_.:,', []],
  ['64 characters', text64, [text64.slice(0, 63)]],
  ['73 characters', `${text64} and more`, [`${text64} and mor!`, text64]],
  ['1000 characters', text1000, [`${text1000.slice(0, 999)}!`]],
  [
    'multi-byte text of more than 72 bytes',
    `${'пароль и ключ '.repeat(4)}а`,
    [`${'пароль и ключ '.repeat(4)}б`],
  ],
  [
    'spaces at both ends',
    '  rex the old dog  ',
    ['rex the old dog', '  rex the old dog', 'rex the old dog  '],
  ],
  ['spaces within', 'rex  the  old  dog', ['rex the old dog']],
  ['tabs and line feeds', 'rex the\told\ndog\n', ['rex the\told\ndog', 'rex the old dog ']],
  ['a ligature', 'the \ufb01ne old dog rex', ['the fine old dog rex']],
  ['precomposed letters', 'cr\u00e8me br\u00fbl\u00e9e \u00e0 point', ['creme brulee a point']],
]

/** Well-formed passwords that are not good enough for an account of this address. */
const rejected: [string, (email: string) => string][] = [
  ['nothing', () => ''],
  ['14 code points', () => 'xkcd horse sta'],
  ['14 emoji, which are 28 UTF-16 units', () => emoji15.slice(0, -2)],
  [
    '14 letters and marks in 17 code points, of which NFC makes 14',
    () => 'cr\u00e8me br\u00fbl\u00e9e x'.normalize('NFD'),
  ],
  ['a common password', () => '1qaz2wsx3edc4rfv'],
  ['a common password in upper case', () => '1QAZ2WSX3EDC4RFV'],
  ['a common password with digits after it', () => 'password1234567'],
  ['a common password with punctuation around it', () => '!!!!dragon!!!!!'],
  ['a common password, repeated', () => 'letmeinletmeinletmein'],
  ['the e-mail address', (email) => email],
  ['the e-mail address in upper case', (email) => email.toUpperCase()],
  ['the local part of the e-mail address', (email) => email.split('@')[0] ?? ''],
  ['the local part of the e-mail address, with digits after it', (email) => `${email.split('@')[0]}2026`],
  ['the name of the site, repeated', () => 'localhostlocalhost'],
  ['one character, repeated', () => 'aaaaaaaaaaaaaaa'],
  ['one emoji, repeated', () => '🐶'.repeat(15)],
  ['spaces', () => ' '.repeat(15)],
  ['a run upwards', () => 'abcdefghijklmno'],
  ['a run downwards', () => 'zyxwvutsrqponml'],
]

/** JSON strings that are no text: PostgreSQL or UTF-8 could not carry them, or bcrypt would stop at them. */
const illFormed: [string, string][] = [
  ['NUL', String.raw`"my dog is called\u0000 rex"`],
  ['NUL at the end', String.raw`"my dog is called rex\u0000"`],
  ['the first half of a surrogate pair', String.raw`"my dog is called rex \ud800"`],
  ['the second half of a surrogate pair', String.raw`"my dog is called rex \udc00"`],
  ['a surrogate pair the wrong way round', String.raw`"my dog is called rex \ude00\ud83d"`],
]

describe('D1 passwords that are taken', () => {
  test.each(allowed)(
    'D1 takes %s, at registration and login, as they were typed',
    async (_name, text, others) => {
      const email = newEmail()

      expect((await tryRegister(text, email)).status).toBe(201)

      expect((await tryLogin(email, text)).status).toBe(200)
      for (const other of others) expect((await tryLogin(email, other)).body.code).toBe('invalid_credentials')
      expect(await sessionCount(email)).toBe(2)
    },
  )

  test.each(allowed)('D1 takes %s as the new password', async (_name, text, others) => {
    const client = await register(t.app)

    expect((await tryChange(client, text)).status).toBe(204)

    expect((await tryLogin(client.email, text)).status).toBe(200)
    for (const other of [password, ...others])
      expect((await tryLogin(client.email, other)).body.code).toBe('invalid_credentials')
  })

  test('D1 tells apart two passwords that share their first 72 bytes', async () => {
    const shared = 'a dog, a cat, a horse, a cow, a hen, and a mouse walked into a long bar. '.slice(0, 72)
    const email = newEmail()
    await tryRegister(`${shared}one`, email).expect(201)

    expect((await tryLogin(email, `${shared}two`)).body.code).toBe('invalid_credentials')
    expect((await tryLogin(email, shared)).body.code).toBe('invalid_credentials')
    expect((await tryLogin(email, `${shared}one`)).status).toBe(200)
  })

  test.each([
    ['NFC', 'NFD'],
    ['NFD', 'NFC'],
  ])('D1 a password set in %s is the same in %s', async (one, other) => {
    const text = 'cr\u00e8me br\u00fbl\u00e9e \u00e0 point'
    const email = newEmail()
    expect(text.normalize(one)).not.toBe(text.normalize(other))

    await tryRegister(text.normalize(one), email).expect(201)

    expect((await tryLogin(email, text.normalize(other))).status).toBe(200)
    expect((await tryLogin(email, text.normalize(one))).status).toBe(200)
  })

  test('D1 an NFC password can be given in NFD as the current one', async () => {
    const email = newEmail()
    const text = 'cr\u00e8me br\u00fbl\u00e9e \u00e0 point'
    const { body } = await tryRegister(text, email).expect(201)

    const response = await tryChange(body, 'another dog named rex', text.normalize('NFD'))

    expect(response.status).toBe(204)
    expect((await tryLogin(email, 'another dog named rex')).status).toBe(200)
  })
})

describe('D1 passwords that are refused', () => {
  const longEmail = () => newEmail().replace('@', '-somebody@')

  test.each(rejected)('D1 %s: 400 password_rejected at registration, and no user', async (_name, make) => {
    const email = longEmail()
    const text = make(email)

    const response = await tryRegister(text, email)

    expect(response.status).toBe(400)
    expect(response.body).toMatchObject({
      code: 'password_rejected',
      errors: [{ path: 'password', message: expect.any(String) }],
    })
    if (text !== '') expect(response.text).not.toContain(text)
    expect(response.get('Set-Cookie')).toBeUndefined()
    expect(await userRow(email)).toBeUndefined()
  })

  test.each(rejected)(
    'D1 %s: 400 password_rejected as the new password, and no change',
    async (_name, make) => {
      const client = await register(t.app, longEmail())
      const before = await userRow(client.email)
      const text = make(client.email)

      const response = await tryChange(client, text)

      expect(response.status).toBe(400)
      expect(response.body).toMatchObject({
        code: 'password_rejected',
        errors: [{ path: 'newPassword', message: expect.any(String) }],
      })
      if (text !== '') expect(response.text).not.toContain(text)
      expect(await userRow(client.email)).toEqual(before)
    },
  )

  test.each(illFormed)('D1 %s: 400 invalid_request at registration, and no user', async (_name, json) => {
    const email = newEmail()

    const response = await post('/auth/register', `{"email":"${email}","password":${json}}`)

    expect(response.status).toBe(400)
    expect(response.body).toMatchObject({ code: 'invalid_request', errors: [{ path: 'password' }] })
    expect(await userRow(email)).toBeUndefined()
  })

  test.each(illFormed)('D1 %s: 400 invalid_request at login, and no session', async (_name, json) => {
    const { email } = await register(t.app)

    const response = await post('/auth/login', `{"email":"${email}","password":${json}}`)

    expect(response.status).toBe(400)
    expect(response.body).toMatchObject({ code: 'invalid_request', errors: [{ path: 'password' }] })
    expect(await sessionCount(email)).toBe(1)
  })

  test.each(illFormed)('D1 %s: 400 invalid_request as either password of a change', async (_name, json) => {
    const client = await register(t.app)
    const before = await userRow(client.email)
    const change = (body: string) => post('/auth/password', body).set('Authorization', bearer(client))

    const asNew = await change(`{"currentPassword":"${password}","newPassword":${json}}`)
    const asCurrent = await change(`{"currentPassword":${json},"newPassword":"another dog named rex"}`)

    expect(asNew.status).toBe(400)
    expect(asNew.body).toMatchObject({ code: 'invalid_request', errors: [{ path: 'newPassword' }] })
    expect(asCurrent.status).toBe(400)
    expect(asCurrent.body).toMatchObject({ code: 'invalid_request', errors: [{ path: 'currentPassword' }] })
    expect(await userRow(client.email)).toEqual(before)
  })

  // It happens in the thread that serves everybody, and anyone may register. Processor time, of which others take none.
  test.each([
    ['a repetition that breaks at its end', `${'a'.repeat(8000)}b`],
    ['a long unit that repeats nothing', `${'ab'.repeat(4000)}c`],
    ['digits between two letters', `a${'1'.repeat(8000)}a`],
  ])('D1 judges 8000 characters within milliseconds: %s', async (_name, text) => {
    const passwords = createPasswords({ cost: 4, minLength: 15, context: [] })
    await passwords.hash(password)
    passwords.problem(text, 'rex@example.com')
    const before = process.cpuUsage()

    for (let times = 0; times < 10; times++) passwords.problem(text, 'rex@example.com')

    const { user, system } = process.cpuUsage(before)
    expect((user + system) / 1000 / 10).toBeLessThan(40)
    await passwords.close()
  })

  test('D1 the least length is a setting, and login asks for none', async () => {
    const short = createPasswords({ cost: 4, minLength: 8, context: [] })
    const email = newEmail()

    expect(short.problem('xkcd hor', email)).toBeUndefined()
    expect(short.problem('xkcd ho', email)).toBe('must have 8 characters or more')
    expect((await tryLogin(email, 'x')).body.code).toBe('invalid_credentials')
    await short.close()
  })
})

describe('what is stored', () => {
  test('a hash by bcrypt at the configured cost, and its scheme', async () => {
    const { email } = await register(t.app)

    const row = await userRow(email)

    expect(row).toEqual({
      password_hash: expect.stringMatching(/^\$2b\$04\$[./A-Za-z0-9]{53}$/),
      password_scheme: 1,
    })
    expect(JSON.stringify(row)).not.toContain(password)
    expect(bcrypt.compareSync(prepared(password), row?.password_hash ?? '')).toBe(true)
  })

  test('is salted: one password of two users has two hashes', async () => {
    const [one, other] = [await register(t.app), await register(t.app)]

    expect((await userRow(one.email))?.password_hash).not.toBe((await userRow(other.email))?.password_hash)
  })
})

describe('rehash at login', () => {
  const olderHash = bcrypt.hashSync(prepared(password), 5)

  async function registerWith(passwordHash: string, passwordScheme = 1): Promise<string> {
    const { email } = await register(t.app)
    await t.db.rows(
      sql`UPDATE users SET password_hash = ${passwordHash}, password_scheme = ${passwordScheme} WHERE email = ${email}`,
    )
    return email
  }

  test('makes a hash of another cost one of the cost that is configured', async () => {
    const email = await registerWith(olderHash)

    expect((await tryLogin(email, password)).status).toBe(200)

    const row = await userRow(email)
    expect(row?.password_hash).toMatch(/^\$2b\$04\$/)
    expect(bcrypt.compareSync(prepared(password), row?.password_hash ?? '')).toBe(true)
    expect((await tryLogin(email, password)).status).toBe(200)
    expect(await userRow(email)).toEqual(row)
  })

  test('makes a hash of another scheme one of the scheme of today', async () => {
    const ofToday = bcrypt.hashSync(prepared(password), 4)
    const email = await registerWith(ofToday, 0)

    expect((await tryLogin(email, password)).status).toBe(200)

    const row = await userRow(email)
    expect(row?.password_scheme).toBe(1)
    expect(row?.password_hash).not.toBe(ofToday)
  })

  test('leaves a hash of today as it is', async () => {
    const { email } = await register(t.app)
    const before = await userRow(email)

    expect((await tryLogin(email, password)).status).toBe(200)

    expect(await userRow(email)).toEqual(before)
  })

  test('happens on success only', async () => {
    const email = await registerWith(olderHash)
    const disabled = await registerWith(olderHash)
    await t.db.rows(sql`UPDATE users SET disabled_at = now() WHERE email = ${disabled}`)

    expect((await tryLogin(email, 'another dog named rex')).status).toBe(401)
    expect((await tryLogin(disabled, password)).status).toBe(401)

    expect((await userRow(email))?.password_hash).toBe(olderHash)
    expect((await userRow(disabled))?.password_hash).toBe(olderHash)
  })

  describe('in a race', () => {
    let passwords: Passwords
    beforeAll(() => {
      passwords = createPasswords({ cost: 4, minLength: 15, context: [] })
    })
    afterAll(() => passwords.close())

    /** A login of the true stores, with `duringHash` happening while the new hash is made. */
    const loginWhile = (email: string, duringHash: () => Promise<unknown>) =>
      createLogin({
        users: createUserStore(t.db),
        sessions: createSessionStore({
          ...t.db,
          limits: { idleSeconds: 100, absoluteSeconds: 100, graceSeconds: 0, perUser: 9 },
        }),
        passwords: {
          ...passwords,
          async hash(text) {
            await duringHash()
            return passwords.hash(text)
          },
        },
        prepareGrant: () => (state: SessionState) => state as never,
        describeSession: async (device) => ({ ...device, id: randomUUID(), replaces: undefined }),
      })(email, password, { userAgent: undefined, ip: undefined, presentedToken: undefined })

    test('does not overwrite a password that was changed meanwhile', async () => {
      const email = await registerWith(olderHash)
      const changed: HashedPassword = await passwords.hash('another dog named rex')

      await loginWhile(email, () =>
        t.db.rows(sql`UPDATE users SET password_hash = ${changed.passwordHash} WHERE email = ${email}`),
      )

      expect(await userRow(email)).toEqual({ password_hash: changed.passwordHash, password_scheme: 1 })
      expect((await tryLogin(email, 'another dog named rex')).status).toBe(200)
      expect((await tryLogin(email, password)).status).toBe(401)
    })

    test('of an overloaded queue leaves the old hash, and the login succeeds', async () => {
      const email = await registerWith(olderHash)

      const started = await loginWhile(email, async () => {
        throw new AuthError('overloaded')
      })

      expect(started).toMatchObject({ user: { email } })
      expect((await userRow(email))?.password_hash).toBe(olderHash)
    })
  })
})

describe('D2 unknown, wrong and disabled cannot be told apart', () => {
  test('D2 by status, body or headers, and none starts a session', async () => {
    const known = await register(t.app)
    const disabled = await register(t.app)
    await t.db.rows(sql`UPDATE users SET disabled_at = now() WHERE email = ${disabled.email}`)
    const comparable = (response: request.Response) => {
      const { requestId, ...body } = response.body
      const { date, 'x-request-id': header, ...headers } = response.headers
      expect(requestId).toBe(header)
      return { status: response.status, body, headers }
    }

    const unknown = comparable(await tryLogin(newEmail(), password))
    const others = [
      await tryLogin(known.email, 'another dog named rex'),
      await tryLogin(disabled.email, password),
      await tryLogin(disabled.email, 'another dog named rex'),
    ].map(comparable)

    expect(unknown).toMatchObject({ status: 401, body: { code: 'invalid_credentials' } })
    expect(unknown.headers['set-cookie']).toBeUndefined()
    for (const other of others) expect(other).toEqual(unknown)
    expect(await sessionCount(known.email)).toBe(1)
    expect(await sessionCount(disabled.email)).toBe(1)
  })

  describe('by the work they take', () => {
    const cost = 7
    const runs: string[] = []
    let work = 0
    let passwords: Passwords
    let account: Credentials | undefined
    let login: (email: string, password: string) => Promise<unknown>

    // The thread pool runs its tasks in this thread, and bcrypt says how much it works: 2^cost for every call.
    beforeAll(async () => {
      const spend = (spent: number) => {
        work += 2 ** spent
      }
      const counted = {
        getRounds: bcrypt.getRounds,
        hashSync(data: string, rounds: number) {
          spend(rounds)
          return bcrypt.hashSync(data, rounds)
        },
        compareSync(data: string, hash: string) {
          spend(bcrypt.getRounds(hash))
          return bcrypt.compareSync(data, hash)
        },
      }
      jest.resetModules()
      jest.unstable_mockModule('bcrypt', () => ({ ...counted, default: counted }))
      // @ts-ignore: a module in plain JavaScript
      const worker = await import('../../src/auth/password-worker.js')
      jest.unstable_mockModule('piscina', () => ({
        Piscina: class {
          async run(task: never, { name }: { name: 'hash' | 'verify' }) {
            runs.push(name)
            return worker[name](task)
          }
          async destroy() {}
        },
      }))
      const { createPasswords: createCounted } = await import('../../src/auth/password.ts')
      const { createLogin: createCountedLogin } = await import('../../src/auth/login.ts')
      passwords = createCounted({ cost, minLength: 15, context: [] })
      const counting = createCountedLogin({
        users: { credentialsByEmail: async () => account } as unknown as UserStore,
        sessions: { start: async () => undefined } as never,
        passwords,
        prepareGrant: () => (state: SessionState) => state as never,
        describeSession: async (device) => ({ ...device, id: 'id', replaces: undefined }),
      })
      login = (email, text) =>
        counting(email, text, { userAgent: undefined, ip: undefined, presentedToken: undefined })
    })
    afterAll(() => {
      jest.unstable_unmockModule('bcrypt')
      jest.unstable_unmockModule('piscina')
    })
    beforeEach(() => {
      runs.length = 0
      work = 0
    })

    const accountWith = (hashCost: number, disabled: boolean): Credentials => ({
      userId: 'user',
      passwordHash: bcrypt.hashSync(prepared(password), hashCost),
      passwordScheme: 1,
      disabled,
      epoch: 0,
    })

    test('D2 an unknown account takes one verification of the configured cost, and no other task', async () => {
      expect(await passwords.verify(password, undefined)).toBe(false)

      expect(runs).toEqual(['verify'])
      expect(work).toBe(2 ** cost)
    })

    test.each([
      ['unknown', undefined, password],
      ['wrong', () => accountWith(cost, false), 'another dog named rex'],
      ['wrong, hash of a cost one lower', () => accountWith(cost - 1, false), 'another dog named rex'],
      ['wrong, hash of the least cost', () => accountWith(4, false), 'another dog named rex'],
      ['disabled, wrong', () => accountWith(cost, true), 'another dog named rex'],
      ['disabled, wrong, hash of the least cost', () => accountWith(4, true), 'another dog named rex'],
      ['disabled, right', () => accountWith(cost, true), password],
      ['disabled, right, hash of a cost one lower', () => accountWith(cost - 1, true), password],
      ['disabled, right, hash of the least cost', () => accountWith(4, true), password],
    ])(
      'D2 %s: a refused login takes the work of the configured cost, in one task',
      async (_name, make, text) => {
        account = make?.()

        await expect(login('somebody@example.com', text)).rejects.toMatchObject({
          code: 'invalid_credentials',
        })

        expect(runs).toEqual(['verify'])
        expect(work).toBe(2 ** cost)
      },
    )

    test('a right password of an account with a hash of today takes no more than that', async () => {
      expect(await passwords.verify(password, accountWith(cost, false))).toBe(true)

      expect(work).toBe(2 ** cost)
    })
  })
})

describe('the pool of threads', () => {
  test('refuses what its queue cannot hold, does what it accepted, and works on', async () => {
    const passwords = createPasswords({ cost: 4, minLength: 15, context: [] })
    try {
      const flood = await Promise.allSettled(Array.from({ length: 300 }, () => passwords.hash(password)))

      const done = flood.filter((result) => result.status === 'fulfilled')
      const refused = flood.filter((result) => result.status === 'rejected')
      expect(done.length).toBeGreaterThan(0)
      expect(refused.length).toBeGreaterThan(0)
      for (const { reason } of refused) {
        expect(reason).toBeInstanceOf(AuthError)
        expect(reason.code).toBe('overloaded')
      }
      for (const { value } of done)
        expect(bcrypt.compareSync(prepared(password), value.passwordHash)).toBe(true)
      const account = { userId: 'user', disabled: false, epoch: 0, ...(await passwords.hash(password)) }
      expect(await passwords.verify(password, account)).toBe(true)
      expect(await passwords.verify('another dog named rex', account)).toBe(false)
    } finally {
      await passwords.close()
    }
  })

  test('a verification is refused alike, for known and unknown accounts', async () => {
    const passwords = createPasswords({ cost: 4, minLength: 15, context: [] })
    try {
      const account = { userId: 'user', disabled: false, epoch: 0, ...(await passwords.hash(password)) }
      const verifyMany = async (of: Credentials | undefined) => {
        const flood = await Promise.allSettled(
          Array.from({ length: 300 }, () => passwords.verify(password, of)),
        )
        const codes = flood.map((result) =>
          result.status === 'rejected' ? result.reason.code : result.value,
        )
        return [...new Set(codes)]
      }

      expect((await verifyMany(account)).sort()).toEqual(['overloaded', true])
      expect((await verifyMany(undefined)).sort()).toEqual([false, 'overloaded'])
    } finally {
      await passwords.close()
    }
  })

  test('ends its threads when it is closed', async () => {
    const messages = jest.spyOn(Worker.prototype, 'postMessage')
    const passwords = createPasswords({ cost: 4, minLength: 15, context: [] })
    await passwords.hash(password)
    const threads = new Set(messages.mock.contexts as Worker[])
    messages.mockRestore()
    expect(threads.size).toBeGreaterThan(0)
    for (const thread of threads) expect(thread.threadId).toBeGreaterThan(0)

    await passwords.close()

    for (const thread of threads) expect(thread.threadId).toBe(-1)
  })

  test('leaves nobody waiting when it is closed', async () => {
    const passwords = createPasswords({ cost: 4, minLength: 15, context: [] })
    const waiting = Promise.allSettled(Array.from({ length: 20 }, () => passwords.hash(password)))

    await passwords.close()

    const outcomes = await waiting
    expect(outcomes.filter(({ status }) => status === 'rejected').length).toBeGreaterThan(0)
  })
})
