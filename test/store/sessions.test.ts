import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { sql } from 'drizzle-orm'
import type { Caller } from '../../src/store/audit.ts'
import type { Queries } from '../../src/store/database.ts'
import { createSessionStore, type NewSession, type SessionStore } from '../../src/store/sessions.ts'
import { createUserStore, type UserStore } from '../../src/store/users.ts'
import { createTestDatabase, databaseName, type TestDatabase, withoutDatabase } from '../support/database.ts'
import { somewhere } from '../support/fakes.ts'

const limits = { idleSeconds: 1000, absoluteSeconds: 3000, graceSeconds: 10, perUser: 3 }

let db: TestDatabase
let sessions: SessionStore
let users: UserStore
beforeAll(async () => {
  db = await createTestDatabase()
  sessions = createSessionStore({ database: db.database, limits })
  users = createUserStore(db)
})
afterAll(() => db.close())

const newId = () => randomBytes(16).toString('base64url')
const newSession = (more: Partial<NewSession> = {}): NewSession => ({
  id: newId(),
  userAgent: 'Firefox',
  ip: '192.0.2.1',
  replaces: undefined,
  amr: ['pwd'],
  ...more,
})
const newHash = () => ({ passwordHash: `hash-${newId()}`, passwordScheme: 1 })

async function newUser(): Promise<string> {
  const [user] = await db.rows<{ id: string }>(sql`
    INSERT INTO users (email, password_hash, password_scheme)
    VALUES (${`${newId()}@example.com`}, 'first hash', 1) RETURNING id`)
  return user?.id ?? ''
}

async function startOne(userId: string, more: Partial<NewSession> = {}) {
  const { epoch } = await credentials(userId)
  const started = await sessions.start(userId, epoch, newSession(more))
  if (!started) throw new Error('no session was started')
  return started.session
}

async function newUserWithSession() {
  const userId = await newUser()
  const session = await startOne(userId)
  return { userId, session, id: session.id }
}

async function credentials(userId: string) {
  const found = await users.credentialsById(userId)
  if (!found) throw new Error('no such user')
  return found
}

const endOfTime = 8_640_000_000_000
const rotate = (sessionId: string, userId: string, generation: number, from: Caller = somewhere) =>
  sessions.rotate({ sessionId, userId, generation, expiresAt: endOfTime }, from)

const rowOf = async (id: string) => {
  const [row] = await db.rows(sql`SELECT * FROM sessions WHERE id = ${id}`)
  return row
}
const liveIds = async (userId: string) => (await sessions.list(userId)).map(({ id }) => id).sort()
const disable = (userId: string) => db.rows(sql`UPDATE users SET disabled_at = now() WHERE id = ${userId}`)
const enable = (userId: string) => db.rows(sql`UPDATE users SET disabled_at = NULL WHERE id = ${userId}`)

test('a reserved address is refused without deleting a user, because the role that serves must not [account 11]', async () => {
  const userId = await newUser()
  const email = `${newId()}@example.com`
  await db.rows(sql`INSERT INTO links (purpose, user_id, email, expires_at)
    VALUES ('undo', ${userId}, ${email}, now() + interval '1 hour')`)
  await db.rows(sql`CREATE FUNCTION refuse_delete() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE insufficient_privilege; END $$`)
  await db.rows(sql`CREATE TRIGGER refuse_delete BEFORE DELETE ON users EXECUTE FUNCTION refuse_delete()`)

  const started = await sessions
    .startForNewUser({ email, ...newHash() }, newSession())
    .finally(() => db.rows(sql`DROP FUNCTION refuse_delete CASCADE`))

  expect(started).toBeUndefined()
  expect(await db.rows(sql`SELECT id FROM users WHERE email = ${email}`)).toEqual([])
})

