// Measures how much a flood of logins slows down refreshes, and how much a verified token slows down a route. Rounds with
// and without alternate in one run. Both results are ratios, because ratios also hold on a slow or busy machine.
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { availableParallelism, loadavg } from 'node:os'
import { resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { createPostgresDatabase } from '../../support/database.ts'
import {
  refreshCookie,
  residentMegabytes,
  type ServerProcess,
  send,
  startServer,
} from '../../support/server.ts'
import type { Job, Report } from './load.ts'
import { median, quantile } from './statistics.ts'

const password = 'my dog is called rex'
const refreshesPerSecond = 40
const refreshClients = 24
const floodAccounts = 4
const overload = 10
const roundSeconds = 6
const floodBudgetMs = 130_000
const routeRounds = 15
const routeSeconds = 1.5

const cleanups: (() => unknown)[] = []
const table: string[] = ['| Ratio | Median | Min–max of the rounds | Goal |', '|---|---|---|---|']

try {
  await benchFlood()
  await benchRoute()
  say(`\n${table.join('\n')}`)
} finally {
  for (const cleanup of cleanups.reverse()) await cleanup()
}

async function benchFlood(): Promise<void> {
  const begin = performance.now()
  const server = await startDatabaseAndServer()
  const port = Number(new URL(server.url).port)
  const register = async (email: string) => {
    const { status, refreshToken } = await send('POST', `${server.url}/auth/register`, {
      body: { email, password },
    })
    if (status !== 201) throw new Error(`registration answered ${status}`)
    return refreshCookie(String(refreshToken))
  }
  const emails = Array.from({ length: floodAccounts }, (_, index) => `flood-${index}@example.com`)
  const requests = emails.map(loginRequest)
  await Promise.all(emails.map(register))
  let cookies = await Promise.all(
    Array.from({ length: refreshClients }, (_, index) => register(`user-${index}@example.com`)),
  )

  const [refresher, flooder] = [start('load.ts'), start('load.ts')]
  const refresh = async () => {
    const job = { port, seconds: roundSeconds, perSecond: refreshesPerSecond, cookies }
    const report = await load(refresher, { kind: 'refresh', ...job })
    cookies = report.cookies
    return report
  }
  // The first round warms up the server.
  let capacity = 0
  for (const seconds of [3, 8]) {
    const began = performance.now()
    const { statuses } = await load(flooder, { kind: 'saturate', port, seconds, connections: 8, requests })
    capacity = ((statuses[200] ?? 0) * 1000) / (performance.now() - began)
  }
  await refresh()
  const offered = capacity * overload
  say(`it takes ${capacity.toFixed(1)} logins/s, and is offered ${offered.toFixed(0)}/s`)

  const before = residentMegabytes(server)
  const memory: number[] = []
  let peak = before
  const sampling = setInterval(() => {
    peak = Math.max(peak, residentMegabytes(server))
  }, 200)
  const idle: Report[] = []
  const flooded: Report[] = []
  const logins: Report[] = []
  const undisturbed = async () => void idle.push(await refresh())
  const underFlood = async () => {
    // The flood starts a second before, to fill the queue, and ends a second after.
    const job = { port, seconds: roundSeconds + 2, perSecond: offered, requests }
    const flood = load(flooder, { kind: 'flood', ...job })
    await delay(1000)
    flooded.push(await refresh())
    logins.push(await flood)
    memory.push(residentMegabytes(server))
  }
  while (idle.length < 3 || performance.now() - begin < floodBudgetMs)
    for (const phase of idle.length % 2 ? [underFlood, undisturbed] : [undisturbed, underFlood]) await phase()
  clearInterval(sampling)

  for (const [name, reports] of Object.entries({ idle, 'under the flood': flooded })) {
    const all = reports.flatMap(({ latencies }) => latencies)
    say(
      `refreshes ${name}: p50 ${ms(quantile(all, 0.5))}, p99 ${ms(quantile(all, 0.99))}, ${answers(reports)}; ` +
        `of it the generator's own delay: p99 ${ms(median(reports.map(({ loopDelay }) => loopDelay)))}`,
    )
  }
  say(`logins: ${answers(logins)}`)
  say(
    `memory: ${[before, ...memory].map((value) => value.toFixed(0)).join(' ')}, at most ${peak.toFixed(0)} MB`,
  )
  const ratios = (q: number) =>
    flooded.map(({ latencies }, round) => quantile(latencies, q) / quantile(idle[round]?.latencies ?? [], q))
  row(`Refresh at p50: under ${overload} times the logins that it can take / idle`, ratios(0.5))
  row('Refresh at p99, likewise', ratios(0.99), 'at most 1.5')
  row(
    'Memory after a flood / after the first',
    memory.slice(1).map((value) => value / (memory[0] ?? 0)),
    'flat',
  )
}

async function startDatabaseAndServer(): Promise<ServerProcess> {
  const postgres = process.env.TEST_DATABASE_URL
  const database = postgres ? await createPostgresDatabase(postgres) : undefined
  if (database) cleanups.push(database.drop)
  const server = await startServer({
    NODE_ENV: 'production',
    PUBLIC_URL: 'http://localhost:3000',
    COOKIE_SECURE: 'false',
    BCRYPT_COST: '12',
    LOG_LEVEL: 'info',
    ...(database && { DATABASE_URL: database.url }),
  })
  cleanups.push(() => server.end('SIGTERM'))
  const kind = database ? 'PostgreSQL' : 'PGlite'
  say(`${kind}, Node ${process.version}, ${availableParallelism()} cores, load ${loadavg()[0]?.toFixed(1)}`)
  return server
}

async function benchRoute(): Promise<void> {
  const app = start('protected-app.js')
  const [{ open, guarded, token }] = await once(app, 'message')
  const generator = start('load.ts')
  const request = `GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${token}\r\n\r\n`
  /** Microseconds per request: of CPU time and of elapsed time. */
  const measure = async (port: number, seconds = routeSeconds) => {
    const before = await ask<NodeJS.CpuUsage>(app, {})
    const job = { port, seconds, connections: 16, requests: [request] }
    const { statuses } = await load(generator, { kind: 'saturate', ...job })
    const after = await ask<NodeJS.CpuUsage>(app, {})
    const { 200: requests = 0, ...others } = statuses
    if (requests === 0 || Object.keys(others).length > 0)
      throw new Error(`the route answered ${JSON.stringify(statuses)}`)
    return {
      cpu: (after.user + after.system - before.user - before.system) / requests,
      time: (seconds * 1e6) / requests,
    }
  }
  await measure(open, 3)
  await measure(guarded, 3)
  const without: Awaited<ReturnType<typeof measure>>[] = []
  const withToken: typeof without = []
  const sides = [
    async () => void without.push(await measure(open)),
    async () => void withToken.push(await measure(guarded)),
  ]
  for (let round = 0; round < routeRounds; round++)
    for (const side of round % 2 ? sides.toReversed() : sides) await side()

  const cost = (of: typeof without) => median(of.map(({ cpu }) => cpu)).toFixed(0)
  say(`CPU time of a request: ${cost(without)} µs, with a verified token ${cost(withToken)} µs`)
  const ratios = (of: 'cpu' | 'time') =>
    withToken.map((result, round) => result[of] / (without[round]?.[of] ?? Number.NaN))
  row('CPU time of a request: with a verified token / without', ratios('cpu'), 'at most 1.15')
  row('Time of a request, one after the other, likewise', ratios('time'))
}

function start(file: string): ChildProcess {
  const child = fork(resolve('test/proof/bench', file), file.endsWith('.js') ? { execArgv: [] } : {})
  // Then everything that waits for its message fails.
  child.once('exit', (code) => code && child.emit('error', new Error(`${file} ended with ${code}`)))
  cleanups.push(() => child.connected && child.disconnect())
  return child
}

/** Sends a message to a process, and waits for the answer. */
async function ask<T>(child: ChildProcess, message: object): Promise<T> {
  const answer = once(child, 'message')
  child.send(message)
  return (await answer)[0] as T
}

function load(generator: ChildProcess, job: Job): Promise<Report> {
  return ask(generator, job)
}

function loginRequest(email: string): string {
  const body = JSON.stringify({ email, password })
  return `POST /auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`
}

/** The number of answers with each status. */
function answers(reports: Report[]): string {
  const sum = new Map<string, number>()
  for (const { statuses } of reports)
    for (const [status, count] of Object.entries(statuses)) sum.set(status, (sum.get(status) ?? 0) + count)
  return [...sum].map(([status, count]) => `${count} of ${status}`).join(', ')
}

function row(what: string, ratios: readonly number[], goal = ''): void {
  const range = `${Math.min(...ratios).toFixed(2)}–${Math.max(...ratios).toFixed(2)}`
  table.push(`| ${what} | ${median(ratios).toFixed(2)} | ${range} | ${goal} |`)
}

function ms(value: number): string {
  return `${value.toFixed(1)} ms`
}

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}
