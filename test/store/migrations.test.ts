import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { PGlite } from '@electric-sql/pglite'
import { dataDir } from '@electric-sql/pglite-prepopulatedfs'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals'
import { sql } from 'drizzle-orm'
import { readMigrationFiles } from 'drizzle-orm/migrator'
import { drizzle as drizzlePostgres } from 'drizzle-orm/node-postgres'
import { drizzle as drizzlePGlite } from 'drizzle-orm/pglite'
import pg from 'pg'
import { createDatabase, type Queries } from '../../src/store/database.ts'
import { createHousekeeping } from '../../src/store/housekeeping.ts'
import { checkSchema, grantRights, migrate } from '../../src/store/migrate.ts'
import { createPostgresDatabase } from '../support/database.ts'

const migrationsFolder = 'src/store/migrations'
const snapshot = readdirSync(`${migrationsFolder}/meta`).sort().at(-2)
const { tables } = JSON.parse(readFileSync(`${migrationsFolder}/meta/${snapshot}`, 'utf8'))
const ourTables = Object.values<{ name: string }>(tables).map(({ name }) => name)
const expectedTables = [...ourTables, 'auth_server_migrations'].sort()

describe('migrations', () => {
  let queries: Queries
  let close: () => Promise<void>
  beforeAll(async () => {
    const empty = process.env.TEST_DATABASE_URL ? await emptyPostgres() : await emptyPGlite()
    queries = empty.queries
    close = empty.close
  }, 60_000)
  afterAll(() => close())

  // A schema for each test, so that one empty database is enough for all.
  let schemas = 0
  let here = ''
  beforeEach(async () => {
    here = await newSchema()
    await run(`DROP SCHEMA IF EXISTS drizzle CASCADE`)
  })

  async function newSchema() {
    const name = `schema_${++schemas}`
    await run(`CREATE SCHEMA ${name}`)
    await run(`SET search_path = ${name}`)
    return name
  }
  const run = async (statement: string) =>
    ((await queries.execute(sql.raw(statement))) as unknown as { rows: Record<string, unknown>[] }).rows
  const tablesIn = async (schema: string) =>
    (await run(`SELECT tablename FROM pg_tables WHERE schemaname = '${schema}' ORDER BY 1`)).map(
      ({ tablename }) => tablename,
    )
  const problem = (work: Promise<unknown>) =>
    work.then(
      () => undefined,
      ({ message }: Error) => message,
    )
  /** Writes the default journal of Drizzle, as an earlier version of this server or another application did. */
  async function writeDrizzleJournal(entries: { hash: string; folderMillis: number }[]) {
    await run('CREATE SCHEMA drizzle')
    await run(
      'CREATE TABLE drizzle.__drizzle_migrations (id serial PRIMARY KEY, hash text NOT NULL, created_at bigint)',
    )
    for (const { hash, folderMillis } of entries)
      await run(
        `INSERT INTO drizzle.__drizzle_migrations (hash, created_at) VALUES ('${hash}', ${folderMillis})`,
      )
  }
  const ours = readMigrationFiles({ migrationsFolder })
  const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')
  const anothers = { hash: 'f00', folderMillis: 9_999_999_999_999 }

  test('makes all tables, and a journal of its own, in the first schema of the search path', async () => {
    const before = await tablesIn('public')

    await migrate(queries)
    await checkSchema(queries)

    expect(await tablesIn(here)).toEqual(expectedTables)
    expect(await tablesIn('public')).toEqual(before)
    expect(await run(`SELECT 1 FROM pg_namespace WHERE nspname = 'drizzle'`)).toEqual([])
  })

  test('does nothing the second time', async () => {
    await migrate(queries)
    const journal = await run('SELECT * FROM auth_server_migrations ORDER BY name')

    await migrate(queries)

    expect(await run('SELECT * FROM auth_server_migrations ORDER BY name')).toEqual(journal)
    expect(journal).toHaveLength(ours.length)
  })

  test('refers to tables of its own schema, also if another application has tables of the same names in public', async () => {
    await run('CREATE TABLE IF NOT EXISTS public.users (name text)')
    await run(`SET search_path = ${here}, public`)

    await migrate(queries)
    await checkSchema(queries)

    const referred = await run(
      `SELECT n.nspname FROM pg_constraint x JOIN pg_class c ON c.oid = x.confrelid JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE x.conrelid = 'sessions'::regclass AND x.contype = 'f'`,
    )
    expect(referred).toEqual([{ nspname: here }])
    await run('DROP TABLE public.users')
  })

  test('keeps the journal of another application apart, however new its entries are', async () => {
    await writeDrizzleJournal([anothers])

    await migrate(queries)

    expect(await tablesIn(here)).toEqual(expectedTables)
    expect(await run('SELECT hash FROM drizzle.__drizzle_migrations')).toEqual([{ hash: 'f00' }])
  })

  const asGitForWindows = ours.map(({ sql: statements, folderMillis }) => ({
    hash: sha256(statements.join('--> statement-breakpoint').replaceAll('\n', '\r\n')),
    folderMillis,
  }))
  test.each([
    ['another application shares it', [...ours, anothers]],
    ['the migrations had the line ends of Git for Windows', asGitForWindows],
  ])('takes over the journal of an earlier version, also if %s [G4]', async (_what, entries) => {
    await migrate(queries)
    await run(`INSERT INTO users (email, password_hash, password_scheme) VALUES ('ada@example.com', '', 1)`)
    await run('DROP TABLE auth_server_migrations')
    await writeDrizzleJournal(entries)

    await migrate(queries)
    await checkSchema(queries)

    expect(await run('SELECT email FROM users')).toEqual([{ email: 'ada@example.com' }])
    expect(await run('SELECT name FROM auth_server_migrations')).toHaveLength(ours.length)
  })

  test('makes tables in its own schema, although an earlier version in another schema wrote the shared journal', async () => {
    await writeDrizzleJournal(ours)

    await migrate(queries)

    expect(await tablesIn(here)).toEqual(expectedTables)
  })

  test('disabling a user ends the sessions of the same schema, with any search path', async () => {
    await migrate(queries)
    await run(`INSERT INTO users (id, email, password_hash, password_scheme)
      VALUES ('00000000-0000-0000-0000-000000000001', 'ada@example.com', '', 1)`)
    await run(`INSERT INTO sessions (id, user_id, expires_at)
      VALUES ('s', '00000000-0000-0000-0000-000000000001', now() + interval '1 day')`)
    const ours = here
    await newSchema()
    await run('CREATE TABLE sessions (user_id uuid, id text, ended_at timestamptz, end_reason text)')

    await run(`UPDATE ${ours}.users SET disabled_at = now()`)

    expect(await run(`SELECT end_reason FROM ${ours}.sessions`)).toEqual([{ end_reason: 'user_disabled' }])
    expect(await run(`SELECT event FROM ${ours}.audit_events`)).toEqual([{ event: 'session_ended' }])
  })

  test('mark older sessions as authenticated by password, at the time when they began', async () => {
    await migrate(queries)
    await run(`DELETE FROM auth_server_migrations WHERE name LIKE '%_authentication'`)
    await run('ALTER TABLE sessions DROP COLUMN authenticated_at, DROP COLUMN amr')
    await run(`INSERT INTO users (email, password_hash, password_scheme) VALUES ('ada@example.com', '', 1)`)
    await run(`INSERT INTO sessions (id, user_id, created_at, expires_at)
      SELECT 's', id, now() - interval '1 day', now() + interval '1 day' FROM users`)

    await migrate(queries)

    const [row] = await run('SELECT authenticated_at = created_at AS at_its_start, amr FROM sessions')
    expect(row).toEqual({ at_its_start: true, amr: ['pwd'] })
  })

  test('leaves nothing behind if it fails', async () => {
    await run('CREATE TABLE audit_events (another text)')

    await expect(migrate(queries)).rejects.toThrow()

    expect(await tablesIn(here)).toEqual(['audit_events'])
  })

  test('refuses tables in a later schema of the search path', async () => {
    await migrate(queries)
    const first = here
    const second = await newSchema()
    await run(`SET search_path = ${second}, ${first}`)

    expect(await problem(migrate(queries))).toBe(
      `the tables are in schema "${first}", but search_path begins with "${second}". Name one schema only: options=-csearch_path=….`,
    )
    expect(await tablesIn(second)).toEqual([])
  })

  test('says what to do if no schema of the search path exists', async () => {
    await run('SET search_path = nowhere')

    expect(await problem(migrate(queries))).toMatch(
      /^Migrate first: npm run migrate .* not use any schema of the search_path\. /,
    )
  })

  test.each([
    ['a column', 'ALTER TABLE sessions DROP COLUMN user_agent', 'sessions.user_agent'],
    ['a column of another name', 'ALTER TABLE users RENAME COLUMN email TO mail', 'users.email'],
    ['a table', 'DROP TABLE attempts', 'attempts'],
    ['tables moved elsewhere', 'ALTER TABLE audit_events SET SCHEMA public', 'audit_events'],
  ])('the check of the schema names what is missing: %s', async (_what, change, missing) => {
    await migrate(queries)
    await run(change)

    expect(await problem(checkSchema(queries))).toBe(
      `tables or columns are missing: ${missing}. Restore them, or use a schema of this server's own.`,
    )
    await run('DROP TABLE IF EXISTS public.audit_events')
  })

  describe('as a role that does not own the tables', () => {
    const role = `server_${process.pid}`
    beforeAll(() => run(`CREATE ROLE ${role}`))
    afterAll(async () => {
      await run(`DROP OWNED BY ${role}`)
      await run(`DROP ROLE ${role}`)
    })
    const asRole = async (work: () => Promise<unknown>) => {
      await run(`SET ROLE ${role}`)
      try {
        return await problem(work())
      } finally {
        await run('RESET ROLE')
      }
    }
    const grant = async (...rights: string[]) => {
      await run(`GRANT USAGE ON SCHEMA ${here} TO ${role}`)
      for (const right of rights) await run(`GRANT ${right} TO ${role}`)
    }
    const forServing = [
      'SELECT ON auth_server_migrations',
      'SELECT, INSERT, UPDATE ON users',
      'SELECT, INSERT, UPDATE, DELETE ON sessions, attempts, links, outbox',
      'INSERT ON audit_events',
    ]

    test('rights on tables are enough to start if there is nothing to migrate', async () => {
      await migrate(queries)
      await grant(...forServing)

      expect(await asRole(() => migrate(queries))).toBeUndefined()
      expect(await asRole(() => checkSchema(queries))).toBeUndefined()
    })

    test('the owner grants the rights that serving needs, and revokes the others', async () => {
      await migrate(queries)
      await run(`GRANT ALL ON users, audit_events TO ${role}`)

      await grantRights(queries, role)

      expect(await asRole(() => migrate(queries))).toBeUndefined()
      expect(await asRole(() => checkSchema(queries))).toBeUndefined()
      for (const refused of [
        'DELETE FROM users',
        'SELECT FROM audit_events',
        'UPDATE audit_events SET event = NULL',
        'DELETE FROM audit_events',
        'TRUNCATE audit_events',
        'INSERT INTO auth_server_migrations (name) VALUES (NULL)',
      ])
        expect([refused, await asRole(async () => void (await run(refused)))]).toEqual([
          refused,
          expect.stringMatching(/^Failed query|permission denied/),
        ])
    })

    test('the owner deletes old audit events, and a role that may only add events does not', async () => {
      await migrate(queries)
      await grantRights(queries, role)
      await run(`INSERT INTO audit_events (event, at) VALUES ('login', now() - interval '2 days')`)
      const database = createDatabase({
        ...{ queries, transaction: (work) => work(queries) },
        ...{ connections: () => ({}), close: async () => {} },
      })
      const { purge } = createHousekeeping({ database, auditDays: 1 })
      const events = () => run('SELECT event FROM audit_events')

      expect(await asRole(purge)).toBeUndefined()
      expect(await events()).toEqual([{ event: 'login' }])

      await purge()
      expect(await events()).toEqual([])
    })

    test('the check of the schema names the rights that are missing', async () => {
      await migrate(queries)
      await grant('SELECT ON auth_server_migrations, users', 'SELECT, INSERT, UPDATE, DELETE ON sessions')

      expect(await asRole(() => checkSchema(queries))).toBe(
        `role "${role}" may not SELECT, INSERT, UPDATE, DELETE on attempts; INSERT on audit_events; SELECT, INSERT, UPDATE, DELETE on links; SELECT, INSERT, UPDATE, DELETE on outbox; INSERT, UPDATE on users. ` +
          `As the owner of the tables: npm run migrate -- --grant ${role}`,
      )
    })
  })
})

test('no migration names a schema', () => {
  const named = readdirSync(migrationsFolder).filter(
    (name) =>
      name.endsWith('.sql') && /"?public"?\./.test(readFileSync(`${migrationsFolder}/${name}`, 'utf8')),
  )

  expect(named).toEqual([])
})

async function emptyPGlite() {
  const client = await PGlite.create('memory://', { loadDataDir: await dataDir() })
  return { queries: drizzlePGlite({ client }) as Queries, close: () => client.close() }
}

async function emptyPostgres() {
  const { url, drop } = await createPostgresDatabase(process.env.TEST_DATABASE_URL ?? '')
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  return {
    queries: drizzlePostgres({ client }) as Queries,
    async close() {
      await client.end()
      await drop()
    },
  }
}
