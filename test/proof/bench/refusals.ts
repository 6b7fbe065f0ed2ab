// Tests whether the time of a refused login reveals the reason (ASVS 5.0.0, 6.3.8), or the cost of the account's hash.
// The database has hashes of two costs, as after BCRYPT_COST was lowered. Takes samples of each reason in turns. For each
// pair of reasons, prints the probability that a sample of one takes longer than a sample of the other (Mann and
// Whitney). 0.5 means that nothing is revealed. With this many samples, equal times give between 0.44 and 0.56.
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import bcrypt from 'bcrypt'
import { sql } from 'drizzle-orm'
import { pino } from 'pino'
import { compose } from '../../../src/compose.ts'
import { loadConfig } from '../../../src/config/config.ts'
import { features } from '../../../src/features.ts'
import { openDatabase } from '../../../src/store/open-database.ts'
import { createPostgresDatabase } from '../../support/database.ts'
import { testEnvironment } from '../../support/environment.ts'
import { longerThan, median } from './statistics.ts'

const samplesEach = 300
const password = 'my dog is called rex'
const wrong = 'my cat is called tux'

const postgres = process.env.TEST_DATABASE_URL
const empty = postgres ? await createPostgresDatabase(postgres) : undefined
const environment = { ...testEnvironment, BCRYPT_COST: '10', PUBLIC_URL: 'http://localhost:3000' }
const config = await loadConfig(environment, { features })
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

/** Returns the milliseconds that a refused login takes. */
async function refuse(email: string, guessed: string): Promise<number> {
  const begin = performance.now()
  const { status } = await post('/auth/login', { email, password: guessed })
  if (status !== 401) throw new Error(`a login that should be refused answered ${status}`)
  return performance.now() - begin
}

for (const email of ['known@example.com', 'disabled@example.com', 'dearer@example.com'])
  await post('/auth/register', { email, password })
await database.run((on) =>
  on.execute(sql`UPDATE users SET disabled_at = now() WHERE email = 'disabled@example.com'`),
)
const dearerHash = bcrypt.hashSync('a password that nobody tries', 11)
await database.run((on) =>
  on.execute(sql`UPDATE users SET password_hash = ${dearerHash} WHERE email = 'dearer@example.com'`),
)

const reasons = {
  unknown: (i: number) => refuse(`nobody-${i}@example.com`, password),
  wrong: () => refuse('known@example.com', wrong),
  dearer: () => refuse('dearer@example.com', wrong),
  disabled: () => refuse('disabled@example.com', password),
}
type Reason = keyof typeof reasons
const names = Object.keys(reasons) as Reason[]
const times: Record<Reason, number[]> = { unknown: [], wrong: [], dearer: [], disabled: [] }
for (let round = -10; round < samplesEach; round++)
  for (const name of names.toSorted(() => Math.random() - 0.5)) {
    const time = await reasons[name](round)
    if (round >= 0) times[name].push(time) // Earlier rounds warm up.
  }

console.log(`Refused logins, ${samplesEach} samples each, on ${postgres ? 'PostgreSQL' : 'PGlite'}`)
for (const name of names) console.log(`${name}: median ${median(times[name]).toFixed(1)} ms`)
for (const [a, b] of [
  ['unknown', 'wrong'],
  ['disabled', 'wrong'],
  ['dearer', 'wrong'],
  ['unknown', 'dearer'],
  ['unknown', 'disabled'],
] as const)
  console.log(
    `a login refused as ${a} takes longer than as ${b}: ${longerThan(times[a], times[b]).toFixed(3)}`,
  )

server.closeAllConnections()
server.close()
await services.close()
await empty?.drop()
