import { type SQL, sql } from 'drizzle-orm'
import type { PgDatabase, PgQueryResultHKT } from 'drizzle-orm/pg-core'
import { AuthError } from '../errors.ts'
import { retry } from '../retry.ts'
import { driverError, isConflict, isReadOnly, isUnavailable, readOnlyState } from './driver-error.ts'

/** What the stores run statements on: the database itself, or a transaction. */
export type Queries = PgDatabase<PgQueryResultHKT>

/**
 * The database that the stores use. All their statements pass through `run` or `transaction`. Both throw AuthError
 * `unavailable` if the database is unavailable. Other errors lose the statement and its parameters, which must not
 * reach a log. Both run `work` again if a conflict made the database undo it.
 */
export interface Database {
  /** Runs one statement. */
  run<T>(work: (queries: Queries) => Promise<T>): Promise<T>
  /** Runs `work` in one transaction, and undoes it if `work` throws. */
  transaction<T>(work: (queries: Queries) => Promise<T>): Promise<T>
  /** Returns the number of connections by state. The embedded database has none. */
  connections(): Record<string, number>
  close(): Promise<void>
}

/** Runs a statement that Drizzle has no function for, and returns its rows. */
export async function rowsOf<T>(on: Queries, statement: SQL): Promise<T[]> {
  // The two drivers have different types of results.
  const result = (await on.execute(statement)) as unknown as { rows: T[] }
  return result.rows
}

/** Cannot open the database. The message tells the operator what happened and what to do. */
export class DatabaseError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'DatabaseError'
  }
}

// Our statements and the driver rely on these. A role, a database or a configuration file may set others. Set them
// after connecting: poolers refuse most of them as startup parameters. The timeouts come first, because those that were
// set elsewhere hold until then.
export const sessionSettings = (statementTimeout: string) => `
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

const triesOfConflicts = 5

/** Returns the database that the stores use, on the functions of a driver. */
export function createDatabase({
  queries,
  transaction,
  ...others
}: Omit<Database, 'run'> & { queries: Queries }): Database {
  return {
    ...others,
    run: (work) => translateErrors(() => work(queries)),
    transaction: (work) => translateErrors(() => transaction(work)),
  }
}

// Some engines and poolers do not accept our isolation level. Then a transaction may conflict with another.
async function translateErrors<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await retry(work, {
      pauseMs: (error, tries) => (isConflict(driverError(error)) && tries < triesOfConflicts ? 0 : undefined),
      delay: async () => {},
    })
  } catch (error) {
    const cause = driverError(error)
    throw isUnavailable(cause) ? new AuthError('unavailable', { cause }) : cause
  }
}

/** What the database can do now. It is `read_only` if a failover left this server connected to a standby. */
export type DatabaseState = 'ok' | 'read_only' | 'unreachable'

/** Asks the database whether it accepts writes. */
export async function databaseState(database: Database): Promise<DatabaseState> {
  try {
    // A transaction that fails closes its connection, and the next connection may lead to the new primary.
    await database.transaction(requireWritable)
    return 'ok'
  } catch (error) {
    const { cause } = error as Error
    return cause instanceof Error && isReadOnly(cause) ? 'read_only' : 'unreachable'
  }
}

/** Throws what a write would throw on a standby, or with default_transaction_read_only. */
export async function requireWritable(queries: Queries): Promise<void> {
  const [setting] = await rowsOf<{ read_only: string }>(
    queries,
    sql`SELECT current_setting('transaction_read_only') AS read_only`,
  )
  if (setting?.read_only !== 'off')
    throw Object.assign(new Error('the database is read-only'), { code: readOnlyState })
}
