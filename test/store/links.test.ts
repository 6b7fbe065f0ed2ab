import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { sql } from 'drizzle-orm'
import { createHousekeeping } from '../../src/store/housekeeping.ts'
import { createLink, createLinkStore, type Link, useLink } from '../../src/store/links.ts'
import { queueMail } from '../../src/store/outbox.ts'
import { type LinkPurpose, links } from '../../src/store/schema.ts'
import { createTestDatabase, databaseName, type TestDatabase } from '../support/database.ts'

let db: TestDatabase
beforeAll(async () => {
  db = await createTestDatabase()
})
afterAll(() => db.close())

let users = 0
const newUser = async () => {
  const email = `links-${++users}@example.com`
  const [user] = await db.rows<{ id: string }>(
    sql`INSERT INTO users (email, password_hash, password_scheme) VALUES (${email}, '$2b$04$', 1) RETURNING id`,
  )
  return { userId: user?.id as string, email }
}
const make = (purpose: LinkPurpose, of: { userId?: string; email: string }, seconds = 60) =>
  db.database.transaction((tx) =>
    createLink(tx, {
      purpose,
      ...of,
      seconds,
      ...(purpose === 'register' && { passwordHash: '$2b$04$waiting', passwordScheme: 1 }),
    }),
  )
const use = ({ id, purpose }: Link) => db.database.transaction((tx) => useLink(tx, id, purpose))
const find = (link: Link, purpose = link.purpose) =>
  createLinkStore({ database: db.database }).find(link.id, purpose)
const isLive = async (link: Link) => (await find(link)) !== undefined
const rowOf = async ({ id }: Link) =>
  (await db.rows<{ password_hash: string | null }>(sql`SELECT * FROM links WHERE id = ${id}`))[0]
const purge = () => createHousekeeping({ database: db.database, auditDays: 1 }).purge()

describe(`links on ${databaseName}`, () => {
  test('of 50 parallel uses one has effect, and a use that is rolled back has none [account Links]', async () => {
    const link = await make('reset', await newUser())
    const undone = db.database.transaction(async (tx) => {
      await useLink(tx, link.id, 'reset')
      throw new Error('the effect failed')
    })
    await expect(undone).rejects.toThrow('the effect failed')

    const used = await Promise.all(Array.from({ length: 50 }, () => use(link)))

    expect(used.filter(Boolean)).toHaveLength(1)
    expect(await isLive(link)).toBe(false)
  })

  test('a link is found and used for its own purpose only, and until its end by the clock of the database [account Links]', async () => {
    const link = await make('reset', await newUser(), 60)

    expect(await find(link, 'verify')).toBeUndefined()
    expect(await use({ ...link, purpose: 'verify' })).toBeUndefined()
    await db.pass(59)
    expect(await isLive(link)).toBe(true)
    await db.pass(2)
    expect(await isLive(link)).toBe(false)
    expect(await use(link)).toBeUndefined()
  })

  test.each(['verify', 'reset', 'email'] as const)(
    'a newer %s link replaces the older one of its account, and no other [account Links]',
    async (purpose) => {
      const [user, other] = [await newUser(), await newUser()]
      const older = await make(purpose, user)
      const others = [await make(purpose, other), await make('undo', user)]

      const newer = await make(purpose, user)

      expect(await isLive(older)).toBe(false)
      for (const link of [newer, ...others]) expect(await isLive(link)).toBe(true)
    },
  )

  test.each(['undo', 'cancel-deletion'] as const)(
    'a newer %s link replaces none [account Links]',
    async (purpose) => {
      const user = await newUser()
      const both = [await make(purpose, user), await make(purpose, user)]

      for (const link of both) expect(await isLive(link)).toBe(true)
    },
  )

  test.each([
    ['the epoch of sessions rises', sql`session_epoch = session_epoch + 1`],
    ['the user is disabled', sql`disabled_at = now()`],
    ['the address changes with the epoch', sql`email = 'new-' || email, session_epoch = session_epoch + 1`],
  ])(
    'verify, reset, email and register links end when %s, and the others stay [account Links]',
    async (_when, set) => {
      const [user, stranger] = [await newUser(), await newUser()]
      const purposes = ['verify', 'reset', 'email'] as const
      const ending = await Promise.all(purposes.map((purpose) => make(purpose, user)))
      ending.push(await make('register', { email: user.email }))
      const staying = [
        await make('undo', user),
        await make('cancel-deletion', user),
        await make('reset', stranger),
      ]

      await db.rows(sql`UPDATE users SET ${set} WHERE id = ${user.userId}`)

      for (const link of ending) expect(await isLive(link)).toBe(false)
      for (const link of staying) expect(await isLive(link)).toBe(true)
      expect((await rowOf(ending[3] as Link))?.password_hash).toBeNull()
    },
  )

  test('a change of the user that ends no sessions ends no link', async () => {
    const user = await newUser()
    const link = await make('reset', user)

    await db.rows(sql`UPDATE users SET role = 'admin', email_verified_at = now() WHERE id = ${user.userId}`)

    expect(await isLive(link)).toBe(true)
  })

  test('the hash of a password goes when its link is used, and when it expires', async () => {
    const { email } = await newUser()
    const [used, expired] = [await make('register', { email }), await make('register', { email }, 10)]
    expect((await rowOf(expired))?.password_hash).toBe('$2b$04$waiting')

    await use(used)
    await db.pass(11)
    await db.database.transaction((tx) =>
      queueMail(tx, { template: 'any', recipient: email, params: {}, link: expired }),
    )
    await purge()

    expect((await rowOf(used))?.password_hash ?? null).toBeNull()
    expect(await rowOf(expired)).toMatchObject({ password_hash: null })
  })

  test('links that are over are deleted, but not before the mails that they are in', async () => {
    const user = await newUser()
    const [used, expired, mailed, live] = [
      await make('undo', user),
      await make('undo', user, 10),
      await make('undo', user, 10),
      await make('undo', user, 600),
    ]
    await use(used)
    await db.database.transaction((tx) =>
      queueMail(tx, { template: 'any', recipient: user.email, params: {}, link: mailed }),
    )
    await db.pass(11)

    await purge()

    for (const link of [used, expired]) expect(await rowOf(link)).toBeUndefined()
    for (const link of [mailed, live]) expect(await rowOf(link)).toBeDefined()
    await db.rows(sql`DELETE FROM outbox WHERE link_id = ${mailed.id}`)
    await purge()
    expect(await rowOf(mailed)).toBeUndefined()
  })

  test('links go with their user', async () => {
    const user = await newUser()
    const link = await make('undo', user)

    await db.rows(sql`DELETE FROM users WHERE id = ${user.userId}`)

    expect(await rowOf(link)).toBeUndefined()
    expect(await db.database.run((queries) => queries.select().from(links).limit(1))).toBeDefined()
  })
})
