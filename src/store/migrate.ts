import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { sql } from 'drizzle-orm'
import { type Queries, rowsOf } from './database.ts'

/** This server cannot use the tables. The message says why and what to do. */
export class SchemaError extends Error {}

const folder = new URL('./migrations/', import.meta.url)
const lock = 4_021_968_133
const lockSeconds = 30

// A name that no other application uses for its own journal.
const journal = sql.identifier('auth_server_migrations')

type Right = 'SELECT' | 'INSERT' | 'UPDATE' | 'DELETE'
const everyRight: Right[] = ['SELECT', 'INSERT', 'UPDATE', 'DELETE']

/** The rights that serving needs, if not all. Migrating needs a role that owns the tables. */
const rights: Record<string, Right[]> = {
  users: ['SELECT', 'INSERT', 'UPDATE'],
  audit_events: ['INSERT'],
}

const readJson = (name: string) => JSON.parse(readFileSync(new URL(`meta/${name}`, folder), 'utf8'))

/** Returns the tables that the migrations make, also those of features, by the newest snapshot of Drizzle. */
function readTables(): { name: string; columns: string[]; rights: Right[] }[] {
  const newest: { tag: string } = readJson('_journal.json').entries.at(-1)
  const { tables } = readJson(`${newest.tag.slice(0, 4)}_snapshot.json`)
  return Object.values<{ name: string; columns: object }>(tables)
    .map(({ name, columns }) => ({
      name,
      columns: Object.keys(columns),
      rights: rights[name] ?? everyRight,
    }))
    .sort((a, b) => a.name.localeCompare(b.name))
}

interface Migration {
  name: string
  /** When it was generated, in milliseconds. Drizzle's journal identifies it by this time. */
  when: number
  /** Hashes as in Drizzle's journal: of the file, and of the file with the line ends of Git for Windows. */
  hashes: string[]
  statements: string[]
}

function readMigrations(): Migration[] {
  return readJson('_journal.json').entries.map(({ tag, when }: { tag: string; when: number }) => {
    const text = readFileSync(new URL(`${tag}.sql`, folder), 'utf8')
    const hashes = [text, text.replaceAll('\n', '\r\n')].map((file) =>
      createHash('sha256').update(file).digest('hex'),
    )
    return { name: tag, when, hashes, statements: text.split('--> statement-breakpoint') }
  })
}

/**
 * Brings the tables up to date, and checks that this role may use them.
 * @returns the number of migrations that were applied
 * @throws SchemaError if this server cannot use the schema
 */
export async function prepareTables(queries: Queries): Promise<number> {
  const count = await migrate(queries)
  await checkSchema(queries)
  return count
}

/**
 * Brings the tables in the current schema up to date, in one transaction. If there is nothing to do it only reads, so
 * the rights for serving are enough.
 * @returns the number of migrations that were applied
 * @throws SchemaError if this server cannot use the schema
 */
export async function migrate(queries: Queries): Promise<number> {
  const migrations = readMigrations()
  const isDone = async (on: Queries) => {
    const applied = await readJournal(on)
    return applied !== undefined && migrations.every(({ name }) => applied.has(name))
  }
  if (await isDone(queries)) return 0
  return queries.transaction(
    async (tx) => {
      // A migration may take long, but waits for others for a bounded time only. Lock for the transaction: a pooler
      // would keep a lock of the session.
      await tx.execute(sql.raw(`SET LOCAL lock_timeout = '${lockSeconds}s'`))
      await tx.execute(sql`SET LOCAL statement_timeout = 0`)
      await tx.execute(sql`SELECT pg_advisory_xact_lock(${lock})`)
      // Another server may have migrated in the meantime.
      const applied = (await readJournal(tx)) ?? (await createJournal(tx, migrations))
      const missing = migrations.filter(({ name }) => !applied.has(name))
      for (const { name, statements } of missing) {
        for (const statement of statements) await tx.execute(sql.raw(statement))
        await tx.execute(sql`INSERT INTO ${journal} (name) VALUES (${name})`)
      }
      return missing.length
    },
    { isolationLevel: 'read committed' },
  )
}

