// Compares generated histories of sessions with a model of the state table of refresh tokens. FUZZ_REQUESTS sets how
// many. FUZZ_SEED repeats a run.

import { afterAll, beforeAll, expect, jest, test } from '@jest/globals'
import { sql } from 'drizzle-orm'
import fc from 'fast-check'
import type request from 'supertest'
import {
  type Client,
  clearsCookie,
  clientOf,
  createTestApp,
  disable,
  enable,
  newEmail,
  otherPassword,
  type Presented,
  password,
  refreshCookieOf,
  send,
  type TestApp,
} from '../support/app.ts'
import { databaseName } from '../support/database.ts'
import { longTestMs } from '../support/time-limits.js'

jest.setTimeout(longTestMs)

const runs = {
  numRuns: Math.max(30, Math.ceil(Number(process.env.FUZZ_REQUESTS || 0) / 100)),
  ...(process.env.FUZZ_SEED && { seed: Number(process.env.FUZZ_SEED) }),
}

// Steps are multiples of 30 seconds, and limits lie halfway between two. So real time never decides.
const limits = { access: 915, idle: 1815, absolute: 3015, grace: 45, perUser: 2 }

let t: TestApp
beforeAll(async () => {
  t = await createTestApp({
    ACCESS_TOKEN_SECONDS: String(limits.access),
    SESSION_IDLE_SECONDS: String(limits.idle),
    SESSION_ABSOLUTE_SECONDS: String(limits.absolute),
    REFRESH_GRACE_SECONDS: String(limits.grace),
    SESSIONS_PER_USER: String(limits.perUser),
  })
})
afterAll(() => t.close())

// The model.

interface User {
  account: Client
  password: string
  disabled: boolean
}

interface Session {
  id: string
  user: User
  createdAt: number
  rotatedAt: number
  generation: number
  end: string | undefined
  /** The refresh token and the latest access token of each generation, from 1. */
  grants: Omit<Token, 'session' | 'generation'>[]
}

/** The time, and all users and sessions so far, the latest last. */
interface Model {
  now: number
  users: User[]
  sessions: Session[]
}

const isLive = ({ now }: Model, { end, rotatedAt, createdAt }: Session) =>
  end === undefined && now - rotatedAt < limits.idle && now - createdAt < limits.absolute

const liveSessions = (model: Model, user: User) =>
  model.sessions.filter((session) => session.user === user && isLive(model, session))

function end(model: Model, sessions: Session[], reason: string): void {
  for (const session of sessions) if (isLive(model, session)) session.end = reason
}

function start(model: Model, user: User, presented: Token | undefined, response: request.Response): void {
  if (presented) end(model, [presented.session], 'login')
  end(model, liveSessions(model, user).slice(0, 1 - limits.perUser), 'too_many')
  const { now } = model
  const { sessionId: id } = clientOf(response)
  const session = { id, user, createdAt: now, rotatedAt: now, generation: 1, end: undefined, grants: [] }
  model.sessions.push(session)
  noteGrant(model, session, response)
}

/** Expects that a generation always has the same refresh token, and a new generation a new one. */
function noteGrant({ now }: Model, session: Session, response: request.Response): void {
  const { id, generation, grants, rotatedAt, createdAt } = session
  const { sessionId, refreshToken, accessToken } = clientOf(response)
  const given = grants.map((grant) => grant?.refreshToken)
  expect(sessionId).toBe(id)
  expect(given.indexOf(refreshToken)).toBe(given.length > generation ? generation : -1)
  const refreshEnds = Math.min(rotatedAt + limits.idle, createdAt + limits.absolute)
  const accessEnds = Math.min(now + limits.access, refreshEnds)
  grants[generation] = { refreshToken, refreshEnds, accessToken, accessEnds }
}

/** Expects that the rows agree with the model. The row of an expired session may lack its end. */
async function expectRows(model: Model): Promise<void> {
  const rows = await t.db.rows<{ reason: string | null }>(sql`
    SELECT s.id, generation, end_reason AS reason FROM sessions s JOIN users u ON u.id = user_id
    WHERE email IN ${model.users.map(({ account }) => account.email)} ORDER BY s.created_at`)
  const told = model.sessions.map((session, index) => {
    const { id, generation, end } = session
    return { id, generation, reason: end ?? (isLive(model, session) ? null : rows[index]?.reason) }
  })
  expect(rows).toEqual(told)
}

