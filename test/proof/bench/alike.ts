// Tests whether the time of a request that may send mail reveals what the address has. Takes samples of each kind of
// address in turns. Asks for each address several times, because a later link replaces the earlier one. For each pair,
// prints the probability that a sample of one takes longer than a sample of the other (Mann and Whitney). 0.5 means that
// nothing is revealed. Fails if one is further from it than `tolerance`.
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { sql } from 'drizzle-orm'
import { pino } from 'pino'
import { compose } from '../../../src/compose.ts'
import { loadConfig } from '../../../src/config/config.ts'
import { features } from '../../../src/features.ts'
import { openDatabase } from '../../../src/store/open-database.ts'
import { createPostgresDatabase } from '../../support/database.ts'
import { testEnvironment } from '../../support/environment.ts'
import { longerThan, median } from './statistics.ts'

// If nothing is revealed, about one comparison in 10,000 is beyond the tolerance.
const samplesEach = Number(process.env.SAMPLES ?? 1000)
const requestsEach = 3
const tolerance = 0.05
const password = 'my dog is called rex'
const postgres = process.env.TEST_DATABASE_URL
const empty = postgres ? await createPostgresDatabase(postgres) : undefined
const database = await openDatabase({ url: empty?.url, folder: 'memory://', onTrouble: console.error })

const kinds = ['unknown', 'known', 'unverified', 'disabled'] as const
type Kind = (typeof kinds)[number]
const addressOf = (kind: Kind, round: number) => `${kind}-${round}@example.com`

/** Starts a server, and returns what sends it a request. The mails go to the mailbox of the process. */
async function serve(registration: 'open' | 'verified') {
  const config = await loadConfig({ ...testEnvironment, REGISTRATION: registration }, { features })
  const services = await compose(config, pino({ level: 'silent' }), {
    database: Object.create(database, { close: { value: async () => {} } }),
  })
  const server = createServer(services.app('http://localhost:3000')).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    async time(path: string, body: object, expected: number): Promise<number> {
      const begin = performance.now()
      const { status } = await fetch(`http://127.0.0.1:${port}${path}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      })
      const time = performance.now() - begin
      if (status !== expected) throw new Error(`${path} answered ${status}`)
      await services.sendMails() // The worker must not disturb the next sample.
      return time
    },
    async close() {
      server.closeAllConnections()
      server.close()
      await services.close()
    },
  }
}

const rounds = Array.from({ length: samplesEach + 10 }, (_, round) => round)
const open = await serve('open')
for (const kind of kinds.slice(1))
  for (const round of rounds)
    await open.time('/auth/register', { email: addressOf(kind, round), password }, 201)
await database.run((on) =>
  on.execute(sql`UPDATE users SET email_verified_at = now() WHERE email LIKE 'known-%'`),
)
await database.run((on) =>
  on.execute(sql`UPDATE users SET disabled_at = now() WHERE email LIKE 'disabled-%'`),
)
const verified = await serve('verified')

await compare('POST /auth/password/forgot', (email) => open.time('/auth/password/forgot', { email }, 202))
await compare('POST /auth/register, with REGISTRATION=verified', (email) =>
  verified.time('/auth/register', { email, password }, 202),
)

async function compare(name: string, ask: (email: string) => Promise<number>): Promise<void> {
  const requests = Array.from({ length: requestsEach }, (): Record<Kind, number[]> => {
    return { unknown: [], known: [], unverified: [], disabled: [] }
  })
  for (const round of rounds)
    for (const times of requests)
      for (const kind of kinds.toSorted(() => Math.random() - 0.5)) {
        const time = await ask(addressOf(kind, round))
        if (round >= 10) times[kind].push(time) // Earlier rounds warm up.
      }
  console.log(`${name}, ${samplesEach} samples each, on ${postgres ? 'PostgreSQL' : 'PGlite'}`)
  for (const [i, times] of requests.entries()) report(`request ${i + 1} of an address`, times)
}

function report(name: string, times: Record<Kind, number[]>): void {
  const medians = kinds.map((kind) => `${kind} ${median(times[kind]).toFixed(2)}`)
  console.log(`${name}: medians in ms: ${medians.join(', ')}`)
  for (const kind of kinds.slice(1)) {
    const probability = longerThan(times[kind], times.unknown)
    console.log(`${kind} takes longer than unknown: ${probability.toFixed(3)}`)
    if (Math.abs(probability - 0.5) > tolerance) process.exitCode = 1
  }
}

await open.close()
await verified.close()
await database.close()
await empty?.drop()
