import { randomBytes } from 'node:crypto'
import { type SQL, sql } from 'drizzle-orm'
import pg from 'pg'
import { type Database, rowsOf } from '../../src/store/database.ts'
import { openDatabase } from '../../src/store/open-database.ts'
import { clockSchema, searchPath } from './clock-schema.ts'
import { openInMemory } from './embedded.ts'

/** The database of one test file: PostgreSQL if TEST_DATABASE_URL is set, otherwise the embedded one in memory. */
export interface TestDatabase {
  database: Database
  /** Runs a statement outside the stores, to read or prepare rows. */
  rows<T = Record<string, unknown>>(statement: SQL): Promise<T[]>
  /** Moves the database's clock forward. */
  pass(seconds: number): Promise<void>
  /** How far the clock of the servers on this database is ahead of the real time. */
  serversAheadMs: number
  /** Deletes all rows, and resets the clocks. */
  empty(): Promise<void>
  close(): Promise<void>
}

export const databaseName = process.env.TEST_DATABASE_URL ? 'PostgreSQL' : 'PGlite'

export async function createTestDatabase(): Promise<TestDatabase> {
  const server = process.env.TEST_DATABASE_URL
  const { database, drop } = server
    ? await openOnPostgres(server)
    : { database: await openInMemory(), drop: async () => {} }
  const rows = <T>(statement: SQL) => database.run((queries) => rowsOf<T>(queries, statement))
  const db: TestDatabase = {
    database,
    rows,
    serversAheadMs: 0,
    async pass(seconds) {
      await rows(sql`UPDATE test_clock.skew SET by = by + make_interval(secs => ${seconds})`)
    },
    async empty() {
      // Every table, those of features too.
      await rows(sql`DO $$ BEGIN EXECUTE (
        SELECT 'TRUNCATE ' || string_agg(quote_ident(tablename), ', ') || ' RESTART IDENTITY' FROM pg_tables
        WHERE schemaname = current_schema() AND tablename <> 'auth_server_migrations'
      ); END $$`)
      await rows(sql`UPDATE test_clock.skew SET by = interval '0'`)
      db.serversAheadMs = 0
    },
    async close() {
      await database.close()
      await drop()
    },
  }
  // An embedded database may contain rows of an earlier test file.
  await db.empty()
  return db
}

/** Makes the database unavailable for the stores during an action. */
export async function withoutDatabase<T>({ database }: TestDatabase, action: () => Promise<T>): Promise<T> {
  const { $client } = await database.run(async (queries) => queries as typeof queries & { $client: object })
  const refused = async () => {
    throw Object.assign(new Error('connect ECONNREFUSED 127.0.0.1:5432'), { code: 'ECONNREFUSED' })
  }
  Object.assign($client, { query: refused, connect: refused, transaction: refused })
  try {
    return await action()
  } finally {
    for (const name of ['query', 'connect', 'transaction']) Reflect.deleteProperty($client, name)
  }
}

/** Counts the statements that the database runs outside transactions during an action. */
export async function countStatements(
  { database }: TestDatabase,
  action: () => PromiseLike<unknown>,
): Promise<number> {
  const { $client } = await database.run(
    async (queries) => queries as typeof queries & { $client: { query: (...args: never[]) => unknown } },
  )
  const { query } = $client
  let count = 0
  $client.query = function (...args) {
    count++
    return query.apply(this, args)
  }
  try {
    await action()
  } finally {
    $client.query = query
  }
  return count
}

async function openOnPostgres(server: string) {
  const { url, drop } = await createPostgresDatabase(server, [
    clockSchema,
    `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = ${searchPath}', current_database()); END $$`,
  ])
  const database = await openDatabase({ url, folder: '', onTrouble: () => {} })
  return { database, drop }
}

/** Creates an empty database on a PostgreSQL server. */
export async function createPostgresDatabase(server: string, statements: string[] = []) {
  const name = `test_${randomBytes(6).toString('hex')}`
  const url = new URL(server)
  url.pathname = `/${name}`
  await run(server, [`CREATE DATABASE ${name}`])
  await run(url.href, statements)
  return { url: url.href, drop: () => run(server, [`DROP DATABASE ${name} WITH (FORCE)`]) }
}

async function run(url: string, statements: string[]): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    for (const statement of statements) await client.query(statement)
  } finally {
    await client.end()
  }
}
