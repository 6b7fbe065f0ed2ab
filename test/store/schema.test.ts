import { readdirSync, readFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { is, sql } from 'drizzle-orm'
import { getTableConfig, PgTable, pgTable, text, timestamp } from 'drizzle-orm/pg-core'
import { createAuditLog } from '../../src/store/audit.ts'
import { createHousekeeping, purgeWhere } from '../../src/store/housekeeping.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'

const meta = 'src/store/migrations/meta'
interface Snapshot {
  tables: Record<string, { name: string; columns: Record<string, { type: string }> }>
}

function newestSnapshot(): Snapshot {
  const name = readdirSync(meta)
    .filter((file) => file.endsWith('_snapshot.json'))
    .sort()
    .at(-1)
  return JSON.parse(readFileSync(`${meta}/${name}`, 'utf8'))
}

const advice = 'Run `npm run db:generate -- --name CHANGE`.'

/** Returns the tables and columns that no migration makes. */
function withoutMigration(tables: PgTable[], { tables: made }: Snapshot): string[] {
  const columnsMade = new Map(Object.values(made).map(({ name, columns }) => [name, columns]))
  return tables.map(getTableConfig).flatMap(({ name, columns }) => {
    const missing = columns.filter(
      (column) => columnsMade.get(name)?.[column.name]?.type !== column.getSQLType(),
    )
    const names = missing.map((column) => column.name).join(', ')
    return missing.length > 0 ? [`No migration makes ${names} of table "${name}". ${advice}`] : []
  })
}

const files = readdirSync('src', { recursive: true, encoding: 'utf8' })
  .map((name) => name.replaceAll('\\', '/'))
  .filter((name) => /^(store|features\/[^/]+)\/schema\.ts$/.test(name))

test.each(files)('the migrations make every table and column of %s', async (file) => {
  const schema = await import(pathToFileURL(`src/${file}`).href)
  const tables = Object.values(schema).filter((value) => is(value, PgTable))

  expect(tables).not.toEqual([])
  expect(withoutMigration(tables, newestSnapshot())).toEqual([])
})

const notes = pgTable('notes', { id: text('id').primaryKey(), until: timestamp('until').notNull() })

test.each([
  ['table', {}, 'id, until'],
  ['column', { id: { type: 'text' } }, 'until'],
  ['type of a column', { id: { type: 'text' }, until: { type: 'date' } }, 'until'],
])('a %s without a migration is reported with what to do', (_what, columns, missing) => {
  const made = { tables: { ...newestSnapshot().tables, notes: { name: 'notes', columns } } }

  expect(withoutMigration([notes], made)).toEqual([
    `No migration makes ${missing} of table "notes". Run \`npm run db:generate -- --name CHANGE\`.`,
  ])
})

declare module '../../src/store/schema.ts' {
  interface FeatureEvents {
    note_deleted: true
  }
}

describe('a feature', () => {
  let db: TestDatabase
  beforeAll(async () => {
    db = await createTestDatabase()
    await db.rows(sql`CREATE TABLE notes (id text PRIMARY KEY, until timestamp NOT NULL)`)
  })
  afterAll(async () => {
    await db.rows(sql`DROP TABLE notes`)
    await db.close()
  })

  test('adds events to the audit', async () => {
    await createAuditLog(db).record({ event: 'note_deleted' })

    expect(await db.rows(sql`SELECT event FROM audit_events`)).toEqual([{ event: 'note_deleted' }])
  })

  test('adds to the housekeeping, in steps, until all old rows are deleted', async () => {
    await db.rows(sql`INSERT INTO notes SELECT n, now() - interval '1 day' FROM generate_series(1, 1001) n`)
    await db.rows(sql`INSERT INTO notes VALUES ('kept', now() + interval '1 day')`)
    const purges = [purgeWhere(notes, notes.id, sql`${notes.until} < now()`)]

    await createHousekeeping({ ...db, auditDays: 1, purges }).purge()

    expect(await db.rows(sql`SELECT id FROM notes`)).toEqual([{ id: 'kept' }])
  })
})
