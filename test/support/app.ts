import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { RequestListener, Server } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { afterAll, beforeAll, expect } from '@jest/globals'
import { sql } from 'drizzle-orm'
import jwt from 'jsonwebtoken'
import { pino } from 'pino'
import request from 'supertest'
import type { Threads } from '../../src/auth/password.ts'
import { compose } from '../../src/compose.ts'
import { loadConfig } from '../../src/config/config.ts'
import { features, templates } from '../../src/features.ts'
import type { Metrics } from '../../src/http/metrics.ts'
import type { OutgoingMail } from '../../src/mail/outgoing.ts'
import { queueMail } from '../../src/store/outbox.ts'
import { createTestDatabase, type TestDatabase } from './database.ts'
import { publicUrl, refreshCookieName, refreshSecret, testEnvironment } from './environment.ts'
import type { Kept } from './jest-environment.ts'

export * from './environment.ts'

export interface TestApp {
  app: RequestListener
  db: TestDatabase
  /** Lines of the log so far. */
  log: Record<string, unknown>[]
  /** Deletes old rows, as the server's housekeeping does. */
  purge(): Promise<void>
  metrics: Metrics
  /** Sends the mails that are due. Returns all mails of this server so far, newest first. */
  mails(): Promise<readonly OutgoingMail[]>
  /** Lets time pass, for the database and for all servers on it. */
  pass(seconds: number): Promise<void>
  /** Replaces this server with a new one on the same database. */
  restart(): Promise<void>
  close(): Promise<void>
}

// The threads outlive the servers, and the test file.
function shareThreads(maxThreads: number): Threads {
  const shared = (globalThis as unknown as { kept: Kept }).kept.startThreads(maxThreads)
  return { run: (task, options) => shared.run(task, options), destroy: async () => {} }
}

// Creating an embedded database takes a second. Emptying one takes milliseconds.
const unused = new Set<TestDatabase>()
let over = false
afterAll(async () => {
  over = true
  for (const db of unused) await db.close()
})

async function takeDatabase(): Promise<TestDatabase> {
  const [db] = unused
  if (!db) return createTestDatabase()
  unused.delete(db)
  await db.empty()
  return db
}

/** Creates a whole server without its socket, on its own database by default, with a clock that tests can move. */
export async function createTestApp(
  environment: Record<string, string> = {},
  onDatabase?: TestDatabase,
): Promise<TestApp> {
  const db = onDatabase ?? (await takeDatabase())
  const log: Record<string, unknown>[] = []
  const sink = new Writable({
    write(chunk, _encoding, done) {
      log.push(JSON.parse(String(chunk)))
      done()
    },
  })
  const config = await loadConfig({ ...testEnvironment, ...environment }, { features })
  // The database outlives its servers. Through the prototype, servers also see what tests replace in it.
  const database = Object.create(db.database, { close: { value: async () => {} } })
  const start = () =>
    compose(config, pino({ level: 'trace' }, sink), {
      clock: () => Date.now() + db.serversAheadMs,
      database,
      // Never by itself. On a slow machine it would delete rows that a test compares.
      housekeepingMs: 2 ** 31 - 1,
      mailPollMs: 2 ** 31 - 1,
      templates: { ...templates, hello },
      startThreads: shareThreads,
    })
  const url = environment.PUBLIC_URL ?? publicUrl
  let services = await start()
  const t: TestApp = {
    app: services.app(url),
    db,
    log,
    purge: services.purge,
    metrics: services.metrics,
    async mails() {
      await services.sendMails()
      return services.mailbox.mails()
    },
    async pass(seconds) {
      db.serversAheadMs += seconds * 1000
      await db.pass(seconds)
    },
    async restart() {
      await services.close()
      services = await start()
      this.app = services.app(url)
    },
    async close() {
      await services.close()
      if (onDatabase) return
      if (over) await db.close()
      else unused.add(db)
    },
  }
  return t
}

const hello = () => ({ subject: 'Hello', heading: 'Hello', paragraphs: [], footer: 'Bye' })

/** Queues a mail that no feature needs to exist for. `t.mails()` sends it. */
export const queueHello = ({ db }: TestApp, recipient: string) =>
  db.database.transaction((tx) => queueMail(tx, { template: 'hello', recipient, params: {} }))

/**
 * Creates one app for all tests of a file.
 * @param beside an app whose database this one shares, because creating another database takes a second
 */
export function useTestApp(environment?: Record<string, string>, beside?: TestApp): TestApp {
  const t = {} as TestApp
  beforeAll(async () => void Object.assign(t, await createTestApp(environment, beside?.db)))
  afterAll(() => t.close())
  return t
}

/** Creates an app that loses its keys after the start: the file of its refresh secret is deleted. */
export async function createAppWithoutKeys(onDatabase: TestDatabase): Promise<TestApp> {
  const folder = mkdtempSync(join(tmpdir(), 'auth-secrets-'))
  const file = join(folder, 'refresh')
  writeFileSync(file, refreshSecret)
  const t = await createTestApp({ JWT_REFRESH_SECRET: '', JWT_REFRESH_SECRET_FILE: file }, onDatabase)
  rmSync(folder, { recursive: true })
  return t
}