describe(`starting a session, on ${databaseName}`, () => {
  test("makes a row of generation 1, with limits by the database's clock", async () => {
    const userId = await newUser()
    const session = newSession()

    const started = await sessions.start(userId, 0, session)

    expect(started?.session).toMatchObject({
      id: session.id,
      userId,
      generation: 1,
      userAgent: 'Firefox',
      ip: '192.0.2.1',
    })
    expect(started?.user).toMatchObject({ id: userId, role: 'user', emailVerifiedAt: null })
    expect(started?.session.rotatedAt).toEqual(started?.session.createdAt)
    expect(started?.session.usableUntil.getTime()).toBe(Number(started?.now.getTime()) + 1_000_000)
    const row = await rowOf(session.id)
    expect(Date.parse(String(row?.expires_at)) - Date.parse(String(row?.created_at))).toBe(3_000_000)
    expect(row).toMatchObject({ ended_at: null, end_reason: null })
  })

  test('keeps how and when the user proved their identity, and a rotation changes neither', async () => {
    const userId = await newUser()
    const authenticatedAt = new Date('2020-02-02T20:20:20Z')

    const byPassword = await startOne(userId)
    const earlier = await startOne(userId, { amr: ['pwd', 'otp', 'mfa'], authenticatedAt })
    const rotated = await rotate(earlier.id, userId, 1)

    expect(byPassword).toMatchObject({ amr: ['pwd'], authenticatedAt: byPassword.createdAt })
    for (const session of [earlier, rotated?.session])
      expect(session).toMatchObject({ amr: ['pwd', 'otp', 'mfa'], authenticatedAt })
  })

  test('ends the session that it replaces, also of another user, and no other session [B5]', async () => {
    const [owner, other] = [await newUser(), await newUser()]
    const [kept, replaced] = [await startOne(other), await startOne(other)]

    const started = await startOne(owner, { replaces: replaced.id })

    expect(await rowOf(replaced.id)).toMatchObject({ end_reason: 'login' })
    expect(await liveIds(other)).toEqual([kept.id])
    expect(await liveIds(owner)).toEqual([started.id])
  })

  test.each<[cause: string, arrange: (userId: string) => Promise<unknown>]>([
    ['all sessions were ended since', (userId) => sessions.endAll(userId, 'logout_all', somewhere)],
    [
      'the password was changed since',
      async (id) =>
        sessions.changePassword(id, (await startOne(id)).id, 'first hash', newHash(), newSession()),
    ],
    ['the user was disabled since', disable],
    ['the user was disabled since, and enabled again', (id) => disable(id).then(() => enable(id))],
    ['the user was deleted since', (userId) => db.rows(sql`DELETE FROM users WHERE id = ${userId}`)],
  ])('does not happen if %s [B8]', async (_cause, arrange) => {
    const userId = await newUser()
    const { epoch } = await credentials(userId)
    await arrange(userId)
    const session = newSession()

    const started = await sessions.start(userId, epoch, session)

    expect(started).toBeUndefined()
    expect(await rowOf(session.id)).toBeUndefined()
  })

  test('creates a user and a session, or neither', async () => {
    const user = { email: `${newId()}@example.com`, ...newHash() }
    const [first, second] = [newSession(), newSession()]

    const started = await sessions.startForNewUser(user, first)
    const again = await sessions.startForNewUser(user, second)

    expect(started?.session.id).toBe(first.id)
    expect(started?.user.email).toBe(user.email)
    expect(again).toBeUndefined()
    expect(await rowOf(second.id)).toBeUndefined()
    const rows = await db.rows(sql`SELECT password_hash FROM users WHERE email = ${user.email}`)
    expect(rows).toEqual([{ password_hash: user.passwordHash }])
  })

  test('creates no user if the session cannot be created', async () => {
    const taken = await startOne(await newUser())
    const user = { email: `${newId()}@example.com`, ...newHash() }

    const starting = sessions.startForNewUser(user, newSession({ id: taken.id }))

    await expect(starting).rejects.toMatchObject({ code: '23505' })
    expect(await users.credentialsByEmail(user.email)).toBeUndefined()
  })
})

describe('the cap', () => {
  test('the oldest session is the one that started first, not the one that was used least recently [B9]', async () => {
    const userId = await newUser()
    const oldest = await startOne(userId)
    for (let i = 0; i < 2; i++) {
      await db.pass(1)
      await startOne(userId)
    }
    await rotate(oldest.id, userId, 1)

    await startOne(userId)

    expect(await rowOf(oldest.id)).toMatchObject({ end_reason: 'too_many' })
  })

  test('sessions that have ended or expired do not count [B9]', async () => {
    const userId = await newUser()
    const runOut = await startOne(userId)
    await db.pass(500)
    const kept = [await startOne(userId), await startOne(userId)]
    await db.pass(500)

    const last = await startOne(userId)

    expect(await liveIds(userId)).toEqual([...kept, last].map(({ id }) => id).sort())
    expect(await rowOf(runOut.id)).toMatchObject({ ended_at: null })
  })
})

