import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals'
import pg from 'pg'
import { createPostgresDatabase } from '../../support/database.ts'
import { describeOnPostgres, postgresServer } from '../../support/require-postgres.ts'
import { type ServerProcess, send, startServer, temporaryFolder } from '../../support/server.ts'
import { copiesIn, type ScriptedSmtp, startSmtp, type TakenMail } from '../../support/smtp.ts'
import { longTestMs } from '../../support/time-limits.js'

jest.setTimeout(longTestMs)

const rounds = Number(process.env.MAIL_KILL_ROUNDS || 10)
const heldAtOnce = 10

let smtp: ScriptedSmtp
let settings: Record<string, string>
beforeEach(async () => {
  smtp = await startSmtp()
  settings = {
    PUBLIC_URL: 'http://localhost:3000',
    SMTP_URL: `smtp://127.0.0.1:${smtp.port}`,
    MAIL_FROM: 'auth@example.com',
    LIMIT_REGISTER_ADDRESS: 'off',
    LIMIT_MAIL_ADDRESS: 'off',
  }
})
afterEach(() => smtp.close())

let users = 0
/** Causes mails, by registrations. */
async function causeMails({ url }: ServerProcess, count: number): Promise<void> {
  const register = () => {
    const body = { email: `user-${++users}@example.com`, password: 'my dog is called rex' }
    return send('POST', `${url}/auth/register`, { body })
  }
  for (let caused = 0; caused < count; caused += 10) {
    const registrations = Array.from({ length: Math.min(10, count - caused) }, register)
    for (const { status } of await Promise.all(registrations)) expect(status).toBe(201)
  }
}