/** Returns the names of the migrations that were applied, or undefined if there is no journal. */
async function readJournal(on: Queries): Promise<Set<string> | undefined> {
  const [place] = await rowsOf<{ here: string | null; journal: string | null }>(
    on,
    sql`SELECT current_schema() AS here, (
      SELECT nspname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
      WHERE pg_class.oid = to_regclass('auth_server_migrations')
    ) AS journal`,
  )
  if (!place?.here)
    throw new SchemaError(
      'Migrate first: npm run migrate -- --grant ROLE, as the owner of the tables. This role may not use any schema of the search_path. If the tables are in another schema, name it in search_path.',
    )
  if (place.journal === null) return undefined
  // Tables in a later schema of the search_path belong to another installation.
  if (place.journal !== place.here)
    throw new SchemaError(
      `the tables are in schema "${place.journal}", but search_path begins with "${place.here}". Name one schema only: options=-csearch_path=….`,
    )
  const names = await rowsOf<{ name: string }>(on, sql`SELECT name FROM ${journal}`)
  return new Set(names.map(({ name }) => name))
}

// Earlier versions used Drizzle's default journal, which other applications may share.
async function createJournal(tx: Queries, migrations: Migration[]): Promise<Set<string>> {
  await tx.execute(
    sql`CREATE TABLE ${journal} (name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())`,
  )
  const [former] = await rowsOf<{ readable: boolean }>(
    tx,
    sql`SELECT EXISTS (
      SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
      WHERE nspname = 'drizzle' AND relname = '__drizzle_migrations'
        AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
    ) AND to_regclass(quote_ident(current_schema()) || '.sessions') IS NOT NULL AS readable`,
  )
  if (!former?.readable) return new Set()
  const entries = await rowsOf<{ hash: string; created_at: unknown }>(
    tx,
    sql`SELECT hash, created_at FROM drizzle.__drizzle_migrations`,
  )
  const hashOf = new Map(entries.map(({ hash, created_at }) => [Number(created_at), hash]))
  // One equal hash shows that the journal is ours. Others may differ, because a file may have been edited since.
  if (!migrations.some(({ when, hashes }) => hashes.includes(hashOf.get(when) ?? ''))) return new Set()
  const applied = migrations.filter(({ when }) => hashOf.has(when)).map(({ name }) => name)
  for (const name of applied) await tx.execute(sql`INSERT INTO ${journal} (name) VALUES (${name})`)
  return new Set(applied)
}

/**
 * Checks that every table and column exists, and that this role may use them.
 * @throws SchemaError that names everything that is missing
 */
export async function checkSchema(on: Queries): Promise<void> {
  const found = await rowsOf<{ name: string; columns: string[]; rights: string[]; role: string }>(
    on,
    sql`SELECT relname AS name, current_user AS role,
      ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped) AS columns,
      ARRAY(SELECT r FROM unnest(${`{${everyRight}}`}::text[]) r WHERE has_table_privilege(c.oid, r)) AS rights
    FROM pg_class c WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())`,
  )
  const lacking: string[] = []
  const forbidden: string[] = []
  for (const { name, columns, rights } of readTables()) {
    const table = found.find((candidate) => candidate.name === name)
    const missing = columns.filter((column) => !table?.columns.includes(column))
    if (!table) lacking.push(name)
    else lacking.push(...missing.map((column) => `${name}.${column}`))
    const refused = rights.filter((right) => table && !table.rights.includes(right))
    if (refused.length > 0) forbidden.push(`${refused.join(', ')} on ${name}`)
  }
  if (lacking.length > 0)
    throw new SchemaError(
      `tables or columns are missing: ${lacking.join(', ')}. Restore them, or use a schema of this server's own.`,
    )
  if (forbidden.length > 0)
    throw new SchemaError(
      `role "${found[0]?.role}" may not ${forbidden.join('; ')}. As the owner of the tables: npm run migrate -- --grant ${found[0]?.role}`,
    )
}

/**
 * Grants `role` the rights that serving needs on the tables of the current schema, and revokes the others. Call it in a
 * transaction, as the owner of the tables.
 */
export async function grantRights(tx: Queries, role: string): Promise<void> {
  const grantee = sql.identifier(role)
  const [place] = await rowsOf<{ here: string }>(tx, sql`SELECT current_schema() AS here`)
  await tx.execute(sql`GRANT USAGE ON SCHEMA ${sql.identifier(place?.here ?? '')} TO ${grantee}`)
  await tx.execute(sql`GRANT SELECT ON ${journal} TO ${grantee}`)
  for (const { name, rights } of readTables()) {
    const table = sql.identifier(name)
    await tx.execute(sql`REVOKE ALL ON ${table} FROM ${grantee}`)
    await tx.execute(sql`GRANT ${sql.raw(rights.join(', '))} ON ${table} TO ${grantee}`)
  }
}
