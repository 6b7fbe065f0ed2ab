import { closeSync, existsSync, mkdirSync, openSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { sql } from 'drizzle-orm'
import type { PgDatabase, PgQueryResultHKT } from 'drizzle-orm/pg-core'
import { AuthError } from '../auth/errors.ts'

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

const migrationsFolder = fileURLToPath(new URL('./migrations', import.meta.url))

/**
 * Opens PostgreSQL at `url`, or the embedded database in `folder` where there is none, and brings its tables up to
 * date.
 * @throws DatabaseError
 */
export function openDatabase(settings: {
  url?: string | undefined
  folder: string
  onTrouble: (message: string) => void
}): Promise<Database> {
  return settings.url === undefined
    ? openEmbedded(settings.folder)
    : openPostgres(settings.url, settings.onTrouble)
}

/** PGlite: PostgreSQL in this process, its files in `folder` (`memory://`: none). `image`: what to start from. */
export async function openEmbedded(folder: string, image?: Blob): Promise<Database> {
  const { PGlite } = await import('@electric-sql/pglite')
  const { drizzle } = await import('drizzle-orm/pglite')
  const { migrate } = await import('drizzle-orm/pglite/migrator')

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
  await migrate(queries, { migrationsFolder })
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

// Two processes on one folder would silently lose each other's writes. The kernel holds the lock for as long as the
// file is open, so a killed server leaves none behind.
async function lockFolder(folder: string): Promise<() => void> {
  const { tryLock } = await import('fs-native-extensions')
  let file: number
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    file = openSync(join(folder, 'lock'), 'a+', 0o600)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new DatabaseError(
      `DATA_DIR ${folder} cannot be used (${code}): name a folder this user may write to`,
    )
  }
  if (tryLock(file)) return () => closeSync(file)
  closeSync(file)
  throw new DatabaseError(
    `DATA_DIR ${folder} is in use by another process: stop that one, name another folder, or set DATABASE_URL to share a PostgreSQL`,
  )
}

const startSeconds = 30
const migrationLock = 4_021_968_133

async function openPostgres(url: string, onTrouble: (message: string) => void): Promise<Database> {
  const { default: pg } = await import('pg')
  const { parseIntoClientConfig } = await import('pg-connection-string')
  const { drizzle } = await import('drizzle-orm/node-postgres')
  const { migrate } = await import('drizzle-orm/node-postgres/migrator')

  // As a function: whoever looks at the pool, or prints it, does not see the password.
  const { password, ...server } = parseIntoClientConfig(url)
  const connection = { ...server, ...(password && { password: () => password as string }) }

  async function migrateOnce(): Promise<void> {
    const client = new pg.Client({ ...connection, connectionTimeoutMillis: 3_000 })
    client.on('error', ({ message }) => onTrouble(message))
    try {
      await client.connect()
      // Instances that start together take turns. A migration may take its time, but waits for nobody for ever.
      await client.query(`SET lock_timeout = '${startSeconds}s'`)
      await client.query('SELECT pg_advisory_lock($1)', [migrationLock])
      await migrate(drizzle({ client }), { migrationsFolder })
    } finally {
      await client.end()
    }
  }
  await retryWhileUnavailable(migrateOnce, onTrouble)

  // Every wait is bounded: for a connection, for a statement at the server, and for an answer that never comes.
  const pool = new pg.Pool({
    ...connection,
    application_name: 'express-auth-server',
    max: 10,
    connectionTimeoutMillis: 3_000,
    statement_timeout: 3_000,
    query_timeout: 4_000,
    idle_in_transaction_session_timeout: 5_000,
    keepAlive: true,
  })
  pool.on('error', ({ message }) => onTrouble(message))
  // The pool does not listen to a connection that is checked out; lost then, it would end the process.
  pool.on('connect', (client) => client.on('error', () => {}))

  async function transaction<T>(work: (queries: Queries) => Promise<T>): Promise<T> {
    const client = await pool.connect()
    try {
      await client.query('BEGIN')
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

async function retryWhileUnavailable(
  work: () => Promise<void>,
  onTrouble: (message: string) => void,
): Promise<void> {
  const deadline = Date.now() + startSeconds * 1000
  for (;;) {
    try {
      await work()
      return
    } catch (error) {
      const cause = driverError(error)
      if (!isUnavailable(cause))
        throw new DatabaseError(
          `DATABASE_URL: PostgreSQL refused (${cause.message}): mend the URL or the rights of its user`,
        )
      if (Date.now() > deadline)
        throw new DatabaseError(
          `DATABASE_URL: PostgreSQL was out of reach for ${startSeconds} s (${cause.code ?? cause.message}): start it, or mend the URL`,
        )
      onTrouble(`waiting for PostgreSQL (${cause.code ?? cause.message})`)
      await delay(500)
    }
  }
}

/** Whether the database answers. */
export async function isReachable(database: Database): Promise<boolean> {
  try {
    await database.queries.execute(sql`SELECT 1`)
    return true
  } catch {
    return false
  }
}

/**
 * The same functions, but where the database is out of reach they throw AuthError `unavailable`. Other errors lose
 * the statement and its parameters, which are no business of a log.
 */
// biome-ignore lint/suspicious/noExplicitAny: whatever the functions take and return is kept
export function guarded<T extends Record<string, (...args: any[]) => Promise<unknown>>>(store: T): T {
  const guard = (run: T[string]) =>
    async function guardedRun(...args: unknown[]) {
      try {
        return await run(...args)
      } catch (error) {
        const cause = driverError(error)
        throw isUnavailable(cause) ? new AuthError('unavailable', { cause }) : cause
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

// What passes by itself: errors of the network (E…), and of a server that cannot serve now, by class of SQLSTATE:
// connection, rollback, resources, operator intervention (statement timeouts too), system error; lock timeouts.
const transient = /^(E(CONN\w+|PIPE|TIMEDOUT|HOSTUNREACH|NETUNREACH|NOTFOUND|AI_AGAIN)$|08|40|53|57|58|55P03)/

function isUnavailable({ code, message }: DriverError): boolean {
  return code === undefined ? /timeout|terminated|closed|not queryable/i.test(message) : transient.test(code)
}
