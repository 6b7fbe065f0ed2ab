import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import { afterEach, describe, expect, test } from '@jest/globals'
import { parseSmtpUrl } from '../../src/config/mail.ts'
import { connections, createSmtp, type Delivery } from '../../src/mail/smtp.ts'
import { type Reaction, type ScriptedSmtp, type Stage, startSmtp } from '../support/smtp.ts'

const mail = {
  id: '6c0e4b6e-8d3a-4a53-9f5e-1c0f1f4c9f10',
  to: 'ada@example.com',
  at: new Date('2026-01-02T03:04:05Z'),
  subject: 'Grüße',
  text: 'Text\n',
  html: '<p>Text</p>\n',
}

const open: { close(): unknown }[] = []
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.close()
})

async function server(...options: Parameters<typeof startSmtp>): Promise<ScriptedSmtp> {
  const started = await startSmtp(...options)
  open.push(started)
  return started
}

const problems: string[] = []
function client(url: string | (() => string), times: { connectMs?: number; idleMs?: number } = {}) {
  const smtp = createSmtp({
    read: async () => {
      const parsed = parseSmtpUrl(typeof url === 'string' ? url : url())
      if (typeof parsed === 'string') throw new Error(`SMTP_URL: ${parsed}`)
      return parsed
    },
    from: { name: 'Example, Inc.', address: 'auth@example.com' },
    ...times,
    onProblem: (message) => problems.push(message),
  })
  open.push(smtp)
  return smtp
}

const never = new AbortController().signal
const local = ({ port }: { port: number }) => `smtp://127.0.0.1:${port}`

test('sends one mail to one recipient, in text and HTML, marked as automatic, without tracking', async () => {
  const smtp = await server()

  expect(await client(local(smtp)).send(mail, never)).toEqual({ kind: 'sent' })

  const [taken] = smtp.mails
  expect(taken).toMatchObject({
    from_: 'auth@example.com',
    to_: ['ada@example.com'],
    messageId: `<${mail.id}@example.com>`,
    date: mail.at,
    subject: 'Grüße',
    text: 'Text\n',
    html: '<p>Text</p>\n',
  })
  expect(taken?.from?.value).toEqual([{ address: 'auth@example.com', name: 'Example, Inc.' }])
  expect(taken?.headers.get('auto-submitted')).toBe('auto-generated')
  expect([...(taken?.headers.keys() ?? [])].sort()).toEqual([
    'auto-submitted',
    'content-type',
    'date',
    'from',
    'message-id',
    'mime-version',
    'subject',
    'to',
  ])
  expect(taken?.attachments).toEqual([])
})

test.each(["o'brien+tag@example.com", 'a!#$%&*=?^_`{|}~-b@example.com'])(
  'takes %s for one address',
  async (to) => {
    const smtp = await server()

    await client(local(smtp)).send({ ...mail, to }, never)

    expect(smtp.mails.map(({ to_ }) => to_)).toEqual([[to]])
  },
)

describe('an answer of the server', () => {
  const outage = (stage: string, reply?: number) => expect.objectContaining({ kind: 'outage', stage, reply })

  test.each<[Stage, Reaction, unknown]>([
    ['connect', 421, outage('CONN', 421)],
    ['connect', 554, outage('CONN', 554)],
    ['connect', 'drop', expect.objectContaining({ kind: 'outage' })],
    ['auth', 454, outage('AUTH PLAIN', 454)],
    ['auth', 535, outage('AUTH PLAIN', 535)],
    ['auth', 'drop', outage('CONN')],
    ['mail', 451, outage('MAIL FROM', 451)],
    ['mail', 553, outage('MAIL FROM', 553)],
    ['mail', 'drop', outage('CONN')],
    ['rcpt', 450, outage('RCPT TO', 450)],
    ['rcpt', 550, { kind: 'refused', reply: 550 }],
    ['rcpt', 'drop', outage('CONN')],
    ['data', 452, outage('DATA', 452)],
    ['data', 554, { kind: 'refused', reply: 554 }],
    ['data', 'drop', outage('CONN')],
  ])('at %s, %s, ends a mail only if it is about this mail', async (stage, reaction, delivery) => {
    const smtp = await server()
    smtp.react = (at) => (at === stage ? reaction : 'ok')
    const url = `smtp://user:pass@127.0.0.1:${smtp.port}`

    const answer = await client(url).send(mail, never)

    expect(answer).toEqual(delivery)
    expect(JSON.stringify(answer)).not.toContain('ada@')
    expect(smtp.mails).toEqual([])
  })
})

test('a refused recipient does not disturb the next mail on its connection', async () => {
  const smtp = await server()
  smtp.react = (stage, to) => (stage === 'rcpt' && to.startsWith('bad') ? 550 : 'ok')
  const { send } = client(local(smtp))

  const answers: Delivery['kind'][] = []
  for (const to of ['bad@example.com', 'ada@example.com', 'bad@example.com', 'bob@example.com'])
    answers.push((await send({ ...mail, to }, never)).kind)

  expect(answers).toEqual(['refused', 'sent', 'refused', 'sent'])
  expect(smtp.reached.connect).toBeLessThanOrEqual(2)
})