describe('rotation', () => {
  test.each<[what: string, from: Caller]>([
    ['others', { ip: '2001:db8::7', userAgent: 'Safari' }],
    ['unknown', { ip: undefined, userAgent: undefined }],
  ])('stores the address and the browser of the request: %s', async (_what, from) => {
    const { userId, id } = await newUserWithSession()

    const rotated = await rotate(id, userId, 1, from)

    const kept = { ip: from.ip ?? null, userAgent: from.userAgent ?? null }
    expect(rotated?.session).toMatchObject(kept)
    expect(await sessions.list(userId)).toEqual([expect.objectContaining(kept)])
  })

  test.each<[cause: string, arrange: (id: string, userId: string) => Promise<unknown>, generation?: number]>([
    ['of an older generation', (id, userId) => rotate(id, userId, 1)],
    ['of a generation to come', async () => {}, 2],
    ['of a session that has ended', (id, userId) => sessions.end(id, userId, 'logout', somewhere)],
    ['after the idle limit', () => db.pass(1000)],
    ['of a disabled user', (_id, userId) => disable(userId)],
  ])('%s does not happen', async (_cause, arrange, generation = 1) => {
    const { userId, id } = await newUserWithSession()
    await arrange(id, userId)
    const before = await rowOf(id)

    expect(await rotate(id, userId, generation)).toBeUndefined()
    expect(await rowOf(id)).toEqual(before)
  })

  test('does not happen for a disabled user, even if the session has not ended', async () => {
    const { userId, id } = await newUserWithSession()
    await disable(userId)
    await db.rows(sql`UPDATE sessions SET ended_at = NULL WHERE id = ${id}`)

    expect(await rotate(id, userId, 1)).toBeUndefined()
    expect(await sessions.find(id, userId)).toBeUndefined()
    expect(await rowOf(id)).toMatchObject({ generation: 1 })
  })

  test('is a HOT update: no index covers a column that it changes, and pages have room', async () => {
    const { userId, id } = await newUserWithSession()
    const before = (await rowOf(id)) ?? {}
    await db.pass(1)
    await rotate(id, userId, 1, { ip: '192.0.2.99', userAgent: 'another browser' })
    const after = (await rowOf(id)) ?? {}

    const changed = Object.keys(after).filter((name) => String(after[name]) !== String(before[name]))
    // pg_depend also knows the columns of expressions and predicates.
    const indexed = await db.rows<{ name: string }>(sql`
      SELECT DISTINCT a.attname AS name FROM pg_index i
      JOIN pg_attribute a ON a.attrelid = i.indrelid
      WHERE i.indrelid = 'sessions'::regclass AND (a.attnum = ANY (i.indkey) OR EXISTS (
        SELECT FROM pg_depend d WHERE d.objid = i.indexrelid
        AND d.refobjid = i.indrelid AND d.refobjsubid = a.attnum))`)
    const [table] = await db.rows<{ options: string[] | null }>(
      sql`SELECT reloptions AS options FROM pg_class WHERE oid = 'sessions'::regclass`,
    )

    expect(changed.sort()).toEqual(['generation', 'ip', 'rotated_at', 'user_agent'])
    const names = indexed.map(({ name }) => name)
    expect(names).toEqual(expect.arrayContaining(['id', 'user_id']))
    expect(names.filter((name) => changed.includes(name))).toEqual([])
    const [, fillfactor] = /^fillfactor=(\d+)$/.exec(table?.options?.[0] ?? '') ?? []
    expect(Number(fillfactor)).toBeLessThanOrEqual(90)
  })
})

/** Returns the numbers of sessions that `work` read and updated, by the statistics of PostgreSQL. */
async function countedBy(work: (store: SessionStore) => Promise<unknown>) {
  return db.database.transaction(async (tx) => {
    const count = async () => {
      const { rows } = (await tx.execute(sql`
        SELECT (coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))::int AS read,
               n_tup_upd::int AS updated, n_tup_hot_upd::int AS hot
        FROM pg_stat_xact_user_tables WHERE relname = 'sessions'`)) as unknown as {
        rows: [{ read: number; updated: number; hot: number }]
      }
      return rows[0]
    }
    const database = {
      ...db.database,
      run: <T>(run: (on: Queries) => Promise<T>) => run(tx),
      transaction: <T>(run: (on: Queries) => Promise<T>) => run(tx),
    }
    const before = await count()
    await work(createSessionStore({ database, limits }))
    const after = await count()
    return {
      read: after.read - before.read,
      updated: after.updated - before.updated,
      hot: after.hot - before.hot,
    }
  })
}

test('all rotations are HOT updates, also from changing addresses and browsers', async () => {
  for (let count = 0; count < 20; count++) {
    const { userId, id } = await newUserWithSession()
    const from = { ip: `2001:db8::${count}`, userAgent: 'Safari '.repeat(count) }
    const claims = { sessionId: id, userId, generation: 1, expiresAt: endOfTime }

    const counted = await countedBy((store) => store.rotate(claims, from))

    expect(counted).toEqual({ read: expect.any(Number), updated: 1, hot: 1 })
  }
})

