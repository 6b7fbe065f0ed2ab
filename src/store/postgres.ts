import { setTimeout as delay } from 'node:timers/promises'
import type { ClientConfig } from 'pg'
import { codeOf } from '../errors.ts'
import { retry } from '../retry.ts'
import {
  createDatabase,
  type Database,
  DatabaseError,
  type Queries,
  requireWritable,
  sessionSettings,
} from './database.ts'
import { DatabaseUrlError, isExposed, parseDatabaseUrl, tlsProblem } from './database-url.ts'
import { driverError, isReadOnly, isUnavailable } from './driver-error.ts'
import { prepareTables, SchemaError } from './migrate.ts'

export interface PostgresSettings {
  url: string
  /** Whether to report a connection that others on the network can read. */
  warnIfExposed?: boolean
  onTrouble: (message: string) => void
  /** Called with the number of migrations that were applied. */
  onMigrated?: (count: number) => void
}

const startSeconds = 30
const reportMs = 10_000
const pauseMs = 500

/**
 * Opens a pool of connections to PostgreSQL. Waits for a server that is unavailable, for a bounded time.
 * @throws DatabaseError; DatabaseUrlError
 */
export async function openPostgres(settings: PostgresSettings): Promise<Database> {
  const { onTrouble } = settings
  const { default: pg } = await import('pg')
  const { drizzle } = await import('drizzle-orm/node-postgres')
  const connection = connectionOf(settings)
  await retry(() => prepare(connection, settings), { pauseMs: patience(onTrouble), delay })

  // Every wait is bounded: for a connection, for a statement at the server, and for a response that never comes.
  const pool = new pg.Pool({
    ...connection,
    max: 10,
    query_timeout: 4_000,
    onConnect: (client) =>
      client.query(`${sessionSettings('3s')}
        SET idle_in_transaction_session_timeout = '5s';
      `),
  })
  pool.on('error', ({ message }) => onTrouble(connectionLost(message)))
  // The pool does not listen to connections in use. Without a listener, a lost connection would crash the process.
  pool.on('connect', (client) => client.on('error', () => {}))

  async function transaction<T>(work: (queries: Queries) => Promise<T>): Promise<T> {
    const client = await pool.connect()
    try {
      // Poolers in transaction mode do not keep the settings of a session together with its transactions.
      await client.query('BEGIN ISOLATION LEVEL READ COMMITTED')
      const result = await work(drizzle({ client }))
      await client.query('COMMIT')
      client.release()
      return result
    } catch (error) {
      // Close the connection. Then the server rolls back, even if it does not answer now.
      client.release(true)
      throw error
    }
  }

  return createDatabase({
    queries: drizzle({ client: pool }),
    transaction,
    connections: () => ({ total: pool.totalCount, idle: pool.idleCount, waiting: pool.waitingCount }),
    close: () => pool.end(),
  })
}

function connectionOf({ url, warnIfExposed, onTrouble }: PostgresSettings): ClientConfig {
  const { password, ...server } = parseDatabaseUrl(url)
  if (warnIfExposed && isExposed(server))
    onTrouble(
      'DATABASE_URL leads to another machine without verified TLS, so the network can read passwords of the database and all data. Add sslmode=verify-full.',
    )
  return {
    ...server,
    // A function, so that a printed pool does not show the password.
    ...(password && { password: () => password as string }),
    application_name: 'express-auth-server',
    connectionTimeoutMillis: 3_000,
    keepAlive: true,
  }
}

async function prepare(connection: ClientConfig, { onTrouble, onMigrated }: PostgresSettings): Promise<void> {
  const { default: pg } = await import('pg')
  const { drizzle } = await import('drizzle-orm/node-postgres')
  const client = new pg.Client(connection)
  client.on('error', ({ message }) => onTrouble(connectionLost(message)))
  try {
    await client.connect()
    await client.query(sessionSettings(`${startSeconds}s`))
    const queries = drizzle({ client })
    await requireWritable(queries)
    const migrated = await prepareTables(queries)
    onMigrated?.(migrated)
  } finally {
    await client.end()
  }
}

const connectionLost = (message: string) => `A connection to PostgreSQL was lost: ${message}`

/** Returns a function that returns the pause before the next try. It throws if another try would not help. */
function patience(onTrouble: (message: string) => void): (error: unknown) => number {
  const deadline = Date.now() + startSeconds * 1000
  let reportAt = 0
  return (error) => {
    const cause = driverError(error)
    const tls = tlsProblem(cause)
    if (tls) throw new DatabaseUrlError(tls)
    if (!isUnavailable(cause)) throw new DatabaseError(`DATABASE_URL: ${refusal(cause)}`)
    const state = isReadOnly(cause) ? 'read-only' : `unavailable (${codeOf(cause) ?? cause.message})`
    if (Date.now() > deadline)
      throw new DatabaseError(
        `DATABASE_URL: PostgreSQL was ${state} for ${startSeconds} s. Start it, or change the URL to a server that accepts writes.`,
      )
    if (Date.now() >= reportAt) {
      onTrouble(`waiting for PostgreSQL: ${state}`)
      reportAt = Date.now() + reportMs
    }
    return pauseMs
  }
}

/** Returns what to do about an error that does not pass by itself. */
function refusal(error: Error): string {
  const { message } = error
  if (error instanceof SchemaError) return message
  switch (codeOf(error)) {
    case '42P07': // duplicate_table
    case '42710': // duplicate_object
    case '42723': // duplicate_function
      return `the schema has tables of another application (${message}). Use a database or a schema of this server's own.`
    case '42501': // insufficient_privilege
      return `Migrate first: npm run migrate -- --grant ROLE, as the owner of the tables. This role may not do what migrating or serving needs (${message}).`
    case '3D000': // invalid_catalog_name
      return `PostgreSQL refused (${message}). Change the URL, or create the database.`
    default:
      return `PostgreSQL refused (${message}). Change the URL, or the rights of its user.`
  }
}