test('one recipient whose server hangs holds up no other', async () => {
  const smtp = await server()
  smtp.react = (stage, to) => (stage === 'rcpt' && to.startsWith('slow') ? 'hang' : 'ok')
  const { send } = client(local(smtp))
  const giveUp = new AbortController()
  const slow = send({ ...mail, to: 'slow@example.com' }, giveUp.signal)

  await Promise.all(Array.from({ length: 20 }, () => send(mail, never)))
  giveUp.abort()

  expect(smtp.mails).toHaveLength(20)
  expect(await slow).toMatchObject({ kind: 'outage' })
})

test.each([
  ['connect', 1],
  ['rcpt', 2],
] as const)('a server that is silent at %s is an outage when the time is up', async (stage, seconds) => {
  const smtp = await server()
  smtp.react = (at) => (at === stage ? 'hang' : 'ok')
  const startedAt = performance.now()

  const answer = await client(local(smtp), { connectMs: 1000, idleMs: 2000 }).send(mail, never)

  expect(answer).toMatchObject({ kind: 'outage', fault: 'ETIMEDOUT' })
  const took = (performance.now() - startedAt) / 1000
  expect(took).toBeGreaterThan(seconds - 0.2)
  expect(took).toBeLessThan(seconds + 3)
})

test('no server is an outage that names the system error', async () => {
  const unused = createServer().listen(0)
  await once(unused, 'listening')
  const { port } = unused.address() as AddressInfo
  unused.close()
  await once(unused, 'close')

  expect(await client(`smtp://127.0.0.1:${port}`).send(mail, never)).toEqual({
    kind: 'outage',
    stage: 'CONN',
    reply: undefined,
    fault: 'ECONNREFUSED',
  })
})

describe('TLS', () => {
  // 0.0.0.0 reaches this machine too, and is not one of the hosts to which mail goes without TLS.
  const remote = ({ port }: { port: number }) => `smtp://user:pass@0.0.0.0:${port}`

  test('a server without STARTTLS gets no login and no mail', async () => {
    const smtp = await server({ hideSTARTTLS: true, disabledCommands: ['STARTTLS'] })

    expect(await client(remote(smtp)).send(mail, never)).toMatchObject({ kind: 'outage', stage: 'STARTTLS' })
    expect(smtp.reached).toMatchObject({ auth: 0, mail: 0 })
  })

  test.each(['smtp', 'smtps'])(
    'a server with a certificate of an unknown authority gets no login and no mail by %s:, whatever NODE_TLS_REJECT_UNAUTHORIZED says',
    async (scheme) => {
      const smtp = await server({ hideSTARTTLS: false, secure: scheme === 'smtps' })
      process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0'

      const answer = await client(`${scheme}://user:pass@0.0.0.0:${smtp.port}`).send(mail, never)
      delete process.env.NODE_TLS_REJECT_UNAUTHORIZED

      expect(answer).toMatchObject({ kind: 'outage' })
      expect(smtp.reached).toMatchObject({ auth: 0, mail: 0 })
    },
  )

  test('a server that offers no login gets no mail if SMTP_URL has one', async () => {
    const smtp = await server({ disabledCommands: ['AUTH'] })

    expect(await client(`smtp://user:pass@127.0.0.1:${smtp.port}`).send(mail, never)).toMatchObject({
      kind: 'outage',
      stage: expect.stringMatching(/^AUTH/),
    })
    expect(smtp.mails).toEqual([])
  })
})

describe('a change of SMTP_URL', () => {
  test('sends the mails that wait for a connection to the new server at once, and those under way to the old one', async () => {
    const [one, two] = [await server(), await server()]
    const replies = new AbortController()
    one.beforeReply = () => once(replies.signal, 'abort')
    let url = local(one)
    const { send, reload } = client(() => url)
    const underWay = Array.from({ length: connections }, () => send(mail, never))
    await one.taken(connections)
    const waiting = Array.from({ length: connections }, () => send(mail, never))

    url = local(two)
    await reload()
    const answers = await Promise.all(waiting)
    replies.abort()

    expect([...answers, ...(await Promise.all(underWay))]).toEqual(
      Array(2 * connections).fill({ kind: 'sent' }),
    )
    expect([one.mails.length, two.mails.length]).toEqual([connections, connections])
  })

  test('is used by the next mail, and an invalid one is reported once and ignored', async () => {
    const [one, two] = [await server(), await server()]
    let url = local(one)
    const { send, reload } = client(() => url)
    await send(mail, never)

    url = local(two)
    await reload()
    await send(mail, never)
    url = 'nonsense'
    await reload()
    await reload()
    await send(mail, never)

    expect([one.mails.length, two.mails.length]).toEqual([1, 2])
    expect(problems).toEqual([expect.stringMatching(/^SMTP_URL: must be a URL/)])
  })
})