// A command uses any user, session and token so far, but mostly one of the latest.

/** A token that the server issued. */
interface Token {
  session: Session
  generation: number
  refreshToken: string
  refreshEnds: number
  accessToken: string
  accessEnds: number
}

const back = fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, fc.nat(2), fc.nat(20))
const age = fc.oneof({ weight: 9, arbitrary: fc.constantFrom(0, 0, 0, 0, 1, 1) }, fc.nat(20))
const which = fc.record({ session: back, age })
type Which = { session: number; age: number }
const turn = fc.record({
  after: fc.constantFrom(0, 30, 30, 30, 60, 1500),
  age: fc.oneof(fc.nat(1), fc.nat(2)),
})
const turns = fc.array(turn, { minLength: 2, maxLength: 5 })
const maybe = fc.oneof({ weight: 5, arbitrary: fc.constant(undefined) }, which)
const mostly = fc.oneof({ weight: 3, arbitrary: fc.constant(true) }, fc.constant(false))

const pick = <T>(from: T[], back: number) => from.at(-1 - (back % from.length)) as T

function pickToken({ sessions }: Model, { session: back, age }: Which): Token {
  const session = pick(sessions, back)
  const generation = session.generation - (age % session.generation)
  return { session, generation, ...(session.grants[generation] as Session['grants'][number]) }
}

// The commands. Each sends a request, checks the answer and updates the model.

type Expected = [status: number, code: string | undefined, cookie: 'given' | 'taken' | 'kept']

function expectAnswer(response: request.Response, [status, code, cookie]: Expected): void {
  const seen = refreshCookieOf(response)
  expect({
    status: response.status,
    code: response.body.code,
    cookie: clearsCookie(response) ? 'taken' : seen ? 'given' : 'kept',
  }).toEqual({ status, code, cookie })
}

/** The expiry of an access token is checked before its session. */
function refusal(model: Model, { session, accessEnds }: Token): Expected | undefined {
  if (model.now >= accessEnds) return [401, 'access_token_expired', 'kept']
  return isLive(model, session) ? undefined : [401, 'session_ended', 'kept']
}

const post = (path: string, sent: Presented) => send(t.app, `POST ${path}`, sent)

async function register(model: Model, presented?: Token): Promise<void> {
  const body = { email: newEmail(), password }
  const response = await post('/auth/register', { token: presented?.refreshToken, body })
  expectAnswer(response, [201, undefined, 'given'])
  const user = { account: clientOf(response), password, disabled: false }
  model.users.push(user)
  start(model, user, presented, response)
}

/** The rows of the state table for tokens with a valid signature. */
async function refresh(model: Model, token: Token): Promise<void> {
  const { session, generation, refreshToken, refreshEnds } = token
  const response = await post('/auth/refresh', { token: refreshToken })

  if (!isLive(model, session) || model.now >= refreshEnds)
    return expectAnswer(response, [401, 'session_ended', 'taken'])
  const graced = generation === session.generation - 1 && model.now - session.rotatedAt < limits.grace
  if (generation !== session.generation && !graced) {
    session.end = 'reuse'
    return expectAnswer(response, [401, 'refresh_token_reused', 'taken'])
  }
  expectAnswer(response, [200, undefined, 'given'])
  if (!graced) Object.assign(session, { generation: generation + 1, rotatedAt: model.now })
  noteGrant(model, session, response)
}

async function letPass(model: Model, seconds: number): Promise<void> {
  model.now += seconds
  if (seconds > 0) await t.pass(seconds)
}

function command<T>(
  weight: number,
  name: string,
  inputs: { [Name in keyof T]: fc.Arbitrary<T[Name]> },
  run: (model: Model, values: T) => Promise<void>,
): fc.Arbitrary<fc.AsyncCommand<Model, TestApp>>[] {
  const arbitrary = fc.record(inputs).map((values) => ({
    check: () => true,
    async run(model: Model) {
      await run(model, values as T)
      await expectRows(model)
    },
    toString: () => `${name} ${JSON.stringify(values)}`,
  }))
  return Array(weight).fill(arbitrary)
}