/** Expects that no mail was lost, and that copies are equal. */
function expectAllOf(mails: TakenMail[], ids: string[]): void {
  const copies = copiesIn(mails)
  expect(ids.filter((id) => !copies.has(`<${id}@example.com>`))).toEqual([])
  expect(copies.size).toBe(ids.length)
  const contents = new Map<string | undefined, string>()
  for (const { messageId, date, subject, text, html } of mails) {
    const content = JSON.stringify([date, subject, text, html])
    expect(contents.get(messageId) ?? content).toBe(content)
    expect(text).toMatch(/\/account#[a-z]+=\S+/)
    contents.set(messageId, content)
  }
}

/** Kills the server again and again while it sends, until it has sent everything. Each kill adds one copy of a mail at most. */
async function killWhileSending(
  start: () => Promise<ServerProcess>,
  isEmpty: (server: ServerProcess) => Promise<boolean>,
): Promise<{ copies: number; most: number }> {
  // Between taking a mail and saying so, there is time for a kill.
  smtp.beforeReply = () => delay(Math.random() * 20)
  for (let round = 0; round < rounds; round++) {
    const before = smtp.mails.length
    const server = await start()
    await Promise.race([smtp.taken(before + 1), delay(2000)])
    await delay(Math.random() * 100)
    await server.end('SIGKILL')
    await delay(50)
    const ofThisLife = [...copiesIn(smtp.mails.slice(before)).values()]
    expect(ofThisLife.filter((count) => count > 1)).toEqual([])
  }
  smtp.beforeReply = async () => {}
  const server = await start()
  while (!(await isEmpty(server))) await delay(200)
  await server.end('SIGTERM')
  const sent = copiesIn(smtp.mails)
  const copies = smtp.mails.length - sent.size
  expect(copies).toBeLessThanOrEqual(rounds * heldAtOnce)
  return { copies, most: Math.max(...sent.values()) }
}

describeOnPostgres('mails on PostgreSQL', () => {
  let client: pg.Client
  let drop: () => Promise<void>
  beforeEach(async () => {
    const database = await createPostgresDatabase(postgresServer)
    drop = database.drop
    settings = { ...settings, DATABASE_URL: database.url }
    client = new pg.Client({ connectionString: database.url })
    await client.connect()
  })
  afterEach(async () => {
    await client.end()
    await drop()
  })

  /** Queues mails with links that no request caused. @returns their ids */
  async function queue(count: number): Promise<string[]> {
    const { rows } = await client.query(
      `WITH made AS (
          INSERT INTO links (purpose, email, expires_at)
          SELECT 'reset', 'user-' || n || '@example.com', now() + interval '1 day' FROM generate_series(1, $1) n
          RETURNING id, email, expires_at
        )
        INSERT INTO outbox (template, recipient, params, give_up_at, link_id)
        SELECT 'reset-password', email, '{"ip": "192.0.2.1", "browser": "Firefox"}', expires_at, id FROM made
        RETURNING id`,
      [count],
    )
    return rows.map(({ id }) => id)
  }
  const waiting = async () =>
    Number((await client.query('SELECT count(*) FROM outbox WHERE done_at IS NULL')).rows[0].count)

  test('two instances send each of 1,000 mails once', async () => {
    const servers = await Promise.all([startServer(settings), startServer(settings)])
    const startedAt = performance.now()
    const ids = await queue(1000)
    while ((await waiting()) > 0) await delay(100)
    const seconds = (performance.now() - startedAt) / 1000
    await Promise.all(servers.map((server) => server.end('SIGTERM')))

    expectAllOf(smtp.mails, ids)
    expect(smtp.mails).toHaveLength(1000)
    process.stderr.write(`1,000 mails by two instances in ${seconds.toFixed(1)} s\n`)
  })

  test(`loses none of 1,000 mails in ${rounds} times kill -9, and each kill adds at most one copy of a mail`, async () => {
    await (await startServer(settings)).end('SIGTERM') // It makes the tables.
    const ids = await queue(1000)

    const { copies, most } = await killWhileSending(
      () => startServer(settings),
      async () => {
        const { rows } = await client.query(
          `SELECT count(*)::int AS waiting, coalesce(extract(epoch FROM max(due_at) - now()), 0)::float AS leased
            FROM outbox WHERE done_at IS NULL`,
        )
        // Other instances may take the mails of a dead one within 60 s.
        expect(rows[0].leased).toBeLessThan(60)
        return rows[0].waiting === 0
      },
    )

    expectAllOf(smtp.mails, ids)
    process.stderr.write(
      `${rounds} kills of ${ids.length} mails: ${copies} copies, one mail was sent ${most} times at most\n`,
    )
  })

  test('an instance that is stopped for longer than its leases adds at most one copy, which is equal, within 60 s', async () => {
    const held = new AbortController()
    smtp.beforeReply = () => once(held.signal, 'abort')
    const paused = await startServer(settings)
    const ids = await queue(1)
    await smtp.taken(1)
    const other = await startServer(settings)

    paused.process.kill('SIGSTOP')
    const pausedAt = performance.now()
    await smtp.taken(2)
    const seconds = (performance.now() - pausedAt) / 1000
    held.abort()
    smtp.beforeReply = async () => {}
    while ((await waiting()) > 0) await delay(50)
    paused.process.kill('SIGCONT')
    const more = await queue(20)
    while ((await waiting()) > 0) await delay(50)
    await Promise.all([paused, other].map((server) => server.end('SIGTERM')))

    expect(seconds).toBeLessThan(60)
    expectAllOf(smtp.mails, [...ids, ...more])
    expect(smtp.mails).toHaveLength(ids.length + 1 + more.length)
  })

  test('SIGTERM lets a send in progress end, and leaves the other mails for the next start', async () => {
    smtp.beforeReply = () => delay(1500)
    const server = await startServer(settings)
    const ids = await queue(30)
    await smtp.taken(1)

    const { code, stderr } = await server.end('SIGTERM')
    const sentByFirst = smtp.mails.length
    const left = await waiting()
    smtp.beforeReply = async () => {}
    const next = await startServer(settings)
    while ((await waiting()) > 0) await delay(50)
    await next.end('SIGTERM')

    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(left).toBe(ids.length - sentByFirst)
    expect(left).toBeGreaterThan(0)
    expectAllOf(smtp.mails, ids)
    expect(smtp.mails).toHaveLength(ids.length)
  })

  test('SIGTERM ends the server within 10 s although the SMTP server hangs, and the next start sends the mail at once', async () => {
    smtp.react = (stage) => (stage === 'data' ? 'hang' : 'ok')
    const server = await startServer(settings)
    const ids = await queue(3)
    while (smtp.reached.data === 0) await delay(20)
    const stoppedAt = Date.now()

    const { code } = await server.end('SIGTERM')
    const took = Date.now() - stoppedAt
    smtp.react = () => 'ok'
    const next = await startServer(settings)
    await smtp.taken(3)
    await next.end('SIGTERM')

    expect(code).toBe(0)
    expect(took).toBeLessThan(10_500)
    expectAllOf(smtp.mails, ids)
  })
})

describe('mails on the embedded database', () => {
  test(`loses none of 100 mails in ${rounds} times kill -9`, async () => {
    const onDisk = { ...settings, DATA_DIR: temporaryFolder() }
    smtp.react = (stage) => (stage === 'connect' ? 421 : 'ok')
    const first = await startServer(onDisk)
    await causeMails(first, 100)
    await first.end('SIGTERM')
    smtp.react = () => 'ok'

    const distinct = () => copiesIn(smtp.mails).size
    await killWhileSending(
      () => startServer(onDisk),
      async () => distinct() === 100,
    )

    expect(distinct()).toBe(100)
  })

  test('a mail that waits for the SMTP server is sent when the server is back, and the outage is one line', async () => {
    const { port } = smtp
    await smtp.close()
    const server = await startServer({ ...settings, LOG_LEVEL: 'info', DATA_DIR: temporaryFolder() })
    await causeMails(server, 3)
    await delay(1500)
    const ready = await send('GET', `${server.url}/readyz`)
    smtp = await startSmtp({}, port)
    await smtp.taken(3)
    const { stdout } = await server.end('SIGTERM')

    const events = stdout.split('\n').map((line) => JSON.parse(line).event)
    expect(events.filter((event) => event === 'mail_outage')).toHaveLength(1)
    expect(events.filter((event) => event === 'mail_works')).toHaveLength(1)
    expect(ready.status).toBe(200)
    expect(stdout).not.toContain('user-')
  })
})

describe('SMTP_URL', () => {
  test('is read again from its file, and the next mail uses it', async () => {
    const file = join(temporaryFolder(), 'smtp-url')
    const second = await startSmtp()
    writeFileSync(file, `${settings.SMTP_URL}\n`)
    const { SMTP_URL: _, ...others } = settings
    const server = await startServer({ ...others, SMTP_URL_FILE: file, SECRETS_REFRESH_SECONDS: '1' })
    await causeMails(server, 1)
    await smtp.taken(1)

    writeFileSync(file, `smtp://127.0.0.1:${second.port}\n`)
    await delay(2500)
    await causeMails(server, 1)
    await second.taken(1)
    await server.end('SIGTERM')
    await second.close()

    expect(smtp.mails).toHaveLength(1)
  })

  test('smtps:// trusts the authorities in NODE_EXTRA_CA_CERTS, and no certificate without them', async () => {
    const { key, cert, file } = certificateOf('localhost')
    const secure = await startSmtp({ secure: true, key, cert })
    const url = `smtps://user:pass@localhost:${secure.port}`
    const start = (extra: Record<string, string>) => startServer({ ...settings, SMTP_URL: url, ...extra })
    const distrustful = await start({})
    await causeMails(distrustful, 1)
    await delay(500)
    const { stdout } = await distrustful.end('SIGTERM')
    const refused = { ...secure.reached }

    const trusting = await start({ NODE_EXTRA_CA_CERTS: file })
    await causeMails(trusting, 1)
    await secure.taken(1)
    await trusting.end('SIGTERM')
    await secure.close()

    expect(stdout).toContain('SELF_SIGNED')
    expect(refused).toMatchObject({ auth: 0, mail: 0 })
    expect(secure.reached.auth).toBe(1)
  })
})

/** Makes a certificate for a host name, which is its own authority. */
function certificateOf(host: string) {
  const folder = temporaryFolder()
  const [keyFile, file] = [join(folder, 'key.pem'), join(folder, 'cert.pem')]
  const options = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2']
  const names = ['-subj', `/CN=${host}`, '-addext', `subjectAltName=DNS:${host}`]
  execFileSync('openssl', ['req', '-x509', ...options, ...names, '-keyout', keyFile, '-out', file], {
    stdio: 'ignore',
  })
  return { key: readFileSync(keyFile), cert: readFileSync(file), file }
}
