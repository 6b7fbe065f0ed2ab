import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals'
import { sql } from 'drizzle-orm'
import { createLinkTokens } from '../../src/auth/link-token.ts'
import { AuthError } from '../../src/errors.ts'
import { createWriter, type OutgoingMail } from '../../src/mail/outgoing.ts'
import type { Delivery, SendMail } from '../../src/mail/smtp.ts'
import type { MailFacts } from '../../src/mail/template.ts'
import { createMailWorker, type MailResult, type MailWorker } from '../../src/mail/worker.ts'
import { delay } from '../../src/retry.ts'
import { newSecret } from '../../src/secrets/cli/generate.ts'
import { createLiveKeys } from '../../src/secrets/live-keys.ts'
import { createLink, endLinks, type Link } from '../../src/store/links.ts'
import {
  createOutbox,
  type NewMail,
  type Outbox,
  queueMail,
  wakingAfterMail,
} from '../../src/store/outbox.ts'
import { register, useTestApp } from '../support/app.ts'
import { databaseName, withoutDatabase } from '../support/database.ts'

const t = useTestApp()
const templates = {
  hello: ({ params, link, site, time }: MailFacts) => ({
    subject: `Hello ${params.name} from ${site}`,
    heading: 'Hello',
    paragraphs: [time],
    action: link ? { label: 'Open', url: link } : undefined,
    footer: '-',
  }),
  broken: () => {
    throw new Error('a bug')
  },
}

let sent: OutgoingMail[] = []
let counted: MailResult[] = []
let log: { level: string; facts: Record<string, unknown>; message: string }[] = []
const workers: MailWorker[] = []
beforeEach(async () => {
  sent = []
  counted = []
  log = []
  await t.db.rows(sql`DELETE FROM outbox`)
})
afterEach(() => Promise.all(workers.splice(0).map((worker) => worker.stop())))

/** Registers a user, without the mail of the registration. */
async function newUser(): Promise<string> {
  const { userId } = await register(t.app)
  await t.db.rows(sql`DELETE FROM outbox`)
  return userId
}

const works: SendMail = async (mail) => {
  sent.push(mail)
  return { kind: 'sent' }
}
const outage: Delivery = { kind: 'outage', stage: 'CONN', reply: undefined, fault: 'ECONNREFUSED' }
/** Holds the mails that are sent until `release`, or the signal. */
function hanging() {
  const released = new AbortController()
  const end = (signal: AbortSignal, delivery: Delivery) =>
    new Promise<Delivery>((resolve) => signal.addEventListener('abort', () => resolve(delivery)))
  const send: SendMail = (mail, signal) => {
    sent.push(mail)
    return Promise.race([end(released.signal, { kind: 'sent' }), end(signal, outage)])
  }
  return { send, release: () => released.abort() }
}

const outboxOf = (signingKid = fakeKeys.signingKid) => createOutbox({ database: t.db.database, signingKid })

/** What signs the links of a worker. */
const fakeKeys = { signingKid: () => 'one', signLink: ({ id }: Link) => `token-of-${id}` }

/** Real keys, whose store the test changes. */
async function createTestKeys() {
  const version = (createdAt: number) => ({ value: newSecret(), createdAt, source: 'a test' })
  let now = Date.now() + t.db.serversAheadMs
  let refresh = [version(0)]
  const versions = () => ({ JWT_ACCESS_SECRET: [version(0)], JWT_REFRESH_SECRET: refresh })
  const keys = await createLiveKeys({
    secrets: { load: async () => ({ versions: versions(), problems: [] }) },
    accessAlgorithm: 'HS256',
    reloadSeconds: 60,
    maxStaleSeconds: 0,
    accessTokenSeconds: 900,
    refreshTokenSeconds: 72 * 3600,
    clock: () => now,
    delay,
    onEvent: () => {},
    onWarning: () => {},
  })
  keys.close()
  const linkTokens = createLinkTokens({
    keys: keys.links,
    issuer: 'https://auth.example.com',
    clock: () => now,
  })
  async function load(newVersions: typeof refresh) {
    const before = keys.links.signingKey().kid
    refresh = newVersions
    await keys.reload()
    now += 120_000
    expect(keys.links.signingKey().kid).not.toBe(before)
  }
  return {
    linkTokens,
    signingKid: () => keys.links.signingKey().kid,
    signLink: linkTokens.sign,
    rotate: () => load([version(now), ...refresh]),
    replace: () => load([version(now)]),
  }
}
type TestKeys = Awaited<ReturnType<typeof createTestKeys>>