const commands = [
  ...command(2, 'register', { presents: maybe }, async (model, { presents }) => {
    if (model.users.length < 3) await register(model, presents && pickToken(model, presents))
  }),

  ...command(
    4,
    'log in',
    { as: back, knows: mostly, presents: maybe },
    async (model, { as, knows, presents }) => {
      const user = pick(model.users, as)
      const presented = presents && pickToken(model, presents)
      const body = { email: user.account.email, password: knows ? user.password : 'no password of mine' }

      const response = await post('/auth/login', { token: presented?.refreshToken, body })

      if (!knows || user.disabled) return expectAnswer(response, [401, 'invalid_credentials', 'kept'])
      expectAnswer(response, [200, undefined, 'given'])
      start(model, user, presented, response)
    },
  ),

  ...command(6, 'refresh', { session: back, turns }, async (model, { session, turns }) => {
    for (const { after, age } of turns) {
      await letPass(model, after)
      await refresh(model, pickToken(model, { session, age }))
    }
  }),

  ...command(1, 'log out', { by: which }, async (model, { by }) => {
    const { session, refreshToken } = pickToken(model, by)

    expectAnswer(await post('/auth/logout', { token: refreshToken }), [204, undefined, 'taken'])

    end(model, [session], 'logout')
  }),

  ...command(1, 'log out everywhere', { by: which }, async (model, { by }) => {
    const token = pickToken(model, by)

    const response = await post('/auth/logout-all', { as: token })

    const refused = refusal(model, token)
    expectAnswer(response, refused ?? [204, undefined, 'taken'])
    if (!refused) end(model, liveSessions(model, token.session.user), 'logout_all')
  }),

  ...command(2, 'change the password', { by: which, knows: mostly }, async (model, { by, knows }) => {
    const token = pickToken(model, by)
    const { user } = token.session
    const newPassword = user.password === password ? otherPassword : password
    const currentPassword = knows ? user.password : newPassword

    const response = await post('/auth/password', { as: token, body: { currentPassword, newPassword } })

    const refused = refusal(model, token) ?? (knows ? undefined : [403, 'wrong_password', 'kept'])
    expectAnswer(response, refused ?? [200, undefined, 'given'])
    if (refused) return
    user.password = newPassword
    end(model, liveSessions(model, user), 'password_changed')
    start(model, user, undefined, response)
  }),

  ...command(2, 'revoke', { by: which, which: back }, async (model, { by, which }) => {
    const token = pickToken(model, by)
    const session = pick(model.sessions, which)

    const response = await send(t.app, `DELETE /auth/sessions/${session.id}`, { as: token })

    const own = liveSessions(model, token.session.user).includes(session)
    const refused = refusal(model, token) ?? (own ? undefined : [404, 'not_found', 'kept'])
    expectAnswer(response, refused ?? [204, undefined, 'kept'])
    if (!refused) end(model, [session], 'revoked')
  }),

  ...command(1, 'list', { by: which }, async (model, { by }) => {
    const token = pickToken(model, by)

    const response = await send(t.app, 'GET /auth/sessions', { as: token })

    const refused = refusal(model, token)
    expectAnswer(response, refused ?? [200, undefined, 'kept'])
    if (refused) return
    const listed: { id: string; current: boolean }[] = response.body.sessions
    const live = liveSessions(model, token.session.user).map(({ id }) => ({
      id,
      current: id === token.session.id,
    }))
    expect(listed.length).toBe(live.length)
    expect(listed).toEqual(expect.arrayContaining(live.map((session) => expect.objectContaining(session))))
  }),

  ...command(1, 'disable', { whom: back }, async (model, { whom }) => {
    const user = pick(model.users, whom)
    await disable(t, user.account)
    user.disabled = true
    end(model, liveSessions(model, user), 'user_disabled')
  }),

  ...command(2, 'enable', { whom: back }, async (model, { whom }) => {
    const user = pick(model.users, whom)
    await enable(t, user.account)
    user.disabled = false
  }),

  ...command(1, 'let time pass', { seconds: fc.constantFrom(60, 1500, 1830) }, (model, { seconds }) =>
    letPass(model, seconds),
  ),

  ...command(1, 'restart', {}, () => t.restart()),
]

test(`sessions on ${databaseName} follow the state table in every order of requests`, async () => {
  const histories = fc.commands(commands, { maxCommands: 40, size: 'max' })

  await fc.assert(
    fc.asyncProperty(histories, async (history) => {
      const model: Model = { now: 0, users: [], sessions: [] }
      await register(model)
      await register(model)

      await fc.asyncModelRun(() => ({ model, real: t }), history)
    }),
    runs,
  )
})