test.each<[what: string, work: (store: SessionStore, userId: string) => Promise<unknown>]>([
  ['the list', (store, userId) => store.list(userId)],
  ['a login', (store, userId) => store.start(userId, 0, newSession())],
  ['a logout everywhere', (store, userId) => store.endAll(userId, 'logout_all', somewhere)],
])('%s reads only live sessions, also if the user has thousands of ended ones', async (_what, work) => {
  const { userId } = await newUserWithSession()
  await startOne(userId)
  await db.rows(sql`
    INSERT INTO sessions (id, user_id, expires_at, ended_at, end_reason)
    SELECT ${userId} || n, ${userId}, now() + interval '1 hour', now(), 'logout' FROM generate_series(1, 5000) n`)
  await db.rows(sql`ANALYZE sessions`)

  const counted = await countedBy((store) => work(store, userId))

  expect(counted.read).toBeGreaterThan(0)
  expect(counted.read).toBeLessThan(20)
})

describe('finding', () => {
  test.each([
    { passed: 0, withinGrace: true },
    { passed: 9, withinGrace: true },
    { passed: 10, withinGrace: false },
  ])('$passed s after a rotation, withinGrace is $withinGrace', async ({ passed, withinGrace }) => {
    const { userId, id } = await newUserWithSession()
    await rotate(id, userId, 1)
    await db.pass(passed)

    expect(await sessions.find(id, userId)).toMatchObject({ session: { id, generation: 2 }, withinGrace })
  })

  test.each<[cause: string, arrange: (id: string, userId: string) => Promise<unknown>]>([
    ['has ended', (id, userId) => sessions.end(id, userId, 'logout', somewhere)],
    ['ran out', () => db.pass(1000)],
    ['has a disabled user', (_id, userId) => disable(userId)],
    ['has a deleted user', (_id, userId) => db.rows(sql`DELETE FROM users WHERE id = ${userId}`)],
  ])('finds no session that %s', async (_cause, arrange) => {
    const { userId, id } = await newUserWithSession()
    await arrange(id, userId)

    expect(await sessions.find(id, userId)).toBeUndefined()
    expect(await sessions.list(userId)).toEqual([])
  })

  test('finds no session of another user, and none by an unknown id', async () => {
    const { userId, id } = await newUserWithSession()

    expect(await sessions.find(id, await newUser())).toBeUndefined()
    expect(await sessions.find(newId(), userId)).toBeUndefined()
    expect(await sessions.find("' OR true --", userId)).toBeUndefined()
  })
})

describe('listing', () => {
  test("lists the user's live sessions, the last used one first", async () => {
    const userId = await newUser()
    await startOne(await newUser())
    const first = await startOne(userId)
    await db.pass(1)
    const second = await startOne(userId)
    await db.pass(1)
    const ended = await startOne(userId)
    await sessions.end(ended.id, userId, 'revoked', somewhere)
    await db.pass(1)
    await rotate(first.id, userId, 1)

    const list = await sessions.list(userId)

    expect(list.map(({ id }) => id)).toEqual([first.id, second.id])
    expect(list[1]).toEqual(second)
  })
})