function startWorker(
  send: SendMail = works,
  { signingKid, signLink }: Pick<TestKeys, 'signingKid' | 'signLink'> = fakeKeys,
  names = Object.keys(templates),
  outbox = outboxOf(signingKid),
): MailWorker {
  const say = (level: string) => (facts: Record<string, unknown>, message: string) =>
    void log.push({ level, facts, message })
  const worker = createMailWorker({
    outbox,
    templates: names,
    write: createWriter({
      templates,
      signLink,
      accountUrl: 'https://auth.example.com/account',
      site: 'auth.example.com',
    }),
    send,
    count: (result) => counted.push(result),
    log: { info: say('info'), warn: say('warn'), error: say('error') } as never,
    delay,
    random: () => 0,
    pollMs: 2 ** 31 - 1,
    drainMs: 300,
  })
  workers.push(worker)
  return worker
}

const hello = (mail: Partial<NewMail> = {}): NewMail => ({
  template: 'hello',
  recipient: 'ada@example.com',
  params: { name: 'Ada' },
  ...mail,
})
const queue = (...mails: NewMail[]) =>
  t.db.database.transaction(async (tx) => {
    for (const mail of mails) await queueMail(tx, mail)
  })
/** An outbox that notes how long the pauses of mails are, which go on while a slow machine runs the test. */
function notingPauses() {
  const outbox = outboxOf()
  const pauses: number[] = []
  const noting: Outbox = {
    ...outbox,
    async putBack(mail, pauseSeconds) {
      pauses.push(pauseSeconds)
      await outbox.putBack(mail, pauseSeconds)
    },
  }
  return { outbox: noting, pauses }
}

interface Row {
  id: string
  tries: number
  pause: number
  done: boolean
}
const rows = () =>
  t.db.rows<Row>(
    sql`SELECT id, tries, done_at IS NOT NULL AS done,
      extract(epoch FROM due_at - now())::float AS pause FROM outbox ORDER BY created_at, id`,
  )
const row = async () => (await rows())[0] as Row

