import { closeSync, existsSync, mkdirSync, openSync, renameSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { sql } from 'drizzle-orm'
import type { PgDatabase, PgQueryResultHKT } from 'drizzle-orm/pg-core'
import { AuthError, codeOf } from '../errors.ts'
import { retry } from '../retry.ts'
import { DatabaseUrlError, isExposed, parseDatabaseUrl, tlsProblem } from './database-url.ts'
import { checkSchema, migrate, SchemaError } from './migrate.ts'

/** What the stores run their statements on: the database itself, or a transaction. */
export type Queries = PgDatabase<PgQueryResultHKT>

export interface Database {
  queries: Queries
  /** Runs `work` in one transaction, which is undone where it throws. */
  transaction<T>(work: (queries: Queries) => Promise<T>): Promise<T>
  /** How many connections there are, by state; none of the embedded database. */
  connections(): Record<string, number>
  close(): Promise<void>
}

/** The database could not be opened. The message is for the operator: what is wrong and what to do. */
export class DatabaseError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'DatabaseError'
  }
}

// What our statements and the driver rely on. A role, a database or a configuration file may say otherwise. Set after
// connecting: poolers refuse most of these as parameters of the connection's start. The time-outs come first, because
// those that were set elsewhere hold for the rest.
const sessionSettings = (statementTimeout: string) => `
  SET statement_timeout = '${statementTimeout}';
  SET lock_timeout = 0;
  SET client_encoding = 'UTF8';
  SET standard_conforming_strings = on;
  SET DateStyle = 'ISO, MDY';
  SET IntervalStyle = 'postgres';
  SET TimeZone = 'UTC';
  SET bytea_output = 'hex';
  SET default_transaction_isolation = 'read committed';
  SET default_transaction_deferrable = off;
`

/**
 * Opens PostgreSQL at `url`, or the embedded database in `folder` where there is none, and brings its tables up to
 * date.
 * @throws DatabaseError; DatabaseUrlError where the URL itself, or its TLS settings, cannot work
 */
export function openDatabase(settings: {
  url?: string | undefined
  folder: string
  /** Whether to report a connection that others on the network can read. */
  warnIfExposed?: boolean
  onTrouble: (message: string) => void
  /** Called with the number of migrations that were applied. */
  onMigrated?: (count: number) => void
}): Promise<Database> {
  return settings.url === undefined ? openEmbedded(settings.folder) : openPostgres(settings.url, settings)
}

/** PGlite: PostgreSQL in this process, its files in `folder` (`memory://`: none). `image`: what to start from. */
export async function openEmbedded(folder: string, image?: Blob): Promise<Database> {
  const { PGlite } = await import('@electric-sql/pglite')
  const { drizzle } = await import('drizzle-orm/pglite')

  // Five times faster than to make a new database is to unpack one that the authors of PGlite have made.
  const create = async (where: string) => {
    const { dataDir } = await import('@electric-sql/pglite-prepopulatedfs')
    return PGlite.create(where, { loadDataDir: image ?? (await dataDir()) })
  }
  const openFolder = async () => {
    unlock = await lockFolder(folder)
    const files = join(folder, 'pglite')
    if (!existsSync(files)) {
      // Made beside and moved into place when whole: a first start that was cut off is simply done again.
      rmSync(`${files}.new`, { recursive: true, force: true })
      await (await create(`${files}.new`)).close()
      renameSync(`${files}.new`, files)
    }
    return PGlite.create(files).catch((error: Error) => {
      throw new DatabaseError(
        `DATA_DIR ${folder} holds no database that opens (${error.message}): restore a copy, or name another folder`,
      )
    })
  }

  let unlock = () => {}
  const client = folder === 'memory://' ? await create(folder) : await openFolder()
  const queries = drizzle({ client })
  await client.exec(sessionSettings('0'))
  await prepareTables(queries).catch((error: Error) => {
    throw new DatabaseError(`DATA_DIR ${folder}: ${driverError(error).message}`)
  })
  return {
    queries,
    transaction: (work) => queries.transaction(work),
    connections: () => ({}),
    async close() {
      await client.close()
      unlock()
    },
  }
}

