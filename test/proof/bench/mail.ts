// Measures mail. First, whether a request that mails takes longer while the SMTP server hangs than while it works. Then,
// on PostgreSQL, how fast instances send queued mails, compared with a client that only sends. Fails if such a request
// takes longer, or if a mail is lost or sent twice.
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import pg from 'pg'
import { pino } from 'pino'
import { compose } from '../../../src/compose.ts'
import { loadConfig } from '../../../src/config/config.ts'
import { parseSmtpUrl, type SmtpServer } from '../../../src/config/mail.ts'
import { features } from '../../../src/features.ts'
import { connections, createSmtp } from '../../../src/mail/smtp.ts'
import { openDatabase } from '../../../src/store/open-database.ts'
import { createPostgresDatabase } from '../../support/database.ts'
import { testEnvironment } from '../../support/environment.ts'
import { startServer } from '../../support/server.ts'
import { copiesIn, startSmtp } from '../../support/smtp.ts'
import { median } from './statistics.ts'

const samplesEach = 1000
const slowestRequest = 1.05
const queued = Number(process.env.BENCH_MAILS || 10_000)
/** A provider takes about this long to say that it has a mail. */
const replyMs = 50
const postgres = process.env.TEST_DATABASE_URL

const settingsFor = ({ port }: { port: number }) => ({
  PUBLIC_URL: 'http://localhost:3000',
  SMTP_URL: `smtp://127.0.0.1:${port}`,
  MAIL_FROM: 'auth@example.com',
})

/** Starts a server on a database of its own, with one account. */
async function serve(smtp: { port: number }) {
  const limits = { LIMIT_MAIL_RECIPIENT: 'off', LIMIT_MAIL_ADDRESS: 'off' }
  const config = await loadConfig({ ...testEnvironment, ...settingsFor(smtp), ...limits }, { features })
  const empty = postgres ? await createPostgresDatabase(postgres) : undefined
  const database = await openDatabase({ url: empty?.url, folder: 'memory://', onTrouble: console.error })
  const services = await compose(config, pino({ level: 'silent' }), { database })
  const server = createServer(services.app('http://localhost:3000')).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const post = (path: string, body: object) =>
    fetch(`http://127.0.0.1:${port}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
  await post('/auth/register', { email: 'ada@example.com', password: 'my dog is called rex' })
  return {
    async forgot(): Promise<number> {
      const begin = performance.now()
      const { status } = await post('/auth/password/forgot', { email: 'ada@example.com' })
      if (status !== 202) throw new Error(`forgot answered ${status}`)
      return performance.now() - begin
    },
    async close() {
      server.closeAllConnections()
      server.close()
      await services.close()
      await empty?.drop()
    },
  }
}

async function compareRequests(): Promise<void> {
  const [up, down] = [await startSmtp(), await startSmtp()]
  down.react = () => 'hang'
  const servers = { working: await serve(up), hanging: await serve(down) }
  const times = { working: [] as number[], hanging: [] as number[] }
  for (let round = -10; round < samplesEach; round++)
    for (const kind of (['working', 'hanging'] as const).toSorted(() => Math.random() - 0.5)) {
      const time = await servers[kind].forgot()
      if (round >= 0) times[kind].push(time) // Earlier rounds warm up.
    }
  const [working, hanging] = [median(times.working), median(times.hanging)]
  console.log(
    `POST /auth/password/forgot, ${samplesEach} samples each, on ${postgres ? 'PostgreSQL' : 'PGlite'}`,
  )
  console.log(`median with SMTP working ${working.toFixed(2)} ms, hanging ${hanging.toFixed(2)} ms`)
  console.log(`hanging to working: ${(hanging / working).toFixed(3)}`)
  if (hanging / working > slowestRequest) process.exitCode = 1
  for (const server of Object.values(servers)) await server.close()
  await up.close()
  await down.close()
}

/** Returns how many mails a second one client with all its connections can send, without an outbox. */
async function speedOf({ port }: { port: number }): Promise<number> {
  const smtp = createSmtp({
    read: async () => parseSmtpUrl(`smtp://127.0.0.1:${port}`) as SmtpServer,
    from: { name: undefined, address: 'auth@example.com' },
    onProblem: console.error,
  })
  const mail = { id: 'speed', to: 'ada@example.com', at: new Date(), subject: '-', text: '-', html: '-' }
  const count = 1000
  let left = count
  const begin = performance.now()
  const sendAll = async () => {
    while (left-- > 0) await smtp.send(mail, new AbortController().signal)
  }
  await Promise.all(Array.from({ length: connections }, sendAll))
  smtp.close()
  return (count * 1000) / (performance.now() - begin)
}

/** Lets instances send queued mails, each once. */
async function drain(instances: number, url: string): Promise<void> {
  const { url: DATABASE_URL, drop } = await createPostgresDatabase(url)
  const smtp = await startSmtp()
  smtp.beforeReply = () => delay(replyMs)
  const speed = instances * (await speedOf(smtp))
  smtp.mails.length = 0
  const start = () => startServer({ ...settingsFor(smtp), DATABASE_URL })
  const servers = await Promise.all(Array.from({ length: instances }, start))
  const client = new pg.Client({ connectionString: DATABASE_URL })
  await client.connect()
  const begin = performance.now()
  await client.query(
    `INSERT INTO outbox (template, recipient, params, give_up_at)
      SELECT 'new-device', 'user-' || n || '@example.com', '{"ip": "192.0.2.1", "browser": "Firefox"}',
        now() + interval '1 day'
      FROM generate_series(1, $1) n`,
    [queued],
  )
  await smtp.taken(queued)
  const seconds = (performance.now() - begin) / 1000
  for (const server of servers) await server.end('SIGTERM')
  const { rows } = await client.query('SELECT count(*)::int AS waiting FROM outbox WHERE done_at IS NULL')
  await client.end()
  await smtp.close()
  await drop()
  const copies = smtp.mails.length - copiesIn(smtp.mails).size
  console.log(`${queued} mails by ${instances} instances: ${seconds.toFixed(1)} s, ${copies} copies`)
  console.log(`to the time of a client that only sends: ${((seconds * speed) / queued).toFixed(2)}`)
  if (copies > 0 || rows[0].waiting > 0) process.exitCode = 1
}

await compareRequests()
if (postgres) for (const instances of [1, 2]) await drain(instances, postgres)
else console.log('Set TEST_DATABASE_URL to measure how fast instances send queued mails.')
