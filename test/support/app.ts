import { createHmac, createSecretKey, randomBytes } from 'node:crypto'
import { Writable } from 'node:stream'
import type { Express } from 'express'
import jwt from 'jsonwebtoken'
import { pino } from 'pino'
import request from 'supertest'
import { compose } from '../../src/compose.ts'
import { loadConfig } from '../../src/config.ts'
import { createTestDatabase, type TestDatabase } from './database.ts'

export const publicUrl = 'http://localhost:3000'
export const accessSecret = randomBytes(48).toString('base64url')
export const refreshSecret = randomBytes(48).toString('base64url')

/** Settings under which tests run, hashing being as cheap as it goes. */
export const testEnvironment = {
  NODE_ENV: 'test',
  PUBLIC_URL: publicUrl,
  BCRYPT_COST: '4',
  JWT_ACCESS_SECRET: accessSecret,
  JWT_REFRESH_SECRET: refreshSecret,
  DATA_DIR: 'memory://',
}

export interface TestApp {
  app: Express
  db: TestDatabase
  /** Lines of the log so far. */
  log: Record<string, unknown>[]
  /** Lets time pass, for the server's clock and the database's. */
  pass(seconds: number): Promise<void>
  close(): Promise<void>
}

/** The whole server but the listening socket, on a database of its own, with a clock that tests can move. */
export async function createTestApp(environment: Record<string, string> = {}): Promise<TestApp> {
  const db = await createTestDatabase()
  const log: Record<string, unknown>[] = []
  const sink = new Writable({
    write(chunk, _encoding, done) {
      log.push(JSON.parse(String(chunk)))
      done()
    },
  })
  let skewMs = 0
  const config = await loadConfig({ ...testEnvironment, ...environment })
  const services = await compose(config, pino({ level: 'trace' }, sink), {
    clock: () => Date.now() + skewMs,
    database: db.database,
  })
  return {
    app: services.app(environment.PUBLIC_URL ?? publicUrl),
    db,
    log,
    async pass(seconds) {
      skewMs += seconds * 1000
      await db.pass(seconds)
    },
    close: async () => {
      await services.close().catch(() => {})
      await db.close().catch(() => {})
    },
  }
}

let users = 0
export const password = 'my dog is called rex'
export const newEmail = () => `user-${++users}-${randomBytes(4).toString('hex')}@example.com`

/** A client that keeps the refresh token as a browser does. */
export interface Client {
  email: string
  accessToken: string
  refreshToken: string
  userId: string
  sessionId: string
}

/** Registers a user and logs in; `cookie` and `bearer` below present its tokens. */
export async function register(app: Express, email = newEmail()): Promise<Client> {
  return clientOf(await request(app).post('/auth/register').send({ email, password }).expect(201))
}

/** Logs a registered user in once more, as from another device. */
export async function login(app: Express, email: string, withPassword = password): Promise<Client> {
  return clientOf(await request(app).post('/auth/login').send({ email, password: withPassword }).expect(200))
}

export function clientOf(response: request.Response): Client {
  const { accessToken, user } = response.body
  const claims = jwt.decode(accessToken) as { sid: string }
  return {
    email: user.email,
    accessToken,
    refreshToken: refreshTokenOf(response),
    userId: user.id,
    sessionId: claims.sid,
  }
}

/** The refresh cookie that an answer sets: its value, and its attributes as they were written. */
export function refreshCookieOf(
  response: request.Response,
): { value: string; attributes: string[] } | undefined {
  const header = response.get('Set-Cookie')?.find((line) => /^(__Host-)?refresh_token=/.test(line))
  if (header === undefined) return undefined
  const [pair = '', ...attributes] = header.split('; ')
  return { value: pair.slice(pair.indexOf('=') + 1), attributes }
}

export function refreshTokenOf(response: request.Response): string {
  const cookie = refreshCookieOf(response)
  if (!cookie?.value) throw new Error(`no refresh token in the answer ${response.status} ${response.text}`)
  return cookie.value
}

/** Whether an answer takes the refresh cookie away from the browser. */
export function clearsCookie(response: request.Response): boolean {
  const cookie = refreshCookieOf(response)
  return cookie?.value === '' && cookie.attributes.includes('Expires=Thu, 01 Jan 1970 00:00:00 GMT')
}

export const cookie = (token: string) => `refresh_token=${token}`
export const bearer = (client: { accessToken: string }) => `Bearer ${client.accessToken}`

export function refresh(app: Express, token: string) {
  return request(app).post('/auth/refresh').set('Cookie', cookie(token))
}

/** A JWT with header and claims of a test's own, signed with HS256 unless told otherwise. */
export function forge(
  secret: string,
  header: Record<string, unknown>,
  claims: Record<string, unknown> | string,
): string {
  const encode = (part: unknown) =>
    Buffer.from(typeof part === 'string' ? part : JSON.stringify(part)).toString('base64url')
  return sign(`${encode(header)}.${encode(claims)}`, secret)
}

/** Signs `header.payload`, as it stands, with HS256. */
export function sign(input: string, secret: string): string {
  const signature = createHmac('sha256', createSecretKey(secret, 'utf8')).update(input).digest('base64url')
  return `${input}.${signature}`
}