async function prepareTables(queries: Queries, onMigrated?: (count: number) => void): Promise<void> {
  const count = await migrate(queries)
  onMigrated?.(count)
  await checkSchema(queries)
}

// Two processes on one folder would silently lose each other's writes. The kernel holds the lock for as long as the
// file is open, so a killed server leaves none behind.
async function lockFolder(folder: string): Promise<() => void> {
  const { tryLock } = await import('fs-native-extensions')
  let file: number
  try {
    makeFolder(folder)
    file = openSync(join(folder, 'lock'), 'a+', 0o600)
  } catch (error) {
    throw new DatabaseError(
      `DATA_DIR ${folder} cannot be used (${codeOf(error)}): name a folder this user may write to`,
    )
  }
  if (tryLock(file)) return () => closeSync(file)
  closeSync(file)
  throw new DatabaseError(
    `DATA_DIR ${folder} is in use by another process: stop that one, name another folder, or set DATABASE_URL to share a PostgreSQL`,
  )
}

// One by one: under /proc, `recursive` never returns in Node 20.
function makeFolder(folder: string): void {
  if (existsSync(folder)) return
  makeFolder(dirname(folder))
  try {
    mkdirSync(folder, { mode: 0o700 })
  } catch (error) {
    // Another process may have made it in the meantime.
    if (codeOf(error) !== 'EEXIST') throw error
  }
}

const startSeconds = 30
const reportMs = 10_000

async function openPostgres(
  url: string,
  { warnIfExposed, onTrouble, onMigrated }: Omit<Parameters<typeof openDatabase>[0], 'url'>,
): Promise<Database> {
  const { default: pg } = await import('pg')
  const { drizzle } = await import('drizzle-orm/node-postgres')

  // As a function: whoever looks at the pool, or prints it, does not see the password.
  const { password, ...server } = parseDatabaseUrl(url)
  if (warnIfExposed && isExposed(server))
    onTrouble(
      'DATABASE_URL leads to another machine without verified TLS, so the network can read passwords of the database and all data. Add sslmode=verify-full.',
    )
  const connection = {
    ...server,
    ...(password && { password: () => password as string }),
    application_name: 'express-auth-server',
    connectionTimeoutMillis: 3_000,
    keepAlive: true,
  }

  async function prepareOnce(): Promise<void> {
    const client = new pg.Client(connection)
    client.on('error', ({ message }) => onTrouble(`A connection to PostgreSQL was lost: ${message}`))
    try {
      await client.connect()
      await client.query(sessionSettings(`${startSeconds}s`))
      const queries = drizzle({ client })
      await requireWritable(queries)
      await prepareTables(queries, onMigrated)
    } finally {
      await client.end()
    }
  }
  await retry(prepareOnce, { pauseMs: patience(onTrouble), delay })

  // Every wait is bounded: for a connection, for a statement at the server, and for an answer that never comes.
  const pool = new pg.Pool({
    ...connection,
    max: 10,
    query_timeout: 4_000,
    onConnect: (client) =>
      client.query(`${sessionSettings('3s')}
        SET idle_in_transaction_session_timeout = '5s';
      `),
  })
  pool.on('error', ({ message }) => onTrouble(`A connection to PostgreSQL was lost: ${message}`))
  // The pool does not listen to a connection that is checked out; lost then, it would end the process.
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
      // Closed rather than used again: so the server rolls back, even where it does not answer.
      client.release(true)
      throw error
    }
  }

  return {
    queries: drizzle({ client: pool }),
    transaction,
    connections: () => ({ total: pool.totalCount, idle: pool.idleCount, waiting: pool.waitingCount }),
    close: () => pool.end(),
  }
}

// Returns a function that returns the pause before the next try, or throws what to do if there is no point in one.
function patience(onTrouble: (message: string) => void): (error: unknown) => number {
  const deadline = Date.now() + startSeconds * 1000
  let reportAt = 0
  return (error) => {
    const cause = driverError(error)
    const tls = tlsProblem(cause)
    if (tls) throw new DatabaseUrlError(tls)
    if (!isUnavailable(cause)) throw new DatabaseError(`DATABASE_URL: ${refusal(cause)}`)
    const state = isReadOnly(cause) ? 'read-only' : `unavailable (${cause.code ?? cause.message})`
    if (Date.now() > deadline)
      throw new DatabaseError(
        `DATABASE_URL: PostgreSQL was ${state} for ${startSeconds} s. Start it, or change the URL to a server that can be written to.`,
      )
    if (Date.now() >= reportAt) {
      onTrouble(`waiting for PostgreSQL: ${state}`)
      reportAt = Date.now() + reportMs
    }
    return 500
  }
}

