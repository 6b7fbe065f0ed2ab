import { sql } from 'drizzle-orm'
import { type Database, rowsOf } from './database.ts'

/** `skewed`: this server's clock and the database's differ by more than 30 s. */
export type ClockStatus = 'ok' | 'skewed'

const toleranceSeconds = 30

/**
 * Compares this server's clock with the database's. The database's clock decides when sessions end, and this server's
 * clock decides when access tokens expire. So tokens would not be accepted if the clocks differed.
 * @param onChange called when the clocks begin to differ, and when they agree again; `secondsAhead` is negative if this
 * server is behind
 * @returns a function that compares; it returns `ok` if the database does not answer, which another check reports
 */
export function createClockCheck(deps: {
  database: Database
  clock: () => number
  onChange: (status: ClockStatus, secondsAhead: number) => void
}) {
  const { database, clock, onChange } = deps
  let last: ClockStatus = 'ok'

  return async function compareClocks(): Promise<ClockStatus> {
    const before = clock()
    const now = await databaseTime(database)
    if (now === undefined) return 'ok'
    const after = clock()
    // The database read its clock between these two times. A slow response must not look like a skew.
    const ahead = (now < before ? before - now : Math.min(0, after - now)) / 1000
    const status = Math.abs(ahead) > toleranceSeconds ? 'skewed' : 'ok'
    if (status !== last) onChange(status, Math.round(ahead))
    last = status
    return status
  }
}

/** Returns the database's time in milliseconds since 1970, or undefined if it does not answer. */
async function databaseTime(database: Database): Promise<number | undefined> {
  try {
    const [row] = await database.run((queries) =>
      rowsOf<{ now: string }>(queries, sql`SELECT extract(epoch FROM now()) * 1000 AS now`),
    )
    return Number(row?.now)
  } catch {
    return undefined
  }
}