/** Returns the row of a session; undefined if it does not exist. */
export async function rowOf({ db }: TestApp, { sessionId }: Pick<Client, 'sessionId'>) {
  const [row] = await db.rows(sql`SELECT * FROM sessions WHERE id = ${sessionId}`)
  return row
}

/** Returns the number of rows of a table. */
export async function countOf({ db }: TestApp, table: string): Promise<number> {
  const [row] = await db.rows<{ count: number }>(
    sql`SELECT count(*)::int AS count FROM ${sql.identifier(table)}`,
  )
  return row?.count ?? 0
}

export const disable = ({ db }: TestApp, { userId }: Client) =>
  db.rows(sql`UPDATE users SET disabled_at = now() WHERE id = ${userId}`)
export const enable = ({ db }: TestApp, { userId }: Client) =>
  db.rows(sql`UPDATE users SET disabled_at = NULL WHERE id = ${userId}`)

let users = 0
export const password = 'my dog is called rex'
export const otherPassword = 'my cat is called tux'
export const newEmail = () => `user-${++users}-${randomBytes(4).toString('hex')}@example.com`

/** A client that keeps the refresh token as a browser does. */
export interface Client {
  email: string
  accessToken: string
  refreshToken: string
  userId: string
  sessionId: string
}

/** Registers a user. That also logs the user in. */
export async function register(app: RequestListener, email = newEmail()): Promise<Client> {
  return clientOf(await send(app, 'POST /auth/register', { body: { email, password } }).expect(201))
}

/** Logs a registered user in again, as from another device. */
export async function login(app: RequestListener, email: string, withPassword = password): Promise<Client> {
  return clientOf(await tryLogin(app, email, withPassword).expect(200))
}

export const tryLogin = (app: RequestListener | Server, email: string, withPassword = password) =>
  send(app, 'POST /auth/login', { body: { email, password: withPassword } })

export function clientOf(response: request.Response): Client {
  const { accessToken, user } = response.body
  const { sid } = jwt.decode(accessToken) as { sid: string }
  return {
    email: user.email,
    accessToken,
    refreshToken: refreshTokenOf(response),
    userId: user.id,
    sessionId: sid,
  }
}

/** Returns the value of the refresh cookie that an answer sets, and its attributes as text. */
export function refreshCookieOf(
  response: request.Response,
): { value: string; attributes: string[] } | undefined {
  const header = response.get('Set-Cookie')?.find((line) => /^(__Host-)?refresh_token(_\d+)?=/.test(line))
  if (header === undefined) return undefined
  const [pair = '', ...attributes] = header.split('; ')
  return { value: pair.slice(pair.indexOf('=') + 1), attributes }
}

export function refreshTokenOf(response: request.Response): string {
  const cookie = refreshCookieOf(response)
  if (!cookie?.value) throw new Error(`no refresh token in the answer ${response.status} ${response.text}`)
  return cookie.value
}

/** Returns whether an answer deletes the refresh cookie in the browser. */
export function clearsCookie(response: request.Response): boolean {
  const cookie = refreshCookieOf(response)
  return cookie?.value === '' && cookie.attributes.includes('Expires=Thu, 01 Jan 1970 00:00:00 GMT')
}

export const cookie = (token: string) => `${refreshCookieName}=${token}`
export const bearer = (client: { accessToken: string }) => `Bearer ${client.accessToken}`

export interface Presented {
  /** The client whose access token is presented. */
  as?: { accessToken: string } | undefined
  /** The refresh token that is presented. */
  token?: string | undefined
  headers?: Record<string, string> | undefined
  /** Sent as JSON. Text and bytes are sent as they are. */
  body?: object | string | Buffer | undefined
}

/** Sends a request, such as `POST /auth/login`. */
export function send(
  to: RequestListener | Server,
  route: string,
  { as, token, headers, body }: Presented = {},
) {
  const [method = '', path = ''] = route.split(/ (.*)/s)
  const sending = request(to)[method.toLowerCase() as 'get'](path)
  if (as) sending.set('Authorization', bearer(as))
  if (token !== undefined) sending.set('Cookie', cookie(token))
  if (typeof body === 'string' || Buffer.isBuffer(body))
    sending.type('json').serialize((text) => text as unknown as string)
  if (headers) sending.set(headers)
  return body === undefined ? sending : sending.send(body)
}

const noisy = ['date', 'x-request-id']

/** Returns what is the same in two answers that a client cannot tell apart. */
export const withoutNoise = ({ status, body, headers }: request.Response) => ({
  status,
  body: { ...body, requestId: undefined },
  headers: Object.entries(headers).filter(([name]) => !noisy.includes(name)),
})

export const refresh = (app: RequestListener, token: string) => send(app, 'POST /auth/refresh', { token })
export const logout = (app: RequestListener, token: string) => send(app, 'POST /auth/logout', { token })

/** Expects a problem with this status and code. */
export function expectProblem(response: request.Response, status: number, code: string) {
  expect({ status: response.status, code: response.body.code }).toEqual({ status, code })
}

/** Expects that the server is unavailable, and that the client keeps its cookie. */
export function expectUnavailable(response: request.Response) {
  expectProblem(response, 503, 'unavailable')
  expect(Number(response.get('Retry-After'))).toBeGreaterThan(0)
  expect(response.get('Set-Cookie')).toBeUndefined()
}