describe(`the outbox on ${databaseName}`, () => {
  test('a transaction that fails sends no mail, and one that commits wakes the worker', async () => {
    const worker = startWorker()
    const database = wakingAfterMail(t.db.database, worker.wake)
    const failed = database.transaction(async (tx) => {
      await queueMail(tx, hello())
      throw new Error('rolled back')
    })
    await expect(failed).rejects.toThrow('rolled back')
    await database.transaction((tx) => queueMail(tx, hello({ params: { name: 'Bob' } })))
    while (sent.length === 0) await sleep(5)
    await worker.settle()

    expect(sent.map(({ subject }) => subject)).toEqual(['Hello Bob from auth.example.com'])
    expect(counted).toEqual(['sent'])
    expect(await rows()).toMatchObject([{ done: true, tries: 1 }])
  })

  test('a mail that is sent is never sent again', async () => {
    await queue(hello())
    await startWorker().settle()
    await t.pass(3600)
    await startWorker().settle()

    expect(sent).toHaveLength(1)
  })

  test('two workers send each of 200 mails once', async () => {
    await queue(...Array.from({ length: 200 }, (_, index) => hello({ params: { name: index } })))
    const [one, two] = [startWorker(), startWorker()]

    await Promise.all([one.settle(), two.settle()])

    expect(new Set(sent.map(({ id }) => id)).size).toBe(200)
    expect(sent).toHaveLength(200)
    expect(counted).toHaveLength(200)
  })

  test('the mail of a worker that died is taken over within 60 s, as a copy with the same id, date and link', async () => {
    const userId = await newUser()
    await t.db.database.transaction(async (tx) => {
      const link = await createLink(tx, { purpose: 'reset', userId, email: 'a@example.com', seconds: 1800 })
      await queueMail(tx, hello({ link }))
    })
    startWorker(hanging().send).wake()
    while (sent.length === 0) await sleep(5)

    const other = startWorker()
    await t.pass(30)
    await other.settle()
    expect(sent).toHaveLength(1)
    await t.pass(29)
    await other.settle()

    expect(sent).toHaveLength(2)
    expect(sent[1]).toEqual(sent[0])
    expect(sent[0]?.text).toMatch(/https:\/\/auth\.example\.com\/account#reset=token-of-/)
  })

  describe('a copy after a rotation of the refresh key', () => {
    const tokenIn = (mail: OutgoingMail | undefined) => /#reset=(\S+)/.exec(mail?.text ?? '')?.[1] ?? ''

    /** Sends a mail whose reply is lost, changes the keys, and sends the copy. @returns both mails, and the link's id */
    async function sendAround(change: (keys: TestKeys) => Promise<void>) {
      const keys = await createTestKeys()
      const replies: Delivery[] = [outage, { kind: 'sent' }]
      const replyLost: SendMail = async (mail) => {
        sent.push(mail)
        return replies.shift() as Delivery
      }
      const worker = startWorker(replyLost, keys)
      const userId = await newUser()
      const { id } = await t.db.database.transaction(async (tx) => {
        const link = await createLink(tx, { purpose: 'reset', userId, email: 'a@example.com', seconds: 1800 })
        await queueMail(tx, hello({ link }))
        return link
      })
      // Without the database for a moment, the worker takes no mail.
      while (sent.length === 0) await worker.settle()
      await change(keys)
      await t.pass(10)
      while (sent.length === 1) await worker.settle()
      const [first, copy] = sent
      return { first, copy, id, linkTokens: keys.linkTokens }
    }

    test('has the same link, which is good', async () => {
      const { first, copy, id, linkTokens } = await sendAround(({ rotate }) => rotate())

      expect(copy).toEqual(first)
      expect(await linkTokens.verify(tokenIn(copy), 'reset')).toBe(id)
    })

    test('has a link of the new key if the old key was withdrawn', async () => {
      const { first, copy, id, linkTokens } = await sendAround(({ replace }) => replace())

      expect(await linkTokens.verify(tokenIn(first), 'reset')).toBeUndefined()
      expect(await linkTokens.verify(tokenIn(copy), 'reset')).toBe(id)
    })
  })

  test('a mail of which this server knows no template waits for a server that does', async () => {
    await queue(hello())
    await startWorker(works, fakeKeys, ['broken']).settle()

    expect(await row()).toMatchObject({ done: false, tries: 0 })
  })

  test('contains no token and no rendered mail', async () => {
    const userId = await newUser()
    await t.db.database.transaction(async (tx) => {
      const link = await createLink(tx, { purpose: 'reset', userId, email: 'a@example.com', seconds: 1800 })
      await queueMail(tx, hello({ link }))
    })
    await startWorker().settle()

    const dump = JSON.stringify(await t.db.rows(sql`SELECT to_jsonb(outbox) FROM outbox`))
    expect(dump).not.toMatch(/token-of|Hello|<p>/)
  })

  test('deletes a mail a day after it was sent, and not before', async () => {
    await queue(hello())
    await startWorker().settle()

    await t.pass(24 * 3600 - 60)
    await t.purge()
    expect(await rows()).toHaveLength(1)
    await t.pass(61)
    await t.purge()
    expect(await rows()).toEqual([])
  })

  test('deletes old mails at the start of a server', async () => {
    await queue(hello())
    await startWorker().settle()
    await t.pass(24 * 3600 + 1)

    await t.restart()
    while ((await rows()).length > 0) await sleep(5)
  })
})

describe('an outage', () => {
  test('is retried after 1 to 5 s, which double to 5 min, and logged once until a mail is taken', async () => {
    let works_ = false
    const { outbox, pauses } = notingPauses()
    const send: SendMail = async (mail, signal) => (works_ ? works(mail, signal) : outage)
    const worker = startWorker(send, fakeKeys, undefined, outbox)
    await queue(hello(), hello())
    await worker.settle()

    while (pauses.length < 22) {
      const [before, pause = 0] = [pauses.length, pauses.at(-1)]
      await t.pass(pause / 2)
      // On a slow machine, the other half of a short pause may be over already.
      if (pause > 10) {
        await worker.settle()
        expect(pauses).toHaveLength(before)
      }
      await t.pass(pause / 2)
      await worker.settle()
    }
    works_ = true
    await t.pass(300)
    await worker.settle()

    const ofEach = [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    expect(pauses).toEqual(ofEach.flatMap((pause) => [pause, pause]))
    expect(log).toEqual([
      {
        level: 'error',
        facts: { event: 'mail_outage', stage: 'CONN', reply: undefined, fault: 'ECONNREFUSED' },
        message:
          'The SMTP server takes no mails (CONN, ECONNREFUSED). They wait. Check the SMTP server and SMTP_URL.',
      },
      { level: 'info', facts: { event: 'mail_works' }, message: 'The SMTP server takes mails again.' },
    ])
    expect(counted.filter((result) => result === 'sent')).toHaveLength(2)
    expect(counted.filter((result) => result === 'retried')).toHaveLength(22)
  })

  test('the first pause is 1 s at least and 5 s at most', async () => {
    for (const [random, pause] of [
      [0, 1],
      [1, 5],
    ] as const) {
      const { outbox, pauses } = notingPauses()
      await queue(hello())
      await createMailWorkerWith(random, outbox).settle()
      expect(pauses.at(-1)).toBe(pause)
      await t.db.rows(sql`DELETE FROM outbox`)
    }
  })

  test('a refused login says what to correct, and no address', async () => {
    const worker = startWorker(async () => ({
      kind: 'outage',
      stage: 'AUTH PLAIN',
      reply: 535,
      fault: 'EAUTH',
    }))
    await queue(hello())
    await worker.settle()

    expect(log).toMatchObject([
      { level: 'error', message: expect.stringMatching(/user and the password in SMTP_URL/) },
    ])
    expect(JSON.stringify(log)).not.toContain('ada@')
  })

  test('ends a mail without a link after a day', async () => {
    const worker = startWorker(async () => outage)
    await queue(hello())
    await worker.settle()
    await t.pass(24 * 3600 + 1)
    await worker.settle()

    expect(await row()).toMatchObject({ done: true })
    expect(counted).toEqual(['retried', 'expired'])
  })

  test.each([
    ['the link in it is too old', (_userId: string) => t.pass(1801)],
    [
      'the link in it was used or replaced',
      (userId: string) => t.db.database.transaction((tx) => endLinks(tx, userId, ['verify', 'reset'])),
    ],
  ])('ends a mail when %s', async (_what, end) => {
    const userId = await newUser()
    let isDown = true
    const worker = startWorker(async (mail, signal) => (isDown ? outage : works(mail, signal)))
    await t.db.database.transaction(async (tx) => {
      const link = await createLink(tx, { purpose: 'reset', userId, email: 'a@example.com', seconds: 1800 })
      await queueMail(tx, hello({ link }))
    })
    await worker.settle()

    isDown = false
    await end(userId)
    await t.pass(10)
    await worker.settle()

    expect(sent).toEqual([])
    expect(counted).toEqual(['retried', 'expired'])
    expect(await row()).toMatchObject({ done: true })
  })
})

test('a mail that the server refuses for good ends at once, and the log names no address', async () => {
  const worker = startWorker(async () => ({ kind: 'refused', reply: 550 }))
  await queue(hello())
  await worker.settle()

  expect(await row()).toMatchObject({ done: true, tries: 1 })
  expect(counted).toEqual(['refused'])
  expect(log).toMatchObject([
    { level: 'warn', facts: { event: 'mail_refused', reply: 550, template: 'hello' } },
  ])
  expect(JSON.stringify(log)).not.toContain('ada@')
})

test('a decoy goes the same way up to SMTP, and counts in no metric', async () => {
  const [decoy] = [hello({ recipient: undefined })]
  await queue(decoy)
  const waiting = await outboxOf().waiting()
  await startWorker().settle()

  expect(await row()).toMatchObject({ done: true, tries: 1 })
  expect([sent, counted, waiting.count]).toEqual([[], [], 0])
})

test('the outbox tells how many mails wait, and since when', async () => {
  await queue(hello())
  await t.pass(10)
  await queue(hello())

  const { count, oldestSeconds } = await outboxOf().waiting()

  expect(count).toBe(2)
  expect(oldestSeconds).toBeGreaterThan(9.9)
  const metrics = await t.metrics.registry.metrics()
  expect(metrics).toMatch(/^outbox_waiting 2$/m)
  expect(metrics).toMatch(/^outbox_oldest_seconds 1\d\./m)
  for (const result of ['sent', 'retried', 'refused', 'expired'])
    expect(metrics).toMatch(new RegExp(`^mails_total\\{result="${result}"\\} \\d+$`, 'm'))
})

test('a bug in a template is logged, and loses no mail', async () => {
  await queue(hello({ template: 'broken' }), hello())
  await startWorker().settle()

  expect(sent).toHaveLength(1)
  expect(log).toMatchObject([{ level: 'error', facts: { event: 'mail_failed', template: 'broken' } }])
  expect((await rows()).map(({ done }) => done).sort()).toEqual([false, true])
})

test('a mail is not sent again because the database was unavailable after it was sent', async () => {
  const { send, release } = hanging()
  const worker = startWorker(send)
  await queue(hello())
  worker.wake()
  while (sent.length === 0) await sleep(5)

  await withoutDatabase(t.db, async () => {
    release()
    await sleep(200)
  })
  await worker.settle()

  expect(await row()).toMatchObject({ done: true, tries: 1 })
  expect(counted).toEqual(['sent'])
})

test('a worker whose leases have ended takes no copy of a mail that it holds, and stops when that is sent', async () => {
  const { send, release } = hanging()
  const worker = startWorker(send)
  await queue(hello())
  worker.wake()
  while (sent.length === 0) await sleep(5)

  // As after a pause of the process.
  await t.pass(46)
  worker.wake()
  await sleep(100)
  const stopped = worker.stop()
  await sleep(100)
  release()
  await stopped

  expect(sent).toHaveLength(1)
  expect(await rows()).toMatchObject([{ done: true }])
})

describe('a mail that is given back', () => {
  // Only intervals are fake: the worker renews its leases by one.
  beforeEach(() => {
    const real = [
      'nextTick',
      'queueMicrotask',
      'setImmediate',
      'clearImmediate',
      'setTimeout',
      'clearTimeout',
    ]
    jest.useFakeTimers({ doNotFake: [...real, 'Date', 'performance', 'hrtime'] as never })
  })
  afterEach(() => {
    jest.useRealTimers()
  })

  test('keeps its pause although the leases are renewed before the worker has let it go', async () => {
    await queue(hello())
    const outbox = outboxOf()
    const renewedAfter: Outbox = {
      ...outbox,
      async putBack(...mail) {
        await outbox.putBack(...mail)
        jest.advanceTimersByTime(15_000)
        await sleep(50)
      },
    }

    await startWorker(async () => outage, fakeKeys, undefined, renewedAfter).settle()

    expect((await row()).pause).toBeLessThan(2)
  })

  test('keeps its pause although a renewal was under way', async () => {
    await queue(hello())
    const outbox = outboxOf()
    const late: Outbox = {
      ...outbox,
      async renew(ids) {
        await sleep(50)
        await outbox.renew(ids)
      },
    }
    const renewsFirst: SendMail = async () => {
      await sleep(5)
      jest.advanceTimersByTime(15_000)
      return outage
    }

    await startWorker(renewsFirst, fakeKeys, undefined, late).settle()
    await sleep(100)

    expect((await row()).pause).toBeLessThan(2)
  })
})

describe('a worker that stops', () => {
  test('leaves a mail that was sent to its lease if the outbox cannot be told', async () => {
    const { send, release } = hanging()
    const unavailable = async () => {
      throw new AuthError('unavailable')
    }
    const worker = startWorker(send, fakeKeys, undefined, { ...outboxOf(), close: unavailable })
    await queue(hello())
    worker.wake()
    while (sent.length === 0) await sleep(5)

    const stopped = worker.stop()
    release()
    await stopped

    expect(await row()).toMatchObject({ done: false, tries: 1 })
    expect((await row()).pause).toBeGreaterThan(30)
  })

  test('waits for the mail under way, and takes no other', async () => {
    const { send, release } = hanging()
    const worker = startWorker(send)
    await queue(hello())
    worker.wake()
    while (sent.length === 0) await sleep(5)

    const stopped = worker.stop()
    await queue(hello())
    worker.wake()
    release()
    await stopped

    expect((await rows()).map(({ done }) => done)).toEqual([true, false])
  })

  test('gives a mail back that takes too long, for the next start to send at once', async () => {
    const worker = startWorker(hanging().send)
    await queue(hello())
    worker.wake()
    while (sent.length === 0) await sleep(5)
    const startedAt = performance.now()

    await worker.stop()

    expect(performance.now() - startedAt).toBeLessThan(2000)
    expect(log).toEqual([])
    sent = []
    await startWorker().settle()
    expect(sent).toHaveLength(1)
  })
})

function createMailWorkerWith(random: number, outbox: Outbox): MailWorker {
  const worker = createMailWorker({
    outbox,
    templates: ['hello'],
    write: (mail) => ({ id: mail.id, to: '', at: mail.createdAt, subject: '', text: '', html: '' }),
    send: async () => outage,
    count: () => {},
    log: { info() {}, warn() {}, error() {} } as never,
    delay,
    random: () => random,
    pollMs: 2 ** 31 - 1,
    drainMs: 0,
  })
  workers.push(worker)
  return worker
}