describe('changing the password', () => {
  test('does nothing if the password has changed since it was verified', async () => {
    const { userId, session: asking } = await newUserWithSession()
    const other = await startOne(userId)
    const before = await credentials(userId)

    const started = await sessions.changePassword(userId, asking.id, 'old hash', newHash(), newSession())

    expect(started).toBeUndefined()
    expect(await credentials(userId)).toEqual(before)
    expect(await liveIds(userId)).toEqual([asking.id, other.id].sort())
  })

  test.each<[string, (id: string, userId: string) => Promise<unknown>]>([
    ['was ended', (id, userId) => sessions.end(id, userId, 'revoked', somewhere)],
    ['was logged out everywhere', (_id, userId) => sessions.endAll(userId, 'logout_all', somewhere)],
    ['has a user who was disabled', (_id, userId) => disable(userId)],
  ])('does nothing if the session that asked %s while the passwords were hashed [B8]', async (_what, end) => {
    const { userId, session: asking } = await newUserWithSession()
    const other = await startOne(userId)
    await end(asking.id, userId)
    const [before, live] = [await credentials(userId), await liveIds(userId)]

    await expect(
      sessions.changePassword(userId, asking.id, 'first hash', newHash(), newSession()),
    ).rejects.toMatchObject({ code: 'session_ended' })

    expect(await credentials(userId)).toEqual(before)
    expect(await liveIds(userId)).toEqual(live)
    expect([[], [other.id]]).toContainEqual(live)
  })

  test('succeeds for one of two at once; the session of the other has ended [B8]', async () => {
    const userId = await newUser()
    const askers = [await startOne(userId), await startOne(userId)]

    const changed = await Promise.allSettled(
      askers.map(({ id }) => sessions.changePassword(userId, id, 'first hash', newHash(), newSession())),
    )

    expect(changed.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
    expect(changed.find(({ status }) => status === 'rejected')).toMatchObject({
      reason: { code: 'session_ended' },
    })
    expect(await liveIds(userId)).toHaveLength(1)
  })

  test('rehashing stores a new hash of the same password, unless the password changed in the meantime', async () => {
    const { userId, id } = await newUserWithSession()
    const to = newHash()

    await users.rehash(userId, 'another hash', newHash())
    expect((await credentials(userId)).passwordHash).toBe('first hash')
    await users.rehash(userId, 'first hash', to)

    expect(await credentials(userId)).toMatchObject({ ...to, epoch: 0 })
    expect(await liveIds(userId)).toEqual([id])
  })
})

describe('users at the cap who replace each other’s sessions take turns and do not deadlock [B9]', () => {
  // The embedded database runs one transaction after the other, so a few rounds are enough there.
  const transactions = databaseName === 'PostgreSQL' ? 240 : 12

  // The store retries after a deadlock, so only the statements show it.
  const failures: unknown[] = []
  const noteFailure = (error: Error) => {
    failures.push(error.cause ?? error)
    throw error
  }
  let noting: SessionStore
  beforeAll(() => {
    const transaction = <T>(work: (on: Queries) => Promise<T>) =>
      db.database.transaction((tx) => work(tx).catch(noteFailure))
    noting = createSessionStore({ database: { ...db.database, transaction }, limits })
  })

  interface AtCap {
    userId: string
    /** The oldest session. */
    id: string
  }
  async function fillUp(userId: string): Promise<AtCap> {
    const live = await sessions.list(userId)
    for (let missing = limits.perUser - live.length; missing > 0; missing--)
      live.unshift(await startOne(userId))
    return { userId, id: live.at(-1)?.id ?? '' }
  }

  const login = async ({ userId }: AtCap, { id }: AtCap) =>
    noting.start(userId, (await credentials(userId)).epoch, newSession({ replaces: id }))
  const change = async ({ userId, id }: AtCap, other: AtCap) => {
    const { passwordHash } = await credentials(userId)
    const session = newSession({ replaces: other.id })
    return noting.changePassword(userId, id, passwordHash, newHash(), session)
  }
  const registration = (_user: AtCap, { id }: AtCap) =>
    noting.startForNewUser({ email: `${newId()}@example.com`, ...newHash() }, newSession({ replaces: id }))

  test.each<[what: string, count: number, acts: ((user: AtCap, other: AtCap) => Promise<unknown>)[]]>([
    ['two who log in', 2, [login]],
    ['three who log in', 3, [login]],
    ['one who logs in, one who changes the password', 2, [login, change]],
    ['two who change the password', 2, [change]],
    ['one who logs in, one who registers', 2, [login, registration]],
  ])('%s', async (_what, count, acts) => {
    const userIds = await Promise.all(Array.from({ length: count }, newUser))
    for (let round = 0; round < transactions / count; round++) {
      const users: AtCap[] = []
      for (const userId of userIds) users.push(await fillUp(userId))

      failures.length = 0
      await Promise.allSettled(
        users.map((user, index) => acts[index % acts.length]?.(user, users[(index + 1) % count] as AtCap)),
      )

      // Only a password change may be refused, if the session that asked was replaced first.
      for (const failure of failures) expect(failure).toMatchObject({ code: 'session_ended' })
      for (const userId of userIds)
        expect((await sessions.list(userId)).length).toBeLessThanOrEqual(limits.perUser)
    }
  })
})

test('all functions throw unavailable if the database is unavailable [G2]', async () => {
  const id = newId()
  const results = await withoutDatabase(db, () =>
    Promise.allSettled<unknown>([
      sessions.start(id, 0, newSession()),
      sessions.startForNewUser({ email: id, ...newHash() }, newSession()),
      rotate(id, id, 1),
      sessions.find(id, id),
      sessions.list(id),
      sessions.end(id, id, 'logout', somewhere),
      sessions.endAll(id, 'logout_all', somewhere),
      sessions.changePassword(id, id, 'hash', newHash(), newSession()),
      users.credentialsByEmail(id),
      users.credentialsById(id),
      users.rehash(id, id, newHash()),
    ]),
  )

  for (const result of results)
    expect(result).toMatchObject({ status: 'rejected', reason: { name: 'AuthError', code: 'unavailable' } })
})
