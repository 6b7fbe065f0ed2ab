import { createHmac, randomUUID } from 'node:crypto'
import { Worker } from 'node:worker_threads'
import { afterAll, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals'
import bcrypt from 'bcrypt'
import { sql } from 'drizzle-orm'
import type request from 'supertest'
import { createLogin } from '../../src/auth/login.ts'
import {
  createPasswords,
  type HashedPassword,
  type Passwords,
  type Threads,
} from '../../src/auth/password.ts'
import { isPredictable } from '../../src/auth/password-judge.js'
import { hash, verify } from '../../src/auth/password-worker.js'
import { AuthError } from '../../src/errors.ts'
import { createSessionStore, type SessionState } from '../../src/store/sessions.ts'
import { type Credentials, createUserStore, type UserStore } from '../../src/store/users.ts'
import {
  type Client,
  clientOf,
  disable,
  expectProblem,
  newEmail,
  password,
  register,
  send,
  tryLogin as tryLoginTo,
  useTestApp,
} from '../support/app.ts'
import { notUnderTest, someDevice } from '../support/fakes.ts'

const otherPassword = 'another dog named rex'

const t = useTestApp()

const tryLogin = (email: string, withPassword = password) => tryLoginTo(t.app, email, withPassword)
const tryRegister = (withPassword: string, email = newEmail()) =>
  send(t.app, 'POST /auth/register', { body: { email, password: withPassword } })
const tryChange = (as: Client, newPassword: string, currentPassword = password) =>
  send(t.app, 'POST /auth/password', { as, body: { currentPassword, newPassword } })

async function expectLogins(email: string, right: string, wrong: string[]) {
  expect((await tryLogin(email, right)).status).toBe(200)
  for (const text of wrong) expectProblem(await tryLogin(email, text), 401, 'invalid_credentials')
}

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

/** The text that scheme 1 passes to bcrypt. Stored hashes depend on it, so a change needs a scheme 2. */
const prepared = (text: string) =>
  createHmac('sha384', 'express-auth-server password 1').update(text.normalize('NFC')).digest('base64')

const text64 = 'the quick brown fox jumps over the lazy dog & 0123456789 others!'
const text1000 = `${text64.repeat(16).slice(0, 999)}?`
const emoji15 = '🐶🍕🚀🎸🌵🦊🍩🏀🎲🧊🛶🪁🥝🦉🌋'

/** Passwords that must be accepted, and similar ones that are different. */
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

/** Well-formed passwords that are too weak for an account of this address. */
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

/** Refused for `john.smith@gmail.com` at `auth.example.com`. */
const predictable: [string, string[]][] = [
  [
    'a sequence that begins again',
    ['123456789012345', '890123456789012', 'yzabcdefghijklmn', '0987654321098765'],
  ],
  [
    'walks over the keyboard',
    ['qwertyuiopasdfghjkl', 'poiuytrewqlkjhgfdsa', 'zaq12wsxcde34rfv', 'azertyuiopqsdfgh'],
  ],
  ['walks over two rows in turn', ['1q2w3e4r5t6y7u8i', 'q1w2e3r4t5y6u7i8', '1qa2ws3ed4rf5tg6']],
  ['walks over a Cyrillic keyboard', ['йцукенгшщзфывапролд', 'фывапролджячсмить']],
  [
    'phrases that are printed as examples',
    ['correct horse battery staple', 'Correct-Horse-Battery-Staple!', 'to be or not to be, that is'],
  ],
  [
    'words of the address',
    ['john.smith12345', 'smith.john.2024!', 'J.o.h.n.S.m.i.t.h.1', 'johnsmithjohnsmith', 'gmail john smith'],
  ],
  ['words of the host', ['auth.example.com!', 'example example 1', 'exampleauth2026!']],
  [
    'common words, repeated',
    ['passwordpassword', 'trustno1trustno1', 'p@ssw0rdp@ssw0rd', 'football football'],
  ],
  ['common words, padded', ['!!!!!dragon!!!!!', 'passwordxxxxxxxx', 'password       ', 'Welcome12345678!']],
  ['common words with separators', ['p-a-s-s-w-o-r-d-1-2-3', 'qwerty asdfgh zxcvbn', '12 34 56 78 90 12']],
  [
    'common words in other letters',
    ['ｐａｓｓｗｏｒｄ１２３４５６７', 'pàsswórdpàsswórd', 'drowssapdrowssap'],
  ],
  [
    'dates, days and months',
    ['2001-01-01 2002-02-02', '12.04.1985-john', 'january2024january', 'mondaytuesdaywednesday'],
  ],
  [
    'digits that people know by heart',
    ['314159265358979', '2718281828459045', '1123581321345589', '2468101214161820'],
  ],
  [
    'walks over the keyboard with and without shift',
    ['!QAZ2wsx#EDC4rfv', '@WSX1qaz$RFV3edc', '1qaz@WSX3edc$RFV', '!@#$%^&*()!@#$%^'],
  ],
  [
    'two texts whose characters are in turn',
    ['1a2b3c4d5e6f7g8h', 'a1b2c3d4e5f6g7h8', '!a@b#c$d%e^f&g*h', '1p2a3s4s5w6o7r8d', '1z2y3x4w5v6u7t8s'],
  ],
  [
    'walks from both ends of a row',
    ['qpwoeirutyalskdj', 'zmxncbvalskdjfhg', '1029384756qpwoei', 'QPWOEIRUTYqpwoei'],
  ],
  [
    'common words with letters of another script that look the same',
    [
      'passwordp\u0430ssword',
      '\u0440\u0430ssw\u043erd12345678',
      'PASSWO\u0420D p\u0430ssword',
      'passw\u03bfrdpassw\u03bfrd',
    ],
  ],
  [
    'phrases of very common words',
    [
      'iloveyousomuch12',
      'iamthebestiamthe',
      "I'm the best, I'm the",
      'godisgoodallthetime',
      'happybirthdaytoyou',
      'nevergonnagiveyouup',
      'twinkletwinklelittlestar',
      'tobeornottobe12345',
      'ilovemymother123',
      'i want to be with you',
      'Youaremysunshine!',
    ],
  ],
  [
    'words of a well-known set',
    [
      'redorangeyellowgreen',
      'onetwothreefourfive',
      'Blue Green Pink Black',
      'red orange yellow green blue',
      'winterspringsummer1',
    ],
  ],
  ['blocks of equal characters', ['111111222222333', 'aaaabbbbccccdddd', 'abcabcabcabcabc']],
]

/** JSON strings that PostgreSQL or UTF-8 cannot represent, or at which bcrypt would stop. */
const illFormed: [string, string][] = [
  ['NUL', String.raw`"my dog is called\u0000 rex"`],
  ['NUL at the end', String.raw`"my dog is called rex\u0000"`],
  ['the first half of a surrogate pair', String.raw`"my dog is called rex \ud800"`],
  ['the second half of a surrogate pair', String.raw`"my dog is called rex \udc00"`],
  ['a surrogate pair the wrong way round', String.raw`"my dog is called rex \ude00\ud83d"`],
]

describe('passwords that are accepted [D1]', () => {
  test.each(allowed)(
    'accepts %s as it was typed, at registration and as the new password [D1]',
    async (_name, text, others) => {
      const email = newEmail()
      await tryRegister(text, email).expect(201)
      await expectLogins(email, text, others)
      expect(await sessionCount(email)).toBe(2)

      const client = await register(t.app)
      await tryChange(client, text).expect(200)
      await expectLogins(client.email, text, [password, ...others])
    },
  )

  test('two passwords with the same first 72 bytes are different [D1]', async () => {
    const shared = 'a dog, a cat, a horse, a cow, a hen, and a mouse walked into a long bar. '.slice(0, 72)
    const email = newEmail()
    await tryRegister(`${shared}one`, email).expect(201)

    await expectLogins(email, `${shared}one`, [`${shared}two`, shared])
  })

  test.each([
    ['NFC', 'NFD'],
    ['NFD', 'NFC'],
  ])('a password that was set in %s is the same in %s [D1]', async (one, other) => {
    const text = 'cr\u00e8me br\u00fbl\u00e9e \u00e0 point'
    const email = newEmail()
    expect(text.normalize(one)).not.toBe(text.normalize(other))

    const client = clientOf(await tryRegister(text.normalize(one), email).expect(201))

    await tryLogin(email, text.normalize(other)).expect(200)
    await tryLogin(email, text.normalize(one)).expect(200)
    await tryChange(client, otherPassword, text.normalize(other)).expect(200)
  })
})

describe('passwords that are refused [D1]', () => {
  const longEmail = () => newEmail().replace('@', '-somebody@')

  function expectRejected(response: request.Response, path: string, text: string) {
    expectProblem(response, 400, 'password_rejected')
    expect(response.body.errors).toEqual([{ path, message: expect.any(String) }])
    if (text !== '') expect(response.text).not.toContain(text)
    expect(response.get('Set-Cookie')).toBeUndefined()
  }

  test.each(rejected)(
    '%s: 400 password_rejected at registration and as the new password [D1]',
    async (_name, make) => {
      const email = longEmail()
      const client = await register(t.app, longEmail())
      const before = await userRow(client.email)

      expectRejected(await tryRegister(make(email), email), 'password', make(email))
      expectRejected(await tryChange(client, make(client.email)), 'newPassword', make(client.email))

      expect(await userRow(email)).toBeUndefined()
      expect(await userRow(client.email)).toEqual(before)
    },
  )

  test.each(predictable)('refuses %s [D1]', (_name, texts) => {
    const context = ['auth.example.com', 'john.smith@gmail.com']

    const accepted = texts.filter((text) => !isPredictable({ password: text, minLength: 15, context }))

    expect(accepted).toEqual([])
  })

  test.each(illFormed)('%s: 400 invalid_request in every password of a body [D1]', async (_name, json) => {
    const as = await register(t.app)
    const [email, before] = [newEmail(), await userRow(as.email)]

    for (const [route, path, body] of [
      ['/auth/register', 'password', `{"email":"${email}","password":${json}}`],
      ['/auth/login', 'password', `{"email":"${as.email}","password":${json}}`],
      ['/auth/password', 'newPassword', `{"currentPassword":"${password}","newPassword":${json}}`],
      ['/auth/password', 'currentPassword', `{"currentPassword":${json},"newPassword":"${otherPassword}"}`],
    ] as const) {
      const response = await send(t.app, `POST ${route}`, { as, body })
      expectProblem(response, 400, 'invalid_request')
      expect(response.body.errors).toMatchObject([{ path }])
    }

    expect([await userRow(email), await userRow(as.email)]).toEqual([undefined, before])
    expect(await sessionCount(as.email)).toBe(1)
  })

  test('accepts passphrases in which less common words follow common words [D1]', () => {
    const texts = [
      'my dog is called rex',
      'rex the old dog',
      'another dog named rex',
      "we don't eat purple cacti",
    ]

    expect(texts.filter((text) => isPredictable({ password: text, minLength: 15, context: [] }))).toEqual([])
  })

  test('the minimum length is a setting, and a login has no minimum [D1]', async () => {
    const short = createPasswords({ cost: 4, minLength: 8, context: [] })
    const email = newEmail()

    expect(await short.problem('xkcd hor', email)).toBeUndefined()
    expect(await short.problem('password', email)).toMatch(/easy to guess/)
    expect(await short.problem('xkcd ho', email)).toBe('must have 8 characters or more')
    expect((await tryLogin(email, 'x')).body.code).toBe('invalid_credentials')
    await short.close()
  })
})

describe('what is stored', () => {
  test('stores a bcrypt hash of the configured cost, and its scheme', async () => {
    const { email } = await register(t.app)

    const row = await userRow(email)

    expect(row).toEqual({
      password_hash: expect.stringMatching(/^\$2b\$04\$[./A-Za-z0-9]{53}$/),
      password_scheme: 1,
    })
    expect(JSON.stringify(row)).not.toContain(password)
    expect(bcrypt.compareSync(prepared(password), row?.password_hash ?? '')).toBe(true)
  })

  test('stores two hashes if two users have the same password', async () => {
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

  test('replaces a hash of another cost by one of the configured cost', async () => {
    const email = await registerWith(olderHash)

    await tryLogin(email).expect(200)

    const row = await userRow(email)
    expect(row?.password_hash).toMatch(/^\$2b\$04\$/)
    expect(bcrypt.compareSync(prepared(password), row?.password_hash ?? '')).toBe(true)
    await tryLogin(email).expect(200)
    expect(await userRow(email)).toEqual(row)
  })

  test('replaces a hash of another scheme by one of the current scheme', async () => {
    const ofToday = bcrypt.hashSync(prepared(password), 4)
    const email = await registerWith(ofToday, 0)

    await tryLogin(email).expect(200)

    const row = await userRow(email)
    expect(row?.password_scheme).toBe(1)
    expect(row?.password_hash).not.toBe(ofToday)
  })

  test('keeps a current hash', async () => {
    const { email } = await register(t.app)
    const before = await userRow(email)

    await tryLogin(email).expect(200)

    expect(await userRow(email)).toEqual(before)
  })

  test('happens only after a successful login', async () => {
    const email = await registerWith(olderHash)
    const disabled = await registerWith(olderHash)
    await t.db.rows(sql`UPDATE users SET disabled_at = now() WHERE email = ${disabled}`)

    expect((await tryLogin(email, otherPassword)).status).toBe(401)
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

    /** A login with the real stores. `duringHash` runs while the new hash is made. */
    const loginWhile = (email: string, duringHash: () => Promise<unknown>) =>
      createLogin({
        ...notUnderTest,
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
        prepareDeviceGrant: () => (state: SessionState) => state as never,
        newSessionFor: async ({ ip, userAgent }, amr) => ({
          ...{ id: randomUUID(), ip, userAgent, amr, replaces: undefined },
        }),
      })(email, password, someDevice)

    test('does not overwrite a password that changed in the meantime [G4]', async () => {
      const email = await registerWith(olderHash)
      const changed: HashedPassword = await passwords.hash(otherPassword)

      await loginWhile(email, () =>
        t.db.rows(sql`UPDATE users SET password_hash = ${changed.passwordHash} WHERE email = ${email}`),
      )

      expect(await userRow(email)).toEqual({ password_hash: changed.passwordHash, password_scheme: 1 })
      expect((await tryLogin(email, otherPassword)).status).toBe(200)
      expect((await tryLogin(email, password)).status).toBe(401)
    })

    test('keeps the old hash if the queue is full, and the login succeeds', async () => {
      const email = await registerWith(olderHash)

      const started = await loginWhile(email, async () => {
        throw new AuthError('overloaded')
      })

      expect(started).toMatchObject({ grant: { user: { email } } })
      expect((await userRow(email))?.password_hash).toBe(olderHash)
    })
  })
})

describe('unknown, wrong and disabled cannot be distinguished [D2]', () => {
  test('by status, body or headers, and none starts a session [D2]', async () => {
    const known = await register(t.app)
    const disabled = await register(t.app)
    await disable(t, disabled)
    const comparable = (response: request.Response) => {
      const { requestId, ...body } = response.body
      const { date, 'x-request-id': header, ...headers } = response.headers
      expect(requestId).toBe(header)
      return { status: response.status, body, headers }
    }

    const unknown = comparable(await tryLogin(newEmail(), password))
    const others = [
      await tryLogin(known.email, otherPassword),
      await tryLogin(disabled.email, password),
      await tryLogin(disabled.email, otherPassword),
    ].map(comparable)

    expect(unknown).toMatchObject({ status: 401, body: { code: 'invalid_credentials' } })
    expect(unknown.headers['set-cookie']).toBeUndefined()
    for (const other of others) expect(other).toEqual(unknown)
    expect(await sessionCount(known.email)).toBe(1)
    expect(await sessionCount(disabled.email)).toBe(1)
  })

  describe('by the work they take', () => {
    const cost = 7
    let highest = 0
    const runs: string[] = []
    let work = 0
    let passwords: Passwords
    let account: Credentials | undefined
    let login: (email: string, password: string) => Promise<unknown>

    // The tasks run in this thread. Each call of bcrypt with cost c adds 2^c to the work.
    beforeAll(() => {
      const counted = {
        hashSync(data: string, rounds: number) {
          work += 2 ** rounds
          return bcrypt.hashSync(data, rounds)
        },
        compareSync(data: string, hash: string) {
          work += 2 ** bcrypt.getRounds(hash)
          return bcrypt.compareSync(data, hash)
        },
      }
      const startThreads = (): Threads => ({
        async run(task, { name }) {
          runs.push(name)
          return (name === 'hash' ? hash : verify)(task as never, counted as never)
        },
        destroy: async () => {},
      })
      const highestCost = async () => highest
      passwords = createPasswords({ cost, minLength: 15, context: [], highestCost, startThreads })
      const attempt = createLogin({
        ...notUnderTest,
        users: { credentialsByEmail: async () => account } as unknown as UserStore,
        sessions: { start: async () => undefined } as never,
        passwords,
        prepareDeviceGrant: () => (state: SessionState) => state as never,
        newSessionFor: async () => ({}) as never,
      })
      login = (email, text) => attempt(email, text, someDevice)
    })
    beforeEach(() => {
      runs.length = 0
      work = 0
      highest = cost
    })

    const accountWith = (hashCost: number, disabled: boolean): Credentials => ({
      userId: 'user',
      passwordHash: bcrypt.hashSync(prepared(password), hashCost),
      passwordScheme: 1,
      disabled,
      epoch: 0,
    })

    test('an unknown account needs one verification of the configured cost, and no other task [D2]', async () => {
      expect(await passwords.verify(password, undefined)).toBe(false)

      expect(runs).toEqual(['verify'])
      expect(work).toBe(2 ** cost)
    })

    test.each([
      ['unknown', undefined, password],
      ['wrong', () => accountWith(cost, false), otherPassword],
      ['wrong, hash of a cost one lower', () => accountWith(cost - 1, false), otherPassword],
      ['wrong, hash of the least cost', () => accountWith(4, false), otherPassword],
      ['disabled, wrong', () => accountWith(cost, true), otherPassword],
      ['disabled, wrong, hash of the least cost', () => accountWith(4, true), otherPassword],
      ['disabled, right', () => accountWith(cost, true), password],
      ['disabled, right, hash of a cost one lower', () => accountWith(cost - 1, true), password],
      ['disabled, right, hash of the least cost', () => accountWith(4, true), password],
    ])(
      'a refused login needs the work of the configured cost, in one task: %s [D2]',
      async (_name, make, text) => {
        account = make?.()

        await expect(login('somebody@example.com', text)).rejects.toMatchObject({
          code: 'invalid_credentials',
        })

        expect(runs).toEqual(['verify'])
        expect(work).toBe(2 ** cost)
      },
    )

    test.each([
      ['unknown', undefined, password],
      ['wrong, hash of the configured cost', () => accountWith(cost, false), otherPassword],
      ['wrong, hash of the least cost', () => accountWith(4, false), otherPassword],
      ['wrong, hash of the highest cost', () => accountWith(cost + 2, false), otherPassword],
      ['disabled, right, hash of the configured cost', () => accountWith(cost, true), password],
      ['disabled, right, hash of the highest cost', () => accountWith(cost + 2, true), password],
    ])(
      'a refused login needs the work of the highest cost after the setting was lowered: %s [D2]',
      async (_name, make, text) => {
        highest = cost + 2
        account = make?.()

        await expect(login('somebody@example.com', text)).rejects.toMatchObject({
          code: 'invalid_credentials',
        })

        expect(runs).toEqual(['verify'])
        expect(work).toBe(2 ** highest)
      },
    )

    test('a right password of an account with a current hash needs no more work', async () => {
      expect(await passwords.verify(password, accountWith(cost, false))).toBe(true)

      expect(work).toBe(2 ** cost)
    })
  })
})

test('finds the highest cost of all hashes, which another instance may have made [D2]', async () => {
  const { email } = await register(t.app)
  const { highestCost } = createUserStore(t.db)
  const before = await highestCost()
  await t.db.rows(
    sql`UPDATE users SET password_hash = ${bcrypt.hashSync(prepared(password), 10)} WHERE email = ${email}`,
  )

  expect(await highestCost()).toBe(10)

  await tryLogin(email).expect(200)
  expect(await highestCost()).toBe(before)
})

describe('the pool of threads', () => {
  const usePasswords = async (use: (passwords: Passwords) => Promise<void>) => {
    const passwords = createPasswords({ cost: 4, minLength: 15, context: [] })
    await use(passwords).finally(() => passwords.close())
  }
  const flood = <T>(work: () => Promise<T>) => Promise.allSettled(Array.from({ length: 300 }, work))
  const accountOf = async (passwords: Passwords) => ({
    ...{ userId: 'user', disabled: false, epoch: 0 },
    ...(await passwords.hash(password)),
  })

  test('refuses what its queue cannot hold, does what it accepted, and continues to work [G5]', () =>
    usePasswords(async (passwords) => {
      const results = await flood(() => passwords.hash(password))

      const done = results.filter((result) => result.status === 'fulfilled')
      const refused = results.filter((result) => result.status === 'rejected')
      expect(done.length).toBeGreaterThan(0)
      expect(refused.length).toBeGreaterThan(0)
      for (const { reason } of refused) expect(reason).toEqual(new AuthError('overloaded'))
      for (const { value } of done)
        expect(bcrypt.compareSync(prepared(password), value.passwordHash)).toBe(true)
      expect(await passwords.verify(password, await accountOf(passwords))).toBe(true)
    }))

  test('refuses verifications in the same way for known and unknown accounts', () =>
    usePasswords(async (passwords) => {
      for (const account of [await accountOf(passwords), undefined]) {
        const results = await flood(() => passwords.verify(password, account))
        const codes = results.map((result) => ('value' in result ? result.value : result.reason.code))
        expect(new Set(codes)).toEqual(new Set([account !== undefined, 'overloaded']))
      }
    }))

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

  test('rejects waiting passwords when it is closed', async () => {
    const passwords = createPasswords({ cost: 4, minLength: 15, context: [] })
    const waiting = Promise.allSettled(Array.from({ length: 20 }, () => passwords.hash(password)))

    await passwords.close()

    const outcomes = await waiting
    expect(outcomes.filter(({ status }) => status === 'rejected').length).toBeGreaterThan(0)
  })
})