function refusal(error: DriverError): string {
  if (error instanceof SchemaError) return error.message
  // duplicate_table, duplicate_object, duplicate_function
  if (['42P07', '42710', '42723'].includes(error.code ?? ''))
    return `the schema has tables of another application (${error.message}). Use a database or a schema of this server's own.`
  if (error.code === '42501')
    return `Migrate first: npm run migrate -- --grant ROLE, as the owner of the tables. This role may not do what migrating or serving needs (${error.message}).`
  // invalid_catalog_name
  if (error.code === '3D000')
    return `PostgreSQL refused (${error.message}). Change the URL, or create the database.`
  return `PostgreSQL refused (${error.message}). Change the URL, or the rights of its user.`
}

/** What the database can do now: `read_only` after a failover that left this server on a standby. */
export type DatabaseState = 'ok' | 'read_only' | 'unreachable'

/** Asks the database whether it can be written to. */
export async function databaseState(database: Database): Promise<DatabaseState> {
  try {
    // In a transaction that fails, so that its connection is closed: the next one may lead to the new primary.
    await database.transaction(requireWritable)
    return 'ok'
  } catch (error) {
    return isReadOnly(driverError(error)) ? 'read_only' : 'unreachable'
  }
}

// On a standby, and where default_transaction_read_only is set. Throws what a statement that writes would throw.
async function requireWritable(queries: Queries): Promise<void> {
  const { rows } = (await queries.execute(
    sql`SELECT current_setting('transaction_read_only') AS read_only`,
  )) as unknown as { rows: { read_only: string }[] }
  if (rows[0]?.read_only !== 'off')
    throw Object.assign(new Error('the database is read-only'), { code: readOnlyState })
}

/**
 * The same functions, but where the database is out of reach they throw AuthError `unavailable`. Other errors lose
 * the statement and its parameters, which are no business of a log. A function that the database undid because of a
 * conflict runs again: on engines, and behind poolers, that do not take our isolation level.
 */
// biome-ignore lint/suspicious/noExplicitAny: whatever the functions take and return is kept
export function guarded<T extends Record<string, (...args: any[]) => Promise<unknown>>>(store: T): T {
  const guard = (run: T[string]) =>
    async function guardedRun(...args: unknown[]) {
      for (let tries = 1; ; tries++) {
        try {
          return await run(...args)
        } catch (error) {
          const cause = driverError(error)
          if (isConflict(cause) && tries < triesOfConflicts) continue
          throw isUnavailable(cause) ? new AuthError('unavailable', { cause }) : cause
        }
      }
    }
  return Object.fromEntries(Object.entries(store).map(([name, run]) => [name, guard(run as T[string])])) as T
}

type DriverError = Error & { code?: string }

// Drizzle puts the statement and its parameters into the message of an error of its own around the driver's.
function driverError(error: unknown): DriverError {
  const { cause } = error as Error
  return (cause instanceof Error ? cause : error) as DriverError
}

// serialization_failure, deadlock_detected
const isConflict = ({ code }: DriverError) => code === '40001' || code === '40P01'
const triesOfConflicts = 5

const readOnlyState = '25006'
const isReadOnly = ({ code }: DriverError) => code === readOnlyState

// What passes by itself: errors of the network (E…), and of a server that cannot serve now, by class of SQLSTATE:
// connection, rollback, resources, operator intervention (statement timeouts too), system error; read-only, failed and
// timed out transactions; lock timeouts.
const transient =
  /^(E(CONN\w+|PIPE|TIMEDOUT|HOSTUNREACH|NETUNREACH|NOTFOUND|AI_AGAIN)$|08|40|53|57|58|25006|25P0[234]|55P03)/

function isUnavailable({ code, message }: DriverError): boolean {
  return code === undefined ? /timeout|terminated|closed|not queryable/i.test(message) : transient.test(code)
}
